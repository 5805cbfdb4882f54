"""cameras around one LoRaWAN gateway -> the frames that they put on the air.

Every camera has an answer at random times (a Poisson process) and sends it as one or several
frames, unconfirmed: class A, ALOHA, no listening before. A frame goes on a random channel among
those whose sub-band the duty cycle leaves free; after it, the camera is silent in that sub-band for
`airtime x (1 / duty cycle - 1)` (ETSI EN 300 220; LoRaWAN 1.0.4, sec. 2.1). What the gateway
receives is `codec.link.collisions`. Cameras stand evenly in a disc; the loss on the way grows with
the logarithm of the distance, without fading. The gateway sends nothing meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from codec.link.collisions import (
    CAPTURE,
    PATHS,
    SPREADING_FACTORS,
    Floats,
    Frames,
    Interference,
    Ints,
)
from codec.link.profiles import Profile, frame_sizes, profile

EU868_BANDS = (3, 5)
"""Channels by sub-band, 1% each: three at 868.0-868.6 MHz, five at 865-868 MHz (The Things Network,
EU863-870)."""
US915_BANDS = (8,)
POWER_DBM = 14.0
LOSS_40_M_DB, LOSS_EXPONENT = 127.41, 2.08
"""Loss at 40 m, and what it grows with: LoRaSim's, measured in a built-up area (Bor et al. 2016,
sec. 4.2)."""
NEAREST_M = 1.0
NOISE_FIGURE_DB = 6.0
LEAST_SNR_DB = (-7.5, -10.0, -12.5, -15.0, -17.5, -20.0)
"""By spreading factor from 7 (Semtech, SX1276/77/78/79 datasheet rev. 7, table 13)."""
WINDOWS_S = 2.0
"""After a frame a camera listens in two windows before it sends again (RECEIVE_DELAY2)."""
SPREAD = 8.0
"""After that, and after waiting for the duty cycle, a camera waits a random time of up to so many
frames, so that two cameras whose frames met seldom meet again: the kindest case for long answers
and repetitions.
"""
BETWEEN_CELLS_S = 100.0


@dataclass(frozen=True)
class Cell:
    """Cameras around a gateway.

    Attributes:
        n_devices: cameras.
        per_hour: answers an hour that each has, in the mean.
        n_bytes: of an answer; a long one is cut into frames, and counts where all have arrived.
        link: a LoRaWAN profile.
        mix: None: all cameras use the profile's spreading factor. Else the share of each from 7 to
            12; the nearest cameras have the lowest.
        n_sent: how often a frame is sent (LoRaWAN's NbTrans); the first that arrives counts.
        interference: when a frame survives another one.
        n_paths: frames that the gateway follows at once; None for no limit.
        channels: by sub-band; None for the region's 8.
        hours: that are simulated.
        n_cells: cells like this, with cameras at other places, that are simulated and do not
            disturb each other.
        seed: of times, channels and places.

    Raises:
        ValueError: a number that makes no sense, or a profile that is not LoRaWAN's.
    """

    n_devices: int
    per_hour: float
    n_bytes: int
    link: Profile
    mix: tuple[float, ...] | None = None
    n_sent: int = 1
    interference: Interference = CAPTURE
    n_paths: int | None = PATHS
    channels: tuple[int, ...] | None = None
    hours: float = 24.0
    n_cells: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.link.name.startswith("lorawan-"):
            raise ValueError(f"a cell is LoRaWAN's; {self.link.name} is another kind of link")
        if min(self.n_devices, self.n_cells) < 1 or not 1 <= self.n_sent <= 15:
            raise ValueError("a cell has at least one camera, and a frame is sent 1 to 15 times")
        if min(self.per_hour, self.hours) <= 0:
            raise ValueError("answers an hour and hours are above 0")
        if self.mix is not None and (
            len(self.mix) != len(SPREADING_FACTORS)
            or min(self.mix) < 0
            or not math.isclose(sum(self.mix), 1.0, abs_tol=1e-6)
        ):
            raise ValueError("a mix is six shares, of the spreading factors 7 to 12, that make 1")
        if self.n_bytes < 1 or (self.channels is not None and min(self.channels, default=0) < 1):
            raise ValueError("an answer has at least one byte, and a sub-band one channel")
        _ = self.links

    @property
    def links(self) -> dict[int, Profile]:
        """The profile of each spreading factor that is in use.

        Raises:
            ValueError: the region has no profile of a spreading factor.
        """
        if self.mix is None:
            return {int(self.link.spreading_factor or 0): self.link}
        region = self.link.name.rpartition("-sf")[0]
        used = [n for n, share in zip(SPREADING_FACTORS, self.mix, strict=True) if share]
        return {n: profile(f"{region}-sf{n}") for n in used}

    @property
    def bands(self) -> tuple[int, ...]:
        """Channels by sub-band."""
        if self.channels is not None:
            return self.channels
        return US915_BANDS if self.link.duty_cycle is None else EU868_BANDS

    def airtimes_s(self, spreading_factor: int) -> list[float]:
        """Seconds on the air of each frame of an answer."""
        link = self.links[spreading_factor]
        sizes = frame_sizes(self.n_bytes, link.max_payload_bytes)
        return [link.airtime_s(size) or 0.0 for size in sizes]

    @property
    def answer_s(self) -> float:
        """Seconds between two answers of the slowest camera that the duty cycle asks for."""
        busy_s = self.n_sent * max(sum(self.airtimes_s(factor)) for factor in self.links)
        return busy_s / ((self.link.duty_cycle or 1.0) * len(self.bands))


def range_m(spreading_factor: int) -> float:
    """Metres at which a gateway still hears a camera at 125 kHz."""
    noise_dbm = -174 + 10 * math.log10(125_000) + NOISE_FIGURE_DB
    least_dbm = noise_dbm + LEAST_SNR_DB[spreading_factor - SPREADING_FACTORS[0]]
    return float(40 * 10 ** ((POWER_DBM - least_dbm - LOSS_40_M_DB) / (10 * LOSS_EXPONENT)))


def mix_by_distance() -> tuple[float, ...]:
    """The shares of the spreading factors where every camera has the quickest that reaches."""
    areas = [range_m(factor) ** 2 for factor in SPREADING_FACTORS]
    inner = [0.0, *areas[:-1]]
    return tuple((outer - less) / areas[-1] for outer, less in zip(areas, inner, strict=True))


def frames_of(cell: Cell) -> tuple[Frames, Floats, Ints]:
    """What the cameras put on the air, when each answer arose, (N, A), infinite where there is
    none, and how many frames it has, (N,); N are the cameras of all cells. Deterministic by the
    seed. Answer a of camera n has the number n x A + a. Each cell's time is after the last one's.
    """
    rng = np.random.default_rng(cell.seed)
    duration_s = 3600 * cell.hours
    factors, power_dbm = _places(cell, rng)
    n_cameras = len(factors)
    counts = rng.poisson(cell.per_hour * cell.hours, n_cameras)
    arises_s = rng.uniform(0, duration_s, (n_cameras, int(counts.max())))
    arises_s[np.arange(arises_s.shape[1]) >= counts[:, None]] = np.inf
    arises_s.sort(axis=1)
    airtimes = {factor: cell.airtimes_s(factor) for factor in cell.links}
    most = max(len(times) for times in airtimes.values())
    n_parts = np.zeros(n_cameras, dtype=np.int64)
    airtime_s = np.zeros((n_cameras, most))
    for factor, times in airtimes.items():
        n_parts[factors == factor] = len(times)
        airtime_s[factors == factor, : len(times)] = times

    bands = np.array(cell.bands)
    offset = np.concatenate([[0], np.cumsum(bands)[:-1]])
    silence = 1.0 if cell.link.duty_cycle is None else 1 / cell.link.duty_cycle
    free_s = np.zeros((n_cameras, len(bands)))
    ready_s = np.zeros(n_cameras)
    sent: list[tuple[Floats | Ints, ...]] = []
    steps = [part for part in range(most) for _ in range(cell.n_sent)]
    for answer in range(arises_s.shape[1]):
        for part in steps:
            who = np.flatnonzero((arises_s[:, answer] < np.inf) & (part < n_parts))
            wish_s = np.maximum(ready_s[who], arises_s[who, answer])
            least_s = free_s[who].min(axis=1)
            took_s = airtime_s[who, part]
            rest_s = SPREAD * took_s * rng.random((2, len(who)))
            start_s = np.where(least_s > wish_s, least_s + rest_s[0], wish_s)
            # a channel among those of the free sub-bands
            upto = np.cumsum((free_s[who] <= start_s[:, None]) * bands, axis=1)
            pick = (rng.random(len(who)) * upto[:, -1]).astype(np.int64)
            band = (pick[:, None] >= upto).sum(axis=1)
            channel = offset[band] + pick - (upto[np.arange(len(who)), band] - bands[band])
            free_s[who, band] = start_s + silence * took_s
            ready_s[who] = start_s + took_s + WINDOWS_S + rest_s[1]
            number = who * arises_s.shape[1] + answer
            which = np.full(len(who), part)
            ends_s = start_s + took_s
            sent.append((start_s, ends_s, channel, factors[who], power_dbm[who], number, which))
    columns = [np.concatenate(column) for column in zip(*sent, strict=True)] if sent else []
    if not columns:
        columns = [np.zeros(0, dtype=kind) for kind in (float, float, int, int, float, int, int)]
    in_time = columns[0] < duration_s
    columns = [column[in_time] for column in columns]
    place = columns[5] // max(arises_s.shape[1], 1) // cell.n_devices
    apart_s = place * (duration_s + BETWEEN_CELLS_S)
    columns[0], columns[1] = columns[0] + apart_s, columns[1] + apart_s
    order = np.argsort(columns[0], kind="stable")
    return Frames(*(column[order] for column in columns)), arises_s, n_parts


def _places(cell: Cell, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """The spreading factor of each camera and its power at the gateway, (N,) each, of each cell the
    nearest camera first.
    """
    reach_m = max(range_m(factor) for factor in cell.links)
    distance_m = np.sort(reach_m * np.sqrt(rng.random((cell.n_cells, cell.n_devices)))).ravel()
    loss_db = LOSS_40_M_DB + 10 * LOSS_EXPONENT * np.log10(np.maximum(distance_m, NEAREST_M) / 40)
    if cell.mix is None:
        factors = np.full(len(distance_m), cell.link.spreading_factor)
    else:
        upto = np.cumsum(cell.mix)[:-1] * cell.n_devices
        place = np.searchsorted(upto, np.arange(cell.n_devices), side="right")
        factors = np.tile(np.array(SPREADING_FACTORS)[place], cell.n_cells)
    return factors, POWER_DBM - loss_db
