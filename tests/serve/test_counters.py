"""Frame counters: the same frame has the same number, another one never has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.link.uplinks import CHIRPSTACK, Uplink
from codec.serve.counters import KNOWN, Counters, Placed

START_S = 1_800_000_000.0
LATER_S = START_S + 86_400


def frame(
    counter: int,
    at_s: float | None,
    session: str = "a",
    device: str = "cam",
    content: bytes = b"blob",
) -> Uplink:
    moment = None if at_s is None else START_S + at_s
    return Uplink(CHIRPSTACK, "app", device, session, counter, 1, content, moment, None, None)


def opened(path: Path, max_devices: int = 10_000) -> Counters:
    return Counters(path, max_devices, clock=lambda: LATER_S)


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[Counters]:
    counters = opened(tmp_path / "counters")
    yield counters
    counters.close()


def numbers(counters: Counters, *frames: Uplink) -> list[int]:
    return [counters.place(one).sequence for one in frames]


def test_frames_in_order_have_growing_numbers_and_gaps_are_counted(counters: Counters) -> None:
    placed = [counters.place(frame(n, 60 * n)) for n in (5, 6, 9)]
    first = placed[0].sequence
    assert [one.sequence - first for one in placed] == [0, 1, 2]
    assert [one.n_missing for one in placed] == [0, 0, 2]
    assert not any(one.late or one.restarted or one.repeated for one in placed)


def test_a_frame_that_comes_again_keeps_its_number_and_one_that_comes_late_has_its_own(
    counters: Counters,
) -> None:
    first, second = (counters.place(frame(n, n)) for n in (5, 7))
    for n, before in ((7, second), (5, first)):
        assert counters.place(frame(n, n)) == Placed(before.sequence, repeated=True)
    assert counters.place(frame(6, 6)) == Placed(second.sequence + 1, late=True)
    assert counters.place(frame(8, 8)) == Placed(second.sequence + 2), "nothing is missing"


STORIES = {
    "a device that starts again": [frame(5, 1), frame(0, 2)],
    "a device that joins": [frame(5, 1), frame(0, 2, session="b")],
    "a device that joins under a counter that goes on": [frame(5, 1), frame(6, 2, session="b")],
    "no times": [frame(10, None), frame(11, None, content=b"other")],
    "no times, and a device that starts again": [frame(5, None), frame(0, None)],
    "no times, and a device that joins": [frame(5, None), frame(0, None, session="b")],
    "a device that counts from 0 with each start": [frame(0, n) for n in range(3)],
    "the same without times": [frame(0, None, content=bytes([n])) for n in range(3)],
    "times that go back": [frame(5, 9), frame(6, 2), frame(7, 5)],
}


@pytest.mark.parametrize("frames", STORIES.values(), ids=STORIES)
def test_what_was_in_flight_when_the_server_was_killed_keeps_its_numbers(
    frames: list[Uplink], tmp_path: Path
) -> None:
    counters = opened(tmp_path / "counters")
    before = numbers(counters, *frames)
    assert len(set(before)) == len(frames), "each has its own"
    counters.close()
    counters = opened(tmp_path / "counters")
    assert numbers(counters, *frames) == before
    assert numbers(counters, *reversed(frames)) == before[::-1]
    last = frames[-1]
    moment = None if last.at_s is None else 100
    placed = counters.place(frame(last.counter + 1, moment, last.session))
    assert placed.sequence == max(before) + 1, "and the device goes on"
    assert not any((placed.late, placed.restarted, placed.repeated))
    counters.close()


EVENTS = st.lists(st.sampled_from(["next", "lost", "start", "join", "again"]), max_size=25)


@given(EVENTS, st.booleans(), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_whatever_a_device_does_each_frame_has_one_number_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, events: list[str], times: bool, random: Random
) -> None:
    counters = opened(tmp_path_factory.mktemp("a") / "counters")
    session, counter, known = 0, 0, dict[int, int]()
    sent: list[Uplink] = []
    for moment, event in enumerate(events):
        if event == "again" and sent:
            n = random.randrange(len(sent))
            assert counters.place(sent[n]) == Placed(known[n], repeated=True)
            continue
        counter = 0 if event in ("start", "join") else counter + 1 + (event == "lost")
        session += event == "join"
        at_s = moment if times else None
        sent.append(frame(counter, at_s, f"s{session}", content=bytes([moment])))
        placed = counters.place(sent[-1])
        assert not placed.repeated
        assert placed.sequence not in known.values()
        known[len(sent) - 1] = placed.sequence
    counters.close()


def test_a_join_begins_anew_and_a_frame_from_before_it_may_still_come(counters: Counters) -> None:
    before = numbers(counters, *(frame(n, n) for n in range(3)))
    joined = counters.place(frame(0, 100, session="b"))
    assert joined == Placed(before[-1] + 1, restarted=True)
    assert counters.place(frame(1, 101, "b")) == Placed(before[-1] + 2)
    assert counters.place(frame(3, 3)) == Placed(before[-1] + 3, late=True)
    assert counters.place(frame(2, 102, "b")) == Placed(before[-1] + 4)


def test_a_counter_that_goes_back_within_a_session_begins_anew(counters: Counters) -> None:
    high = counters.place(frame(5000, 1))
    assert counters.place(frame(0, 2)) == Placed(high.sequence + 1, restarted=True)
    same = counters.place(frame(0, 3))
    assert same == Placed(high.sequence + 2, restarted=True), "it counts from 0 with each start"
    assert counters.place(frame(4999, 1.5)).late, "of before the start: 5000 is not the highest"
    assert counters.place(frame(1, 4)) == Placed(high.sequence + 4)


def test_without_times_equal_frames_of_one_counter_are_one(counters: Counters) -> None:
    first = counters.place(frame(0, None))
    assert counters.place(frame(0, None)) == Placed(first.sequence, repeated=True)
    assert counters.place(frame(0, None, content=b"other")).restarted
    assert counters.place(frame(0, 1)).restarted, "one with a time is another"


def test_the_last_hundred_frames_are_known(counters: Counters) -> None:
    frames = [frame(n, n) for n in range(KNOWN + 1)]
    before = numbers(counters, *frames)
    assert numbers(counters, *frames[1:]) == before[1:]
    assert counters.place(frames[0]) == Placed(before[-1] + 1, late=True)


def test_a_time_to_come_makes_no_later_frame_late(tmp_path: Path) -> None:
    now = [START_S]
    counters = Counters(tmp_path / "counters", clock=lambda: now[0])
    counters.place(frame(1, 1e9))
    now[0] += 60
    assert not counters.place(frame(2, 60)).late
    counters.close()


def test_a_lost_file_gives_no_number_again(tmp_path: Path) -> None:
    now = [START_S]
    found = []
    for name in "ab":
        counters = Counters(tmp_path / name, clock=lambda: now[0])
        found += numbers(counters, *(frame(n, n) for n in range(100)))
        counters.close()
        now[0] += 1
    assert len(set(found)) == 200
    assert found == sorted(found)
    assert found[-1] < 1 << 63


def test_the_device_that_was_silent_for_longest_makes_room(tmp_path: Path) -> None:
    counters = opened(tmp_path / "counters", max_devices=2)
    for device in ("a", "b", "a", "c"):
        counters.place(frame(1, 1, device=device))
    assert counters.place(frame(1, 1, device="a")).repeated
    assert not counters.place(frame(1, 1, device="b")).repeated
    ((n_frames,),) = counters._database.rows("SELECT count(*) FROM frames")
    assert n_frames == 2, "those of a device that is forgotten are not kept"
    counters.close()
