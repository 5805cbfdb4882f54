"""A moment -> its age later, right though the clock was set in between: how old a request is.

A device without a clock of its own starts in 1970 and learns the time when it is on line. So a
moment holds the seconds since the start of the machine too, which no one sets.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Where Linux names each start of the machine."""


class Moment(NamedTuple):
    """When something was: by the clock on the wall, and since a start of the machine."""

    unix_s: float
    since_boot_s: float
    boot: str
    """The first 8 hex digits of that start's name; "" where the system does not tell."""


def now() -> Moment:
    """This moment; on Linux the time since the start goes on while the machine sleeps."""
    boot = ""
    with contextlib.suppress(OSError):
        boot = BOOT_ID.read_text(encoding="ascii")[:8]
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    since_boot_s = time.monotonic() if clock is None else time.clock_gettime(clock)
    return Moment(time.time(), since_boot_s, boot)


def age_s(then: Moment, at: Moment) -> float:
    """Seconds from `then` to `at`, never negative.

    Exact within one start of the machine, whatever is done to the clock; over several it is the
    difference of the clocks, and 0 where that is below.
    """
    if then.boot and then.boot == at.boot:
        return max(0.0, at.since_boot_s - then.since_boot_s)
    return max(0.0, at.unix_s - then.unix_s)
