"""The store of replies: a request that comes twice is answered once, within bounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.link.queue import Outbox
from codec.serve import replies as module
from codec.serve.replies import KeyReused, Replies, TooOld

A, B = b"a" * 32, b"b" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replies"


def answer(replies: Replies, device: str, sequence: int, digest: bytes = A) -> bytes:
    """The reply as a server makes it; one that was run says how many there are."""
    found = replies.begin(device, sequence, digest)
    return found or replies.store(device, sequence, digest, b"run %d" % len(replies))


def test_a_repeated_request_gets_the_first_reply(path: Path) -> None:
    replies = Replies(path)
    assert replies.begin("camera", 0, A) is None
    assert replies.store("camera", 0, A, b"cat") == b"cat"
    assert replies.begin("camera", 0, A) == b"cat"
    replies.close()
    assert Replies(path).begin("camera", 0, A) == b"cat"


def test_two_runs_of_one_request_give_one_reply(path: Path) -> None:
    replies = Replies(path)
    assert replies.begin("camera", 0, A) is replies.begin("camera", 0, A) is None
    assert replies.store("camera", 0, A, b"first") == b"first"
    assert replies.store("camera", 0, A, b"second") == b"first"
    assert len(replies) == 1


def test_a_key_with_another_content_is_refused_before_and_after_it_ran(path: Path) -> None:
    replies = Replies(path)
    replies.store("camera", 0, A, b"cat")
    with pytest.raises(KeyReused, match="request 0 of device camera has come with another"):
        replies.begin("camera", 0, B)
    with pytest.raises(KeyReused):
        replies.store("camera", 0, B, b"dog")
    assert replies.begin("camera", 0, A) == b"cat"


def test_two_devices_have_two_keys(path: Path) -> None:
    replies = Replies(path)
    replies.store("one", 0, A, b"cat")
    assert replies.begin("two", 0, B) is None
    replies.store("two", 0, B, b"dog")
    assert replies.begin("one", 0, A) == b"cat"
    assert replies.begin("two", 0, B) == b"dog"


def test_what_fell_out_of_the_window_is_refused_and_never_run_again(path: Path) -> None:
    replies = Replies(path, window=3)
    for sequence in range(10):
        answer(replies, "camera", sequence)
    assert len(replies) == 3
    assert replies.begin("camera", 7, A) is not None
    for sequence in (0, 6):
        with pytest.raises(TooOld, match=rf"request {sequence} .* kept from 7 on"):
            replies.begin("camera", sequence, A)
        with pytest.raises(TooOld):
            replies.store("camera", sequence, A, b"late")
    assert len(replies) == 3


def test_a_request_that_others_overtook_is_run_within_the_window(path: Path) -> None:
    replies = Replies(path, window=3)
    for sequence in (5, 4, 3):
        assert replies.begin("camera", sequence, A) is None
        replies.store("camera", sequence, A, b"%d" % sequence)
    assert [replies.begin("camera", sequence, A) for sequence in (3, 4, 5)] == [b"3", b"4", b"5"]
    with pytest.raises(TooOld):
        replies.begin("camera", 2, A)


def test_the_device_answered_longest_ago_makes_room_and_is_refused_by_name(path: Path) -> None:
    replies = Replies(path, max_devices=2)
    replies.store("one", 0, A, b"1")
    replies.store("two", 0, A, b"2")
    replies.store("one", 1, A, b"3")
    replies.store("three", 0, A, b"4")
    assert len(replies) == 3
    assert replies.begin("one", 0, A) == b"1"
    with pytest.raises(TooOld, match="request 0 of device two"):
        replies.begin("two", 0, A)
    assert answer(replies, "two", 1) == b"run 3"  # a new request of it is run, and kept
    assert replies.begin("two", 1, A) == b"run 3"
    with pytest.raises(TooOld):
        replies.begin("one", 1, A)


def test_a_token_with_many_devices_pushes_out_its_own(path: Path) -> None:
    replies = Replies(path, max_devices=3)
    replies.store("quiet", 0, A, b"1")
    for i in range(10):
        replies.store(f"loud/{i}", 0, A, b"2")
    assert replies.begin("quiet", 0, A) == b"1"
    assert [replies.begin(f"loud/{i}", 0, A) for i in (8, 9)] == [b"2", b"2"]
    with pytest.raises(TooOld):
        replies.begin("loud/7", 0, A)
    assert len(replies) == 3


def test_tokens_with_ever_new_devices_leave_room_for_others_and_spoil_their_own(
    path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(module, "KNOWN_PER_KEPT", 4)
    replies = Replies(path, max_devices=2)
    for name in ("quiet/0", "loudest"):  # a name that only begins alike
        replies.store(name, 5, A, b"")
    for i in range(20):
        replies.store(f"loud/{i}", 5, A, b"")
        replies.store(f"second/{i}", 5, A, b"")
    for name in ("quiet/0", "loudest"):
        with pytest.raises(TooOld):
            replies.begin(name, 5, A)
    assert replies.begin("quiet/new", 0, A) is None
    assert replies.store("quiet/new", 0, A, b"new") == b"new"
    assert replies.begin("loud/0", 5, A) is None, "it is not known any more"
    assert replies._database.rows("SELECT count(*) FROM devices") == [(8,)]


@pytest.mark.parametrize("sequence", [-1, 2**63 - 1, 2**80])
def test_a_sequence_is_a_number_that_a_file_can_hold(path: Path, sequence: int) -> None:
    replies = Replies(path)
    with pytest.raises(ValueError, match="sequence number is from 0"):
        replies.begin("camera", sequence, A)
    with pytest.raises(ValueError, match="sequence number is from 0"):
        replies.store("camera", sequence, A, b"")


def test_the_highest_sequence_is_kept_like_another(path: Path) -> None:
    replies = Replies(path)
    replies.store("camera", 2**63 - 2, A, b"last")
    assert replies.begin("camera", 2**63 - 2, A) == b"last"


def test_a_reply_that_is_too_long_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="at most 1048576 bytes"):
        Replies(path).store("camera", 0, A, bytes((1 << 20) + 1))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=40))
def test_no_request_is_run_twice_in_whatever_order_they_come(tmp_path_factory, steps) -> None:
    replies = Replies(tmp_path_factory.mktemp("any") / "replies", window=3, max_devices=2)
    ran: dict[tuple[str, int], bytes] = {}
    for number, (device, sequence) in enumerate(steps):
        try:
            found = replies.begin(device, sequence, A)
        except TooOld:
            continue
        if found is None:
            assert (device, sequence) not in ran
            ran[device, sequence] = replies.store(device, sequence, A, b"%d" % number)
        else:
            assert found == ran[device, sequence]
        assert len(replies) <= 6


OTHER = """
import sys
from codec.serve.replies import Replies
replies = Replies(sys.argv[1])
for n in range(60):
    if replies.begin("camera", n, bytes(32)) is None:
        replies.store("camera", n, bytes(32), sys.argv[2].encode())
    print(replies.begin("camera", n, bytes(32)).decode(), end="")
"""


def test_processes_that_share_a_file_agree_on_every_reply(path: Path) -> None:
    command = [sys.executable, "-c", OTHER, str(path)]
    children = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "xyz"
    ]
    said = [child.communicate(timeout=30)[0] for child in children]
    assert len(said[0]) == 60
    assert said[0] == said[1] == said[2]


def test_an_outbox_is_no_store_of_replies(path: Path) -> None:
    Outbox(path).close()
    with pytest.raises(ValueError, match="is no store of replies"):
        Replies(path)


@pytest.mark.parametrize("bounds", [{"window": 0}, {"max_devices": 0}])
def test_bounds_are_at_least_one(path: Path, bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Replies(path, **bounds)
