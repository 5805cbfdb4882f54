"""what was measured so far -> the way that the next picture takes: `codec.link.policy` with the
times and bytes of this device, this server and this link in the place of those of a sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from codec.link.estimate import Estimate
from codec.link.policy import ALONE, TOLERANCE, Choice, Way, check_numbers, choose
from codec.link.ways import Stages, kind_of, read_sweep, ways_of

TASKS = {
    "classify": "image-classification",
    "caption": "image-to-text",
    "answer": "visual-question-answering",
}
"""The task in a sweep, by what is asked of a server."""
SHARE = 0.3
"""What a new measurement counts for against those before it."""
_STAGES = Stages()


class Spent(NamedTuple):
    """What one request took.

    Attributes:
        n_body_bytes: of the body.
        n_bytes_up, n_bytes_down: on the wire.
        device_ms, link_ms, server_ms: on the device, on the link, at the server.
    """

    n_body_bytes: int
    n_bytes_up: int
    n_bytes_down: int
    device_ms: float
    link_ms: float
    server_ms: float


class Choosing:
    """The choice for one task over one link.

    Args:
        ways: there are, with times and scores to begin with.
        deadline_ms: when an answer has to be there; None for as soon as it can be.
        tolerance, ms_per_byte: as `codec.link.policy.choose` has them.

    Raises:
        ValueError: there are no ways, or a number is negative.
    """

    def __init__(
        self,
        ways: Sequence[Way],
        deadline_ms: float | None = None,
        tolerance: float = TOLERANCE,
        ms_per_byte: float = 0.0,
    ) -> None:
        if not ways:
            raise ValueError("there is no way to choose from")
        check_numbers(deadline_ms, tolerance, ms_per_byte)
        self._ways, self._deadline_ms = list(ways), deadline_ms
        self._tolerance, self._ms_per_byte = tolerance, ms_per_byte
        self.link = Estimate()
        self._last: str | None = None
        self._measured: dict[tuple[str, str], float] = {}

    def next(self, at_s: float) -> Choice:
        """The way of the next picture; `at_s` are seconds of any clock that never goes back."""
        ways = [self._known(way) for way in self._ways]
        last = next((way for way in ways if way.name == self._last), None)
        limits = self._deadline_ms, last, self._tolerance, self._ms_per_byte
        choice = choose(ways, self.link.state(at_s), *limits)
        self._last = choice.way.name
        return choice

    def sent(self, name: str, spent: Spent, at_s: float) -> None:
        """A request by the way of this name was answered."""
        self.link.add(spent.n_bytes_up, spent.n_bytes_down, spent.link_ms / 1000, at_s)
        kind = kind_of(name)
        self._learn(kind, "device", spent.device_ms)
        self._learn(_served(kind), "server", spent.server_ms)
        self._learn("", "around", spent.n_bytes_up - spent.n_body_bytes)
        self._learn("", "reply", spent.n_bytes_down)

    def failed(self, at_s: float) -> None:
        """A request was not answered."""
        self.link.failed(at_s)

    def alone(self, device_ms: float) -> None:
        """The device answered by itself."""
        self._learn(ALONE, "device", device_ms)

    def _learn(self, kind: str, what: str, value: float) -> None:
        before = self._measured.get((kind, what), value)
        self._measured[kind, what] = before + SHARE * (value - before)

    def _known(self, way: Way) -> Way:
        """A way with what was measured in the place of what was assumed."""
        kind = kind_of(way.name)
        device_ms = self._measured.get((kind, "device"), way.device_ms)
        if kind == ALONE:
            return replace(way, device_ms=device_ms)
        body = way.n_bytes_up - _STAGES.request_bytes
        around = self._measured.get(("", "around"), _STAGES.request_bytes)
        return replace(
            way,
            n_bytes_up=body + around,
            n_bytes_down=self._measured.get(("", "reply"), way.n_bytes_down),
            device_ms=device_ms,
            server_ms=self._measured.get((_served(kind), "server"), way.server_ms),
        )


def swept_ways(folder: Path, name: str, alone: bool) -> Mapping[str, list[Way]]:
    """The ways of a codec by what is asked, of the sweep in its folder; none where it has none.

    Args:
        alone: whether the device can answer by itself.

    Raises:
        ValueError: the sweep cannot be read, or is not this codec's.
    """
    path = folder / "sweep.jsonl"
    if not path.is_file():
        return {}
    rows = read_sweep(path)
    return {
        verb: [one.way for one in ways_of(rows[task], name, _STAGES, alone)]
        for verb, task in TASKS.items()
        if task in rows
    }


def _served(kind: str) -> str:
    return "blob" if kind == "blob" else "picture"
