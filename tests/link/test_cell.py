"""A cell of cameras: collisions against the theory, and what the duty cycle lets through."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from codec.link.capacity import cameras, simulate
from codec.link.cell import Cell, frames_of, mix_by_distance, range_m
from codec.link.collisions import (
    CAPTURE,
    IMPERFECT,
    NO_CAPTURE,
    Frames,
    Interference,
    received,
)
from codec.link.profiles import profile

SF12 = profile("lorawan-eu868-sf12")
ALOHA = Cell(1, 1.0, 8, SF12, interference=NO_CAPTURE, n_paths=None, channels=(1,))


@pytest.mark.parametrize("n_devices", [100, 500, 2000])
def test_one_channel_without_capture_is_pure_aloha(n_devices: int) -> None:
    """exp(-2 G), G the frames on the air at a time (Abramson 1970); within four standard errors of
    answers that are lost in pairs."""
    cell = replace(ALOHA, n_devices=n_devices, n_cells=20_000 // n_devices)
    found = simulate(cell)
    expected = math.exp(-2 * found.load)
    error = math.sqrt(2 * expected * (1 - expected) / found.n_answers)
    assert found.load == pytest.approx(n_devices * 1.482752 / 3600, rel=0.02)
    assert abs(found.delivered - expected) < 4 * error


def test_an_answer_in_several_frames_needs_all_of_them() -> None:
    found = simulate(replace(ALOHA, n_devices=20, n_cells=200, n_bytes=3 * 51))
    expected = found.frames_received**3
    assert found.delivered == pytest.approx(expected, abs=0.04)
    assert found.delivered < found.frames_received - 0.1


def test_a_frame_that_is_sent_twice_arrives_oftener_where_there_is_room() -> None:
    few = replace(ALOHA, n_devices=20, n_cells=200)
    once, twice = simulate(few), simulate(replace(few, n_sent=2))
    assert 1 - twice.delivered < 0.5 * (1 - once.delivered)
    assert twice.load == pytest.approx(2 * once.load, rel=0.05)


def of(*rows: tuple[float, float, int, int, float]) -> Frames:
    """Frames of (start, end, channel, spreading factor, dBm)."""
    start, end, channel, factor, power = (np.array(column) for column in zip(*rows, strict=True))
    number = np.arange(len(rows))
    return Frames(start, end, channel, factor, power, number, 0 * number)


@pytest.mark.parametrize(
    ("other", "interference", "expected"),
    [
        ((0.5, 1.5, 0, 7, -100.0), NO_CAPTURE, [False, False]),
        ((0.5, 1.5, 1, 7, -100.0), NO_CAPTURE, [True, True]),  # another channel
        ((0.5, 1.5, 0, 8, -100.0), NO_CAPTURE, [True, True]),  # another spreading factor
        ((1.0, 1.5, 0, 7, -100.0), NO_CAPTURE, [True, True]),  # just after it
        ((0.5, 1.5, 0, 7, -105.0), CAPTURE, [False, False]),
        ((0.5, 1.5, 0, 7, -106.0), CAPTURE, [True, False]),
        ((0.5, 1.5, 0, 7, -94.0), CAPTURE, [False, True]),
        ((0.998, 1.5, 0, 7, -100.0), CAPTURE, [False, True]),  # 3 symbols of 1.024 ms
        ((0.996, 1.5, 0, 7, -100.0), CAPTURE, [False, False]),
        ((0.5, 1.5, 0, 9, -82.0), CAPTURE, [True, True]),
        ((0.5, 1.5, 0, 9, -82.0), IMPERFECT, [True, True]),  # SF7 stands 18 dB of SF9
        ((0.5, 1.5, 0, 9, -81.0), IMPERFECT, [False, True]),
    ],
)
def test_two_frames(
    other: tuple[float, float, int, int, float], interference: Interference, expected: list[bool]
) -> None:
    frames = of((0.0, 1.0, 0, 7, -100.0), other)
    assert received(frames, interference).tolist() == expected


def test_a_long_frame_meets_those_after_the_next_one() -> None:
    frames = of(
        (0.0, 9.0, 0, 7, -90.0),
        (1.0, 2.0, 0, 7, -100.0),
        (3.0, 4.0, 0, 7, -100.0),
        (5.0, 9.5, 0, 7, -80.0),
        (10.0, 11.0, 0, 7, -100.0),
    )
    assert received(frames, CAPTURE).tolist() == [False, False, False, True, True]


def test_a_gateway_follows_eight_frames_and_a_path_is_free_again_at_the_end() -> None:
    rows = [(0.1 * n, 2.0, n, 7, -100.0) for n in range(9)]
    frames = of(*rows, (2.0, 3.0, 0, 7, -100.0))
    assert received(frames, CAPTURE).tolist() == [True] * 8 + [False, True]
    assert received(frames, CAPTURE, None).all()


def test_the_duty_cycle_is_kept_in_every_sub_band() -> None:
    frames, _, _ = frames_of(Cell(3, 60.0, 51, SF12, hours=2, seed=2))
    airtime_s = SF12.airtime_s(51) or 0.0
    device = frames.answer // (frames.answer.max() // 3 + 1)
    n_checked = 0
    for camera in range(3):
        for band in ((0, 1, 2), (3, 4, 5, 6, 7)):
            mine = (device == camera) & np.isin(frames.channel, band)
            starts = frames.start_s[mine]
            assert len(starts) > 5
            assert all(b - a >= 100 * airtime_s - 1e-6 for a, b in pairwise(starts))
            n_checked += len(starts)
    assert n_checked > 100, "more is asked for than the duty cycle allows: it is used up"


def test_channels_are_used_evenly_where_the_duty_cycle_asks_nothing() -> None:
    link = profile("lorawan-us915-sf10")
    frames, _, _ = frames_of(Cell(500, 10.0, 8, link, hours=1, seed=1))
    share = np.bincount(frames.channel, minlength=8) / len(frames.channel)
    assert share == pytest.approx(1 / 8, abs=0.02)


def test_near_cameras_have_quick_spreading_factors() -> None:
    mix = mix_by_distance()
    assert sum(mix) == pytest.approx(1)
    frames, _, _ = frames_of(Cell(1000, 1.0, 8, SF12, mix=mix))
    strength = [frames.power_dbm[frames.spreading_factor == n].min() for n in range(7, 13)]
    assert strength == sorted(strength, reverse=True)
    assert range_m(12) > range_m(7) > 100
    assert simulate(Cell(1000, 1.0, 8, SF12, mix=mix)).delivered > 0.97
    assert simulate(Cell(1000, 1.0, 8, SF12)).delivered < 0.94


def test_a_cell_carries_what_is_delivered_and_no_more() -> None:
    cell = Cell(1, 1.0, 49, SF12)
    most = cameras(cell, 0.9)
    within, beyond = (
        simulate(replace(cell, n_devices=n, n_cells=4)).delivered
        for n in (round(0.94 * most), round(1.06 * most))
    )
    assert within > 0.9 > beyond
    assert simulate(cell) == simulate(cell), "the same again"
    assert cameras(replace(cell, per_hour=60.0), 0.9) == 0, "the duty cycle: 2.8 s each, 1%"


def test_a_day_of_a_thousand_cameras_takes_less_than_two_seconds() -> None:
    start = time.process_time()
    found = simulate(Cell(1000, 10.0, 8, SF12))
    assert found.n_answers > 150_000
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"link": profile("sigfox")}, "LoRaWAN"),
        ({"n_devices": 0}, "one camera"),
        ({"n_sent": 16}, "15 times"),
        ({"per_hour": 0}, "above 0"),
        ({"mix": (1.0,)}, "six shares"),
        ({"n_bytes": 0}, "one byte"),
        ({"link": profile("lorawan-us915-sf10"), "mix": mix_by_distance()}, "no link profile"),
    ],
)
def test_a_cell_that_makes_no_sense_says_why(wrong: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(ALOHA, **wrong)  # type: ignore[arg-type]


def test_too_much_is_refused_before_it_takes_memory() -> None:
    with pytest.raises(ValueError, match="20,000,000 frames"):
        simulate(replace(ALOHA, n_devices=10**7))
    with pytest.raises(ValueError, match="between 0 and 1"):
        cameras(ALOHA, 1.5)
    with pytest.raises(ValueError, match="6 x 6"):
        Interference(((1.0,),), 0)
    with pytest.raises(ValueError, match="0 to 8"):
        replace(CAPTURE, spared_symbols=9)
