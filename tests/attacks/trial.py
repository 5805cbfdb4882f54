"""an input -> what became of it, with its cost; and what a kind of inputs is, for the fuzzer."""

from __future__ import annotations

import contextlib
import random
import resource
import time
from typing import NamedTuple, Protocol

from codec.device.command import peak_mb

SECONDS, MEMORY = 2.0, 2 << 30
"""Most processor time of one input, and most bytes of memory of the process that tries it."""
DOCUMENTED = (ValueError, OSError)  # BitstreamError is a ValueError
"""What may be raised."""


class Target(Protocol):
    """One kind of inputs. It is made in the process that tries them."""

    def make(self, rng: random.Random) -> bytes:
        """An input."""

    def check(self, data: bytes) -> None:
        """Try an input; returns where it is accepted.

        Raises:
            ValueError, OSError: it is refused.
            Exception: any other is a fault.
        """


class Outcome(NamedTuple):
    """What became of an input: `refused` is the reason without its figures, "" where it was
    accepted; `fault` says what is wrong, "" where nothing is.
    """

    refused: str
    fault: str
    seconds: float


def limit_memory() -> None:
    """This process gets no more than `MEMORY` beside what it holds already."""
    with contextlib.suppress(OSError, ValueError):  # where the system has no such limit
        resource.setrlimit(resource.RLIMIT_DATA, (_held() + MEMORY, resource.RLIM_INFINITY))


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return round(1e6 * peak_mb())


def tried(target: Target, data: bytes) -> Outcome:
    """Try one input."""
    start, refused, fault = time.process_time(), "", ""
    try:
        target.check(data)
    except DOCUMENTED as error:
        refused = reason_of(error)
        if not str(error).strip():
            fault = f"{type(error).__name__} without a reason"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        fault = f"{type(error).__name__}: {str(error)[:300]} ({_place(error)})"
    seconds = time.process_time() - start
    if not fault and seconds > SECONDS:
        fault = f"it took {seconds:.1f} s"
    if not fault and peak_bytes() > MEMORY:
        fault = f"it took {peak_bytes() / 1e6:.0f} MB"
    return Outcome(refused, fault, seconds)


def reason_of(error: BaseException) -> str:
    """The kind of an error and its message, without figures and names, as one line."""
    words = " ".join(str(error).split())[:300]
    kept = "".join("#" if c.isdigit() else c for c in words)
    parts = [part for part in kept.split(" ") if "/" not in part and "#" not in part]
    return f"{type(error).__name__}: {' '.join(parts)[:70]}"


def _place(error: BaseException) -> str:
    """File and line where an error was raised."""
    trace, place = error.__traceback__, "?"
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _held() -> int:
    """Bytes of data that this process holds now."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmData:"):
                return 1024 * int(line.split()[1])
    return 0
