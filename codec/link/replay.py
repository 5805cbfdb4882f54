"""a bandwidth trace and ways of working -> the latency of every request, by each fixed way, by the
policy, and by an oracle that knows the trace.

Requests come at fixed times and each has the link to itself, so that all ways are asked at the same
moments: a slow way does not skip the moments at which it would look worst. A request computes on
the device, sends its bytes at the trace's rate, waits a round trip and the server's time, and gets
its reply at the trace's rate. One that takes longer than `timeout_s` has failed and counts that
long. The policy learns of an exchange when it has ended, and of nothing else.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from codec.link.estimate import Estimate
from codec.link.policy import TOLERANCE, Way, choose
from codec.link.traces import Trace
from codec.link.ways import Measured, Stages, body_bytes

POLICY, ORACLE = "policy", "oracle"
MAX_REQUESTS = 20_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """How a trace is replayed.

    Attributes:
        n_requests: how many; at most 20,000.
        every_s: seconds between two requests.
        timeout_s: when a request has failed.
        deadline_ms, tolerance, ms_per_byte: as `policy.choose` takes them.
    """

    n_requests: int = 300
    every_s: float = 1.0
    timeout_s: float = 120.0
    deadline_ms: float | None = None
    tolerance: float = TOLERANCE
    ms_per_byte: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.n_requests <= MAX_REQUESTS:
            raise ValueError(f"a replay has 1 to {MAX_REQUESTS} requests, not {self.n_requests}")
        if min(self.every_s, self.timeout_s) <= 0:
            raise ValueError("the time between requests and the timeout are above 0 s")


@dataclass(frozen=True)
class Outcome:
    """What became of all requests by one way of working.

    Attributes:
        name: the way's, `policy` or `oracle`.
        latency_ms: of each request, (n,); a failed one has the timeout.
        score: of each request's way, (n,), points.
        n_bytes: of each request on the link, both directions, (n,).
        failed: which had no answer in time, (n,) bool.
        ways: the names of the ways that were taken, and how often.
    """

    name: str
    latency_ms: Floats
    score: Floats
    n_bytes: Floats
    failed: NDArray[np.bool_]
    ways: dict[str, int] = field(default_factory=dict)

    @property
    def median_ms(self) -> float:
        return float(np.median(self.latency_ms))

    @property
    def p95_ms(self) -> float:
        return float(np.percentile(self.latency_ms, 95))

    @property
    def mean_score(self) -> float:
        """Points, over the requests that were answered; 0 where none was."""
        return float(self.score[~self.failed].mean()) if not self.failed.all() else 0.0

    def score_by(self, deadline_ms: float) -> float:
        """Points, where an answer that is late or missing counts 0."""
        return float(np.where(self.latency_ms <= deadline_ms, self.score, 0.0).mean())

    def regret(self, oracle: Outcome) -> float:
        """How much longer all requests took together than the oracle's, as a share."""
        return float(self.latency_ms.sum() / oracle.latency_ms.sum() - 1)


@dataclass(frozen=True)
class Replay:
    """A trace replayed: the policy's outcome, the oracle's, and each fixed way's.

    Attributes:
        fixed: in the order of the ways.
        close: the names of the ways whose score is within the tolerance of the best; without a
            deadline, the policy and the oracle choose among these.
    """

    trace: Trace
    setting: Setting
    policy: Outcome
    oracle: Outcome
    fixed: tuple[Outcome, ...]
    close: frozenset[str]

    @property
    def best_fixed(self) -> Outcome:
        """The fixed way with the least median among those close to the best score."""
        return min((one for one in self.fixed if one.name in self.close), key=_median)


def replay(trace: Trace, ways: Sequence[Measured], stages: Stages, setting: Setting) -> Replay:
    """Replay a trace. Deterministic; nothing is read but the arguments.

    Raises:
        ValueError: no ways.
    """
    if not ways:
        raise ValueError("there is no way to replay")
    starts = setting.every_s * np.arange(setting.n_requests)
    runs = [_run(trace, one, stages, setting, starts) for one in ways]
    fixed = tuple(
        _outcome(one.way.name, [place] * len(starts), runs, ways) for place, one in enumerate(ways)
    )
    latency = np.stack([run.latency_ms for run in runs])
    score = np.array([one.way.score for one in ways])
    close = score >= score.max() - setting.tolerance
    best = _best(latency, score, setting)
    taken = _taken(runs, ways, setting, starts)
    return Replay(
        trace,
        setting,
        _outcome(POLICY, taken, runs, ways),
        _outcome(ORACLE, best, runs, ways),
        fixed,
        frozenset(one.way.name for one, near in zip(ways, close, strict=True) if near),
    )


