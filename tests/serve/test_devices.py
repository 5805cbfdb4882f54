"""The list of devices: who was seen when, bounded, and the airtime of a day."""

from __future__ import annotations

import pytest

from codec.link.profiles import profile
from codec.serve.devices import DAY_S, Devices


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 20_000.0 * DAY_S

    def __call__(self) -> float:
        return self.now_s


def test_the_device_that_was_seen_longest_ago_makes_room() -> None:
    clock = Clock()
    devices = Devices(2, clock)
    for name in ("a", "b", "a", "c"):
        devices.seen(name)
        clock.now_s += 1
    assert [name for name, _ in devices.latest()] == ["c", "a"]
    assert dict(devices.latest())["a"].n_requests == 2
    assert devices.n_dropped == 1


def test_airtime_is_of_a_day_and_comes_back_at_midnight() -> None:
    clock = Clock()
    devices = Devices(5, clock)
    link = profile("lorawan-eu868-sf12")
    assert link.airtime_budget_s == 30.0
    airtime_s = link.airtime_s(20)
    assert airtime_s is not None
    for _ in range(2):
        devices.uplink("field", airtime_s, link.airtime_budget_s)
    ((_, seen),) = devices.latest()
    assert seen.airtime_left_s(clock.now_s) == pytest.approx(30 - 2 * airtime_s)
    clock.now_s += DAY_S
    assert seen.airtime_left_s(clock.now_s) == 30.0
    devices.uplink("field", airtime_s, link.airtime_budget_s)
    ((_, seen),) = devices.latest()
    assert seen.airtime_left_s(clock.now_s) == pytest.approx(30 - airtime_s)
    assert seen.n_requests == 3


def test_airtime_counts_on_the_day_when_it_was_taken() -> None:
    clock = Clock()
    devices = Devices(5, clock)
    day_s = clock.now_s
    clock.now_s += 3600  # what waited at the broker over midnight
    for at_s, airtime_s in ((day_s - 7200, 1.0), (day_s - 3600, 2.0)):
        devices.uplink("field", airtime_s, 30.0, at_s)
    ((_, seen),) = devices.latest()
    assert (seen.last_s, seen.airtime_left_s(clock.now_s)) == (day_s - 3600, 30.0)
    assert seen.airtime_left_s(day_s - 1) == 27.0
    devices.uplink("field", 4.0, 30.0, day_s + 60)
    devices.uplink("field", 8.0, 30.0, day_s - 60)
    devices.uplink("field", 16.0, 30.0, day_s + 9 * DAY_S)  # as a wrong clock says
    ((_, seen),) = devices.latest()
    assert (seen.last_s, seen.airtime_left_s(clock.now_s)) == (clock.now_s, 10.0)
    assert seen.n_requests == 5


def test_a_request_over_another_link_keeps_the_airtime() -> None:
    devices = Devices(5, Clock())
    devices.uplink("field", 1.5, 30.0)
    devices.seen("field")
    ((_, seen),) = devices.latest()
    assert seen.airtime_left_s(seen.last_s) == 28.5


def test_a_link_without_a_budget_has_no_airtime_left_to_say() -> None:
    devices = Devices(5, Clock())
    devices.uplink("buoy", 0.0, profile("iridium-sbd").airtime_budget_s)
    ((_, seen),) = devices.latest()
    assert seen.airtime_left_s(seen.last_s) is None
