"""The outbox: what is put is kept, in order, until it is answered; it is bounded, and says what is
wrong.
"""

from __future__ import annotations

import resource
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.link.clock import Moment, age_s, now
from codec.link.database import Database
from codec.link.queue import MIN_FILE_BYTES, Forgotten, Item, Outbox, QueueFull


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def fill(outbox: Outbox, n_bytes: int) -> None:
    for _ in range(100_000):
        outbox.put(bytes(n_bytes))


def answer_all(outbox: Outbox) -> None:
    while (item := outbox.next()) is not None:
        outbox.done(item.sequence, b"")


def test_requests_come_out_in_the_order_they_went_in_and_stay_until_answered(path: Path) -> None:
    outbox = Outbox(path)
    assert outbox.next() is None
    assert [outbox.put(b"a", {"Question": "how%20many"}), outbox.put(b"b")] == [0, 1]
    first = Item(0, b"a", {"Question": "how%20many"})
    assert outbox.next() == outbox.next() == first
    assert outbox.reply(0) is None
    outbox.done(0, b"four")
    assert outbox.reply(0) == b"four"
    assert outbox.next() == Item(1, b"b", {})
    assert outbox.n_waiting == 1


def test_an_outbox_opened_again_is_as_it_was(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put(b"a")
    outbox.put(b"b")
    outbox.done(0, b"reply")
    device_id = outbox.device_id
    outbox.close()
    again = Outbox(path)
    assert again.device_id == device_id
    assert len(bytes.fromhex(device_id)) == 8
    assert again.next() == Item(1, b"b", {})
    assert again.reply(0) == b"reply"
    assert again.put(b"c") == 2


def test_a_number_is_never_given_twice(path: Path) -> None:
    outbox = Outbox(path, max_replies=1)
    for n in range(5):
        assert outbox.put(b"x") == n
        outbox.done(n, b"y")
    outbox.close()
    assert Outbox(path).put(b"x") == 5


def test_two_outboxes_have_two_device_ids(tmp_path: Path) -> None:
    assert Outbox(tmp_path / "a").device_id != Outbox(tmp_path / "b").device_id


def test_a_name_is_put_once_whether_it_waits_or_is_answered(path: Path) -> None:
    outbox = Outbox(path)
    assert outbox.put(b"a", name="1.jpg") == outbox.put(b"a", name="1.jpg") == 0
    outbox.done(0, b"reply")
    assert outbox.put(b"a", name="1.jpg") == 0
    assert outbox.put(b"b", name="2.jpg") == 1
    assert outbox.n_waiting == 1


def test_the_first_reply_to_a_request_stays(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put(b"a")
    outbox.done(0, b"first")
    outbox.done(0, b"second")
    assert outbox.reply(0) == b"first"


def test_an_empty_reply_is_a_reply(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put(b"")
    assert outbox.next() == Item(0, b"", {})
    outbox.done(0, b"")
    assert outbox.reply(0) == b""
    assert outbox.next() is None


def test_of_the_replies_the_latest_are_kept(path: Path) -> None:
    outbox = Outbox(path, max_replies=3)
    for n in range(10):
        outbox.put(b"x", name=str(n))
        outbox.done(n, b"%d" % n)
    assert [outbox.reply(n) for n in (7, 8, 9)] == [b"7", b"8", b"9"]
    with pytest.raises(Forgotten, match="request 6"):
        outbox.reply(6)


@pytest.mark.parametrize("number", [-1, 1, 2**80])
def test_a_number_that_was_never_given_is_refused(path: Path, number: int) -> None:
    outbox = Outbox(path)
    outbox.put(b"x")
    with pytest.raises(ValueError, match="no request has had the number"):
        outbox.reply(number)
    with pytest.raises(ValueError, match="no request has had the number"):
        outbox.done(number, b"reply")


def test_a_full_outbox_refuses_the_newest_and_counts_it(path: Path) -> None:
    outbox = Outbox(path, max_bytes=MIN_FILE_BYTES)
    with pytest.raises(QueueFull, match=r"no room .* 100002 bytes.* requests wait"):
        fill(outbox, 100_000)
    n_put = outbox.n_waiting
    assert n_put >= 6
    assert (outbox.n_refused, outbox.n_dropped) == (1, 0)
    outbox.done(0, b"reply")
    assert outbox.put(bytes(100_000)) == n_put
    assert outbox.next() == Item(1, bytes(100_000), {})


def test_a_full_outbox_drops_the_oldest_and_counts_it(path: Path) -> None:
    outbox = Outbox(path, max_bytes=MIN_FILE_BYTES, when_full="drop-oldest")
    for n in range(20):
        assert outbox.put(bytes([n]) * 100_000) == n
    assert outbox.n_waiting + outbox.n_dropped == 20
    assert outbox.n_waiting >= 6
    item = outbox.next()
    assert item is not None
    assert item.sequence == outbox.n_dropped
    assert item.body == bytes([item.sequence]) * 100_000
    with pytest.raises(Forgotten):
        outbox.reply(0)
    outbox.done(0, b"late")  # it was on its way when it was dropped
    assert outbox.next() == item


@pytest.mark.parametrize("when_full", ["refuse", "drop-oldest"])
def test_what_can_never_fit_is_refused_and_nothing_is_dropped_for_it(path, when_full) -> None:
    outbox = Outbox(path, max_bytes=MIN_FILE_BYTES, when_full=when_full)
    outbox.put(b"small")
    with pytest.raises(QueueFull):
        outbox.put(bytes(MIN_FILE_BYTES))
    assert (outbox.n_waiting, outbox.n_dropped, outbox.n_refused) == (1, 0, 1)


def test_a_reply_that_is_too_long_is_refused_and_the_request_waits_on(path: Path) -> None:
    outbox = Outbox(path, max_bytes=MIN_FILE_BYTES)
    outbox.put(b"x")
    with pytest.raises(ValueError, match="keeps up to 131072"):
        outbox.done(0, bytes(131_073))
    assert outbox.n_waiting == 1


SIZES = st.sampled_from([0, 47, 900, 2100, 4000, 5000, 60_000, 131_072])


@settings(max_examples=6, deadline=None)
@given(st.lists(st.tuples(SIZES, SIZES, st.booleans()), min_size=20, max_size=60))
def test_neither_file_nor_log_grows_above_what_was_said(tmp_path_factory, steps) -> None:
    path = tmp_path_factory.mktemp("bounded") / "outbox"
    outbox = Outbox(path, max_bytes=MIN_FILE_BYTES, when_full="drop-oldest")
    for n_body, n_reply, answered in steps:
        outbox.put(bytes(n_body))
        item = outbox.next()
        if answered and item:
            outbox.done(item.sequence, bytes(n_reply))
    outbox.close()  # writes the log back
    assert path.stat().st_size <= MIN_FILE_BYTES


def test_many_small_requests_fill_most_of_the_file_and_not_more(path: Path) -> None:
    outbox = Outbox(path, max_bytes=MIN_FILE_BYTES, max_replies=2000)
    outbox._database._connection.execute("PRAGMA synchronous=OFF")  # quick: 6000 changes
    with pytest.raises(QueueFull):
        fill(outbox, 47)
    assert outbox.n_waiting * 47 > MIN_FILE_BYTES / 4
    for n in range(2000):
        outbox.done(n, bytes(300))
    log = path.with_name("outbox-wal").stat().st_size
    assert log <= 2 << 20
    outbox.close()
    assert path.stat().st_size <= MIN_FILE_BYTES


def test_a_full_disk_is_an_error_that_says_so_and_what_was_there_stays(path: Path) -> None:
    outbox = Outbox(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))  # Python ignores the signal
    try:
        with pytest.raises(OSError, match="outbox: "):
            fill(outbox, 200_000)
        with pytest.raises(OSError, match="outbox: "):
            outbox.put(bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    n_put = outbox.n_waiting
    assert n_put >= 1
    assert outbox.put(b"again") == n_put
    outbox.close()
    assert Outbox(path).n_waiting == n_put + 1


def test_a_file_that_another_process_keeps_is_named(path: Path, monkeypatch) -> None:
    monkeypatch.setattr("codec.link.database.BUSY_S", 0.05)
    outbox = Outbox(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TimeoutError, match="another process has kept it"):
        outbox.put(b"x")
    assert outbox.next() is None  # reading goes on
    other.execute("ROLLBACK")
    assert outbox.put(b"x") == 0


def test_threads_that_wait_for_a_file_do_not_wait_for_each_others_waits(
    path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("codec.link.database.BUSY_S", 0.5)
    outbox = Outbox(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start_s = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        failed = [one.exception() for one in [pool.submit(outbox.put, b"x") for _ in range(10)]]
    assert {type(one) for one in failed} == {TimeoutError}
    assert time.monotonic() - start_s < 3  # not 10 times half a second
    other.execute("ROLLBACK")
    assert outbox.put(b"x") == 0


OTHER = """
import sys
from codec.link.queue import Outbox
outbox = Outbox(sys.argv[1])
for n in range(40):
    outbox.put(b"%s %d" % (sys.argv[2].encode(), n))
"""


def test_processes_that_begin_one_file_together_lose_nothing_and_keep_their_order(path) -> None:
    command = [sys.executable, "-c", OTHER, str(path)]
    children = [subprocess.Popen([*command, name]) for name in ("a", "b", "c")]
    assert [child.wait(30) for child in children] == [0, 0, 0]
    outbox, bodies = Outbox(path), []
    while (item := outbox.next()) is not None:
        assert item.sequence == len(bodies)
        bodies.append(item.body.split())
        outbox.done(item.sequence, b"")
    for name in (b"a", b"b", b"c"):
        assert [int(n) for who, n in bodies if who == name] == list(range(40))


def test_threads_share_an_outbox(path: Path) -> None:
    outbox = Outbox(path)
    threads = [
        threading.Thread(target=lambda: [outbox.put(b"x") for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert outbox.n_waiting == 200
    assert outbox.put(b"x") == 200


def test_ages_are_right_though_the_clock_jumps(path: Path) -> None:
    moment = [Moment(0.0, 5.0, "boot")]
    outbox = Outbox(path, clock=lambda: moment[0])
    assert outbox.oldest_age_s == 0
    outbox.put(b"x")
    moment[0] = Moment(1.8e9, 35.0, "boot")  # the time came from the network
    assert outbox.oldest_age_s == 30
    outbox.put(b"y")
    moment[0] = Moment(1.7e9, 65.0, "boot")
    assert outbox.oldest_age_s == 60
    item = outbox.next()
    assert item is not None
    assert item.body == b"x"
    outbox.done(0, b"")
    assert outbox.oldest_age_s == 30
    moment[0] = Moment(1.7e9, 2.0, "next boot")
    assert outbox.oldest_age_s == 0
    moment[0] = Moment(1.8e9 + 90, 2.0, "next boot")
    assert outbox.oldest_age_s == 90


@given(*[st.floats(-1e12, 1e12)] * 4, st.booleans(), st.sampled_from(["", "boot"]))
def test_no_age_is_negative(unix_s, boot_s, later_unix_s, later_boot_s, same, boot) -> None:
    later = boot if same else "other"
    assert age_s(Moment(unix_s, boot_s, boot), Moment(later_unix_s, later_boot_s, later)) >= 0


def test_this_moment_goes_on() -> None:
    first = now()
    assert 0 <= age_s(first, now()) < 5


def test_a_file_is_for_its_owner_alone(path: Path) -> None:
    Outbox(path).put(b"x")
    files = [path, *path.parent.glob("outbox-*")]
    assert len(files) == 3
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)


@pytest.mark.parametrize("damage", ["text", "start", "middle", "cut"])
def test_a_damaged_file_is_refused_by_name_and_left_as_it_is(path: Path, damage: str) -> None:
    outbox = Outbox(path)
    for n in range(40):
        outbox.put(bytes([n]) * 3000)
    outbox.close()
    data = bytearray(path.read_bytes())
    if damage == "text":
        data[:] = b"not a database" * 1000
    elif damage == "start":
        data[:50] = bytes(range(50))
    elif damage == "middle":
        data[4096 * 3 : 4096 * 12] = b"\xa5" * 4096 * 9
    else:
        del data[len(data) // 2 :]
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"outbox is damaged, or no outbox: .*move it away"):
        Outbox(path)
    assert path.read_bytes() == data


def test_damage_that_comes_later_is_an_error_too(path: Path) -> None:
    outbox = Outbox(path)
    for n in range(50):  # more than SQLite has in memory
        outbox.put(bytes([n]) * 100_000)
    outbox.close()
    outbox = Outbox(path)
    path.write_bytes(b"\xa5" * path.stat().st_size)
    with pytest.raises((ValueError, OSError), match="outbox"):
        answer_all(outbox)


def test_an_empty_file_becomes_an_outbox(path: Path) -> None:
    path.touch()
    assert Outbox(path).put(b"x") == 0


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE notes (text)")
    other.close()
    with pytest.raises(ValueError, match="is no outbox, but another database"):
        Outbox(tmp_path / "other")
    Database(tmp_path / "replies", "store", 77, ["CREATE TABLE a (b)"]).close()
    with pytest.raises(ValueError, match="is no outbox, but another database"):
        Outbox(tmp_path / "replies")


def test_a_newer_format_is_refused(path: Path) -> None:
    Outbox(path).close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version=2")
    newer.close()
    with pytest.raises(ValueError, match="format 2; this program reads 1"):
        Outbox(path)


def test_a_place_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        Outbox(tmp_path / "missing" / "outbox")
    with pytest.raises(OSError, match=str(tmp_path)):
        Outbox(tmp_path)


def test_a_closed_outbox_says_so(path: Path) -> None:
    outbox = Outbox(path)
    outbox.close()
    with pytest.raises(ValueError, match="closed"):
        outbox.put(b"x")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"max_bytes": 1000}, "at least 1048576 bytes"),
        ({"when_full": "explode"}, "'refuse' or 'drop-oldest', not 'explode'"),
        ({"max_replies": 0}, "at least one reply"),
    ],
)
def test_a_wrong_argument_is_refused_before_a_file_is_made(path, arguments, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        Outbox(path, **arguments)
    assert not path.exists()


@pytest.mark.parametrize("body", [5, "text", None])
def test_a_body_is_bytes(path: Path, body: object) -> None:
    with pytest.raises(TypeError):
        Outbox(path).put(body)  # type: ignore[arg-type]
