"""python -m tests.attacks.limited KIND: what to open, a line each on stdin -> what became of it, a
line of JSON each on stdout.

A process with bounds on memory, and without torch, for the tests of this folder.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from codec.device.encoder import DeviceEncoder
from codec.device.preprocess import Preprocess
from tests.attacks.trial import limit_memory, peak_bytes, reason_of

OPENED: dict[str, Callable[[str], object]] = {
    "resized": lambda path: Preprocess(size=32).pixels(Path(path)),
    "cropped": lambda path: Preprocess(size=224, resize=256, resample=3).pixels(Path(path)),
    "bundle": DeviceEncoder,
}


def main() -> None:
    warnings.simplefilter("ignore")
    limit_memory()
    for line in sys.stdin:
        start = time.process_time()
        try:
            OPENED[sys.argv[1]](line.rstrip("\n"))
            outcome, said = "accepted", ""
        except BaseException as error:
            documented = isinstance(error, (ValueError, OSError))
            outcome = "refused" if documented else type(error).__name__
            said = f"{reason_of(error)} {error}"
        seconds = time.process_time() - start
        found = {"outcome": outcome, "said": said, "seconds": seconds, "peak": peak_bytes()}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
