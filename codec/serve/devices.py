"""requests and uplinks -> which devices were seen when, and what airtime each has left today."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

DAY_S = 86_400


@dataclass(frozen=True)
class Seen:
    """What is known of a device.

    Attributes:
        last_s: when it was last seen, in seconds since 1970.
        n_requests: so far.
        day: the day of `airtime_s`, in days since 1970, UTC.
        airtime_s: that its messages took on that day.
        budget_s: that they may take a day; None where nothing says so.
    """

    last_s: float
    n_requests: int = 0
    day: int = 0
    airtime_s: float = 0.0
    budget_s: float | None = None

    def airtime_left_s(self, at_s: float) -> float | None:
        """Seconds on the air that are left of the day that `at_s` lies in; None without a budget.
        Below 0 the device has sent more than it may.
        """
        if self.budget_s is None:
            return None
        return self.budget_s - (self.airtime_s if self.day == int(at_s // DAY_S) else 0.0)


class Devices:
    """The devices that were seen last. Threads may share it.

    Args:
        most: how many are listed; the one that was seen longest ago makes room.
        clock: seconds since 1970.

    Attributes:
        n_dropped: how often one made room.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.time) -> None:
        self._most, self._clock = most, clock
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._lock = threading.Lock()
        self.n_dropped = 0

    def seen(self, device: str) -> None:
        """A request came from a device."""
        with self._lock:
            before = self._before(device)
            after = replace(before, last_s=self._clock(), n_requests=before.n_requests + 1)
            self._put(device, after)

    def uplink(
        self, device: str, airtime_s: float, budget_s: float | None, at_s: float | None = None
    ) -> None:
        """A message came from a device over a link with little airtime: it took `airtime_s` of the
        `budget_s` that the device has a day, on the day of `at_s`; now where that is None, or to
        come. The last day that was heard of is the one that counts.
        """
        with self._lock:
            before, now = self._before(device), self._clock()
            at_s = now if at_s is None else min(at_s, now)
            day, spent = int(at_s // DAY_S), airtime_s
            if day < before.day:
                day, spent = before.day, before.airtime_s
            elif day == before.day:
                spent += before.airtime_s
            last_s = max(at_s, before.last_s)
            self._put(device, Seen(last_s, before.n_requests + 1, day, spent, budget_s))

    def latest(self) -> list[tuple[str, Seen]]:
        """Device ids and what is known of them, the one that was seen last first."""
        with self._lock:
            return list(reversed(self._seen.items()))

    def _before(self, device: str) -> Seen:
        return self._seen.get(device, Seen(0.0))

    def _put(self, device: str, seen: Seen) -> None:
        self._seen[device] = seen
        self._seen.move_to_end(device)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)
            self.n_dropped += 1