@dataclass(frozen=True)
class _Run:
    """All requests by one way: latency, the time on the link alone, bytes; (n,) each."""

    latency_ms: Floats
    link_s: Floats
    n_bytes_up: Floats
    n_bytes_down: Floats
    failed: NDArray[np.bool_]


def _run(trace: Trace, one: Measured, stages: Stages, setting: Setting, starts: Floats) -> _Run:
    way = one.way
    if not way.n_bytes:
        nothing = np.zeros(len(starts))
        late = np.full(len(starts), way.device_ms + way.server_ms)
        return _Run(late, nothing, nothing, nothing, nothing > 0)
    up = stages.request_bytes + body_bytes(one, len(starts))
    down = np.full(len(starts), way.n_bytes_down)
    sent = trace.through_s(starts + way.device_ms / 1000, stages.on_link(up))
    answered = sent + (stages.round_trip_ms + way.server_ms) / 1000
    whole = np.isfinite(answered)
    end = trace.through_s(np.where(whole, answered, 0.0), stages.on_link(down))
    latency_s = np.where(whole, end, np.inf) - starts
    failed = latency_s > setting.timeout_s
    latency_s = np.minimum(latency_s, setting.timeout_s)
    link_s = np.maximum(latency_s - (way.device_ms + way.server_ms) / 1000, 0.0)
    return _Run(1000 * latency_s, link_s, up, down, failed)


def _best(latency: Floats, score: Floats, setting: Setting) -> list[int]:
    """The oracle's way for each request: the rule of `policy.choose`, with what will be in place of
    what is expected.
    """
    in_time = np.ones_like(latency, dtype=bool)
    if setting.deadline_ms is not None:
        in_time = latency <= setting.deadline_ms
        in_time |= ~in_time.any(axis=0)  # where none is in time, the fastest of all
    reached = np.where(in_time, score[:, None], -np.inf).max(axis=0)
    none_in_time = in_time.all(axis=0) & (setting.deadline_ms is not None)
    close = in_time & (score[:, None] >= reached - setting.tolerance)
    late = none_in_time & (latency.min(axis=0) > (setting.deadline_ms or 0.0))
    return list(np.where(close | late, latency, np.inf).argmin(axis=0))


def _taken(
    runs: Sequence[_Run], ways: Sequence[Measured], setting: Setting, starts: Floats
) -> list[int]:
    """The policy's way for each request."""
    estimate, last, taken = Estimate(), None, []
    places = {one.way: place for place, one in enumerate(ways)}
    candidates: list[Way] = list(places)
    under_way: list[tuple[float, int, int]] = []  # when it ends, request, way
    for request, now_s in enumerate(starts):
        while under_way and under_way[0][0] <= now_s:
            _learn(estimate, runs, *heapq.heappop(under_way))
        last = choose(
            candidates,
            estimate.state(float(now_s)),
            setting.deadline_ms,
            last,
            setting.tolerance,
            setting.ms_per_byte,
        ).way
        place = places[last]
        taken.append(place)
        if last.n_bytes:
            end_s = float(now_s + runs[place].latency_ms[request] / 1000)
            heapq.heappush(under_way, (end_s, request, place))
    return taken


def _learn(
    estimate: Estimate, runs: Sequence[_Run], end_s: float, request: int, place: int
) -> None:
    run = runs[place]
    if run.failed[request]:
        estimate.failed(end_s)
        return
    up, down = int(run.n_bytes_up[request]), int(run.n_bytes_down[request])
    estimate.add(up, down, float(run.link_s[request]), end_s)


def _outcome(
    name: str, taken: Sequence[int], runs: Sequence[_Run], ways: Sequence[Measured]
) -> Outcome:
    requests, places = np.arange(len(taken)), np.array(taken)
    counts: dict[str, int] = {}
    for place in taken:
        counts[ways[place].way.name] = counts.get(ways[place].way.name, 0) + 1
    return Outcome(
        name,
        np.stack([run.latency_ms for run in runs])[places, requests],
        np.array([one.way.score for one in ways])[places],
        np.stack([run.n_bytes_up + run.n_bytes_down for run in runs])[places, requests],
        np.stack([run.failed for run in runs])[places, requests],
        counts,
    )


def _median(outcome: Outcome) -> float:
    return outcome.median_ms
