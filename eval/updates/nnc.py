"""changes of weights -> bytes and error of NNC (MPEG's neural network coding, ISO/IEC 15938-17), by
its reference software `nncodec`: PYTHON nnc.py CHANGES.npz trellis|scalar STEP ...

It runs in an environment of its own (numpy < 2), so it imports nothing of this project. Prints a
line for each step: bytes and relative squared error.
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
from typing import Any

import numpy as np


def measured(changes: dict[str, Any], trellis: bool, step: float) -> tuple[int, float]:
    """Bytes and relative squared error with about this step; all tensors share it, as that takes
    fewest bytes at equal error.
    """
    from nncodec import nnc

    qp = round(4 * math.log2(step))
    with contextlib.redirect_stdout(io.StringIO()):
        coded = nnc.compress(
            {name: change.copy() for name, change in changes.items()},
            qp=qp,
            nonweight_qp=qp,
            use_dq=trellis,
            return_bitstream=True,
            bitstream_path=None,
        )
        decoded = nnc.decompress(coded)
    wrong = right = 0.0
    for name, change in changes.items():
        off = change.astype(np.float64) - decoded[name].reshape(change.shape)
        wrong += float((off**2).sum())
        right += float((change.astype(np.float64) ** 2).sum())
    return len(coded), wrong / right


def main() -> None:
    """Read the arguments, measure, print."""
    path, how, *steps = sys.argv[1:]
    with np.load(path) as file:
        changes = {name: np.ascontiguousarray(file[name]) for name in file.files}
    for step in steps:
        n_bytes, error = measured(changes, how == "trellis", float(step))
        print(n_bytes, error, flush=True)


if __name__ == "__main__":
    main()
