"""cameras around one LoRaWAN gateway -> the share of their answers that arrives, and how many
cameras the cell carries.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from codec.link.cell import Cell, frames_of
from codec.link.collisions import received

MARGIN = 0.1
"""The share of the time at the start and at the end whose answers are not counted: the cell fills,
and what is late has time to come."""
MAX_FRAMES = 20_000_000
MAX_DEVICES = 1_000_000
WANTED_ANSWERS = 30_000
"""Answers that a search simulates for each number of cameras: at 95% delivered, the share is known
to 0.3 points (95% confidence)."""
LEAST_HOURS, LEAST_ANSWERS = 1.0, 10
RESOLUTION = 50
"""A search ends when the number of cameras is known to one part in so many."""


class Carried(NamedTuple):
    """What a cell carried.

    Attributes:
        delivered: the share of answers that arrived whole.
        n_answers: that were counted.
        frames_received: the share of all frames that the gateway received.
        load: frames on the air at a time and channel, in the mean: the G of ALOHA.
    """

    delivered: float
    n_answers: int
    frames_received: float
    load: float


def simulate(cell: Cell) -> Carried:
    """Simulate a cell. Deterministic by its seed.

    Raises:
        ValueError: more than 20 million frames.
    """
    n_frames = max(len(cell.airtimes_s(factor)) for factor in cell.links) * cell.n_sent
    n_cameras = cell.n_devices * cell.n_cells
    if n_cameras * max(cell.per_hour * cell.hours, 1) * n_frames > MAX_FRAMES:
        raise ValueError(f"more than {MAX_FRAMES:,} frames: take fewer cameras, answers or hours")
    frames, arises_s, n_parts = frames_of(cell)
    whole = received(frames, cell.interference, cell.n_paths)
    # an answer has arrived when each of its parts has, in whichever repetition
    most = int(n_parts.max())
    parts = np.unique(frames.answer[whole] * most + frames.part[whole])
    n_arrived = np.bincount(parts // most, minlength=arises_s.size)
    arrived = n_arrived == np.repeat(n_parts, arises_s.shape[1])
    when_s, duration_s = arises_s.ravel(), 3600 * cell.hours
    counted = (when_s >= MARGIN * duration_s) & (when_s < (1 - MARGIN) * duration_s)
    return Carried(
        float(arrived[counted].mean()) if counted.any() else 0.0,
        int(counted.sum()),
        float(whole.mean()) if len(whole) else 0.0,
        float((frames.end_s - frames.start_s).sum() / duration_s / sum(cell.bands) / cell.n_cells),
    )


def cameras(cell: Cell, delivered: float = 0.95) -> int:
    """How many cameras a cell carries: the most with which this share of the answers arrives; 0
    where the duty cycle does not let one camera send as often. At most a million.

    Args:
        cell: its number of cameras and its hours are not looked at.

    Raises:
        ValueError: a share that is not between 0 and 1.
    """
    if not 0 < delivered < 1:
        raise ValueError(f"a share of answers is between 0 and 1, not {delivered}")
    if cell.per_hour * cell.answer_s > 3600:
        return 0

    def carries(n_devices: int) -> bool:
        hours = max(LEAST_HOURS, LEAST_ANSWERS * max(cell.answer_s / 3600, 1 / cell.per_hour))
        n_cells = math.ceil(WANTED_ANSWERS / (n_devices * cell.per_hour * hours))
        one = replace(cell, n_devices=n_devices, hours=hours, n_cells=n_cells)
        return simulate(one).delivered >= delivered

    most, too_many = 0, 1
    while too_many <= MAX_DEVICES and carries(too_many):
        most, too_many = too_many, 2 * too_many
    if too_many > MAX_DEVICES:
        return most
    while too_many - most > max(1, most // RESOLUTION):
        middle = (most + too_many) // 2
        most, too_many = (middle, too_many) if carries(middle) else (most, middle)
    return most
