"""metrics, queues and devices -> the numbers that an operator asks for, now and lately.

Everything that is counted is read from `codec.serve.metrics`, so the page and Prometheus agree.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from codec.serve.devices import Devices, Seen
from codec.serve.events import Events
from codec.serve.metrics import Metrics
from codec.serve.reading import Reading
from codec.serve.settings import Limits

EVERY_S = 5.0
"""Between two points of the charts."""
N_POINTS, N_READINGS, READING_EVERY = 180, 15, 12
"""Points of the charts; whole readings that are kept, each `READING_EVERY` points: 15 minutes."""
STAGES = ("queue", "run", "around", "whole")
WAYS = ("blob", "picture", "kept", "alone")
LINKS = ("HTTP", "MQTT", "LoRaWAN")
SHARES = (0.5, 0.95, 0.99)


class Facts(NamedTuple):
    """What a codec is, and the agreement in percent that is expected of it, by what is asked."""

    name: str
    fingerprint: str
    agreement: Mapping[str, float]


class Point(NamedTuple):
    """One point of the charts: when, in seconds since 1970; answers a second by their way; and
    milliseconds of a request, median and 95th percentile, None without requests.
    """

    at_s: int
    blob: float
    picture: float
    p50_ms: float | None
    p95_ms: float | None


class Pair(NamedTuple):
    """Bytes of blobs, and of the pictures that they are held against."""

    blob: float
    picture: float


@dataclass(frozen=True)
class CodecNumbers:
    """What a codec did.

    Attributes:
        tasks: by what is asked: answered, refused (4xx) and failed (5xx) requests.
        ways: answers by `WAYS`.
        body: mean bytes of a blob and of a picture as they came; 0 where none came.
        up, down: bytes of all requests about it, and of their replies, by `LINKS`.
        compared: bytes of blobs, and of pictures of the same score.
        stages_ms: percentiles `SHARES` by `STAGES`, of the last quarter of an hour.
        shadow: answers of shadow checks by what is asked and outcome.
        shadow_bytes: bytes of what they compared.
        n_waiting, oldest_s: of its queue.
    """

    facts: Facts
    tasks: dict[str, tuple[int, int, int]]
    ways: dict[str, int]
    body: Pair
    up: dict[str, int]
    down: dict[str, int]
    compared: Pair
    stages_ms: dict[str, tuple[float | None, ...]]
    shadow: dict[str, dict[str, int]]
    shadow_bytes: Pair
    n_waiting: int
    oldest_s: float

    @property
    def as_pictures(self) -> float:
        """All bytes up, had the blobs that can be compared been pictures of the same score."""
        return sum(self.up.values()) - self.compared.blob + self.compared.picture

    @property
    def n_answers(self) -> int:
        """Answers that the server gave."""
        return sum(n for way, n in self.ways.items() if way != "alone")

    def checked(self, task: str) -> tuple[int, int]:
        """Checked answers that are the uncut model's, and all checked ones."""
        found = self.shadow.get(task, {})
        n_agreed = found.get("agreed", 0)
        return n_agreed, n_agreed + found.get("differed", 0)


@dataclass(frozen=True)
class Numbers:
    """What the page shows.

    Attributes:
        at_s: when, in seconds since 1970.
        up_s: since the server started.
        window_s: which `recent_per_s` and all percentiles are of.
        whole_ms: percentiles `SHARES` of all requests.
        statuses: replies of 4xx and 5xx by status, of all requests.
        n_waiting, oldest_s: of all queues, also that of pictures to decode.
    """

    at_s: float
    up_s: float
    window_s: float
    recent_per_s: float
    whole_ms: tuple[float | None, ...]
    codecs: list[CodecNumbers]
    statuses: dict[str, int]
    devices: list[tuple[str, Seen]]
    n_devices_dropped: int
    n_waiting: int
    oldest_s: float


