"""Frame counters: the same frame has the same number, another one never has."""

from __future__ import annotations

from pathlib import Path

import pytest

from codec.link.uplinks import CHIRPSTACK, Uplink
from codec.serve.counters import Counters, Placed

START_S = 1_800_000_000.0


def frame(
    counter: int, at_s: float | None, session: str = "a", device: str = "cam"
) -> tuple[Uplink, bytes]:
    moment = None if at_s is None else START_S + at_s
    uplink = Uplink(
        CHIRPSTACK, "app", device, session, counter, 1, bytes([counter % 256]), moment, None, None
    )
    return uplink, f"{counter} {session} {at_s}".encode()


@pytest.fixture
def counters(tmp_path: Path) -> Counters:
    return Counters(tmp_path / "counters")


def test_frames_in_order_have_growing_numbers_and_gaps_are_counted(counters: Counters) -> None:
    placed = [counters.place(*frame(n, 60 * n)) for n in (5, 6, 9)]
    numbers = [one.sequence for one in placed]
    assert [n - numbers[0] for n in numbers] == [0, 1, 4]
    assert [one.n_missing for one in placed] == [0, 0, 2]
    assert not any(one.late or one.restarted or one.repeated for one in placed)


def test_a_frame_that_comes_again_or_late_keeps_its_number(counters: Counters) -> None:
    first, second = (counters.place(*frame(n, n)) for n in (5, 6))
    again = counters.place(*frame(6, 6))
    assert (again.sequence, again.repeated) == (second.sequence, True)
    late = counters.place(*frame(5, 5))
    assert (late.sequence, late.late) == (first.sequence, True)


def test_a_join_begins_anew_and_never_uses_a_number_again(counters: Counters) -> None:
    before = [counters.place(*frame(n, n)).sequence for n in range(3)]
    joined = counters.place(*frame(0, 100, session="b"))
    assert joined.restarted
    assert joined.sequence > max(before)
    assert counters.place(*frame(1, 101, "b")).sequence == joined.sequence + 1
    late = counters.place(*frame(2, 2))
    assert late.late, "of the session before"
    assert late.sequence < joined.sequence
    assert counters.place(*frame(2, 102, "b")).sequence == joined.sequence + 2


def test_a_counter_that_goes_back_within_a_session_begins_anew(counters: Counters) -> None:
    high = counters.place(*frame(5000, 1))
    low = counters.place(*frame(0, 2))
    assert low.restarted
    assert low.sequence > high.sequence
    same = counters.place(*frame(0, 3))
    assert same.restarted, "a device that counts from 0 with each start"
    assert same.sequence > low.sequence


def test_numbers_outlive_a_restart_and_a_lost_file(tmp_path: Path) -> None:
    counters = Counters(tmp_path / "a")
    first = counters.place(*frame(5, 0))
    second = counters.place(*frame(6, 1))
    counters.close()
    counters = Counters(tmp_path / "a")
    assert counters.place(*frame(6, 1)).sequence == second.sequence
    assert counters.place(*frame(5, 0)).sequence == first.sequence
    counters.close()
    anew = Counters(tmp_path / "b").place(*frame(0, 120))
    assert anew.sequence > second.sequence, "two minutes later"


def test_the_device_that_was_silent_for_longest_makes_room(tmp_path: Path) -> None:
    counters = Counters(tmp_path / "counters", max_devices=2)
    for device in ("a", "b", "a", "c"):
        counters.place(*frame(1, 1, device=device))
    assert counters.place(*frame(1, 1, device="a")).repeated
    assert not counters.place(*frame(1, 1, device="b")).repeated


def test_without_a_time_the_clock_is_taken(tmp_path: Path) -> None:
    now = [START_S]
    counters = Counters(tmp_path / "counters", clock=lambda: now[0])
    counters.place(*frame(1, None))
    now[0] += 1
    assert counters.place(*frame(2, None)) == Placed(((int(START_S) // 60) << 32) + 2)