class Status:
    """The numbers of one server, and who is told of them.

    Args:
        metrics: of the server.
        facts: of its codecs.
        limits: how much is kept.
        clock: seconds since 1970, for what is shown.
    """

    def __init__(
        self,
        metrics: Metrics,
        facts: Sequence[Facts],
        limits: Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics, self._facts, self._clock = metrics, list(facts), clock
        self.devices = Devices(limits.devices, clock)
        self.events = Events(limits.listeners)
        self.points: deque[Point] = deque(maxlen=N_POINTS)
        self._start_s = time.monotonic()
        self._last = metrics.read(self._start_s)
        self._kept: deque[Reading] = deque([self._last], maxlen=N_READINGS)
        self._n_samples = 0

    def uplink(
        self, device: str, airtime_s: float, budget_s: float | None, at_s: float | None = None
    ) -> None:
        """A message came from a device over a link with little airtime. Any thread may say so.

        Args:
            device: its id.
            airtime_s: seconds that the message was on the air.
            budget_s: seconds a day that the device may be, see `Profile.airtime_budget_s`.
            at_s: when it was, in seconds since 1970; None for now.
        """
        self._metrics.uplink(airtime_s)
        self.devices.uplink(device, airtime_s, budget_s, at_s)

    def sample(self) -> Point:
        """Take another point of the charts: of the time since the last one."""
        now = self._metrics.read(time.monotonic())
        grown, self._last = now.since(self._last), now
        self._n_samples += 1
        if self._n_samples % READING_EVERY == 0:
            self._kept.append(now)
        ways = grown.by("way", "taskcodec_ways_total")
        blob, picture = (ways.get(way, 0.0) / max(grown.at_s, 1e-3) for way in WAYS[:2])
        p50, p95, _ = _percentiles_ms(grown, stage="whole")
        point = Point(int(self._clock()), round(blob, 3), round(picture, 3), p50, p95)
        self.points.append(point)
        return point

    def numbers(self, at_last_sample: bool = False) -> Numbers:
        """All that the page shows, as it is now, or as it was at the last sample."""
        now = self._last if at_last_sample else self._metrics.read(time.monotonic())
        recent = now.since(self._kept[0])
        ways = recent.by("way", "taskcodec_ways_total")
        n_recent = sum(n for way, n in ways.items() if way != "alone")
        statuses = now.by("status", "taskcodec_requests_total")
        codecs = [_codec(facts, now, recent) for facts in self._facts]
        waits = [now.total(f"taskcodec_{one}") for one in ("waiting", "undecoded_pictures")]
        undecoded_s = now.total("taskcodec_oldest_undecoded_picture_seconds")
        return Numbers(
            at_s=self._clock(),
            up_s=now.at_s - self._start_s,
            window_s=recent.at_s,
            recent_per_s=n_recent / max(recent.at_s, 1.0),
            whole_ms=_percentiles_ms(recent, stage="whole"),
            codecs=codecs,
            statuses={one: int(n) for one, n in sorted(statuses.items()) if one >= "400"},
            devices=self.devices.latest(),
            n_devices_dropped=self.devices.n_dropped,
            n_waiting=int(sum(waits)),
            oldest_s=max(undecoded_s, *(one.oldest_s for one in codecs)),
        )


def _codec(facts: Facts, now: Reading, recent: Reading) -> CodecNumbers:
    own = {"codec": facts.name}
    requests, tasks = "taskcodec_requests_total", dict[str, tuple[int, int, int]]()
    for task in now.by("task", requests, **own):
        by_status = now.by("status", requests, task=task, **own)
        counts = [sum(n for s, n in by_status.items() if s[0] == first) for first in "245"]
        tasks[task] = (int(counts[0]), int(counts[1]), int(counts[2]))
    ways = now.by("way", "taskcodec_ways_total", **own)
    sums = now.by("kind", "taskcodec_body_bytes_sum", **own)
    counted = now.by("kind", "taskcodec_body_bytes_count", **own)
    body = [sums.get(kind, 0.0) / max(counted.get(kind, 0.0), 1.0) for kind in Pair._fields]
    on_links = {
        link: now.by("direction", f"taskcodec_{link.lower()}_bytes_total", **own) for link in LINKS
    }
    shadow = "taskcodec_shadow_total"
    outcomes = {
        task: {o: int(n) for o, n in now.by("outcome", shadow, task=task, **own).items()}
        for task in now.by("task", shadow, **own)
    }
    return CodecNumbers(
        facts=facts,
        tasks=tasks,
        ways={way: int(ways.get(way, 0)) for way in WAYS},
        body=Pair(*body),
        up={link: int(n["up"]) for link, n in on_links.items() if n.get("up")},
        down={link: int(n["down"]) for link, n in on_links.items() if n.get("down")},
        compared=_pair(now, "taskcodec_compared_bytes_total", facts.name),
        stages_ms={stage: _percentiles_ms(recent, stage=stage, **own) for stage in STAGES},
        shadow=outcomes,
        shadow_bytes=_pair(now, "taskcodec_shadow_bytes_total", facts.name),
        n_waiting=int(now.total("taskcodec_waiting", **own)),
        oldest_s=now.total("taskcodec_oldest_waiting_seconds", **own),
    )


def _pair(reading: Reading, name: str, codec: str) -> Pair:
    found = reading.by("kind", name, codec=codec)
    return Pair(found.get("blob", 0.0), found.get("picture", 0.0))


def _percentiles_ms(reading: Reading, **labels: str) -> tuple[float | None, ...]:
    found = reading.percentiles(SHARES, "taskcodec_stage_seconds", **labels)
    return tuple(None if one is None else round(1000 * one, 3) for one in found)
