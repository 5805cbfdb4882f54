"""python -m eval.updates BEFORE AFTER [--nncodec PYTHON]: bytes that a change of weights takes, at
equal distortion, in this project's coder and in others.

BEFORE and AFTER are .safetensors or .npz files. Floats of both count, in float32; running
statistics do not, as they would decide the error alone. Every byte of our updates counts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codec.updates import Distortion, decode_update, encode_update
from eval.updates import rivals

TARGETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85)


def main() -> None:
    """Read the arguments, measure, print a table."""
    parser = argparse.ArgumentParser(prog="python -m eval.updates", description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--nncodec", metavar="PYTHON", help="a Python that has nncodec")
    given = parser.parse_args()
    try:
        measure(read_weights(given.before), read_weights(given.after), given.nncodec)
    except (OSError, ValueError) as error:
        parser.error(str(error))


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """The floats of a file but running statistics, as float32.

    Raises:
        OSError: there is no such file.
        ValueError: it is of another kind.
    """
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    elif path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        arrays = load_file(path)
    else:
        raise ValueError(f"{path} is neither .safetensors nor .npz")
    return {
        name: array.astype(np.float32)
        for name, array in arrays.items()
        if array.dtype.kind == "f" and "running_" not in name
    }


def measure(
    before: dict[str, NDArray[np.float32]],
    after: dict[str, NDArray[np.float32]],
    python: str | None,
) -> None:
    """Print bytes of each way at each distortion."""
    changes = {name: after[name] - before[name] for name in sorted(before)}
    flat = np.concatenate([change.reshape(-1) for change in changes.values()])
    print(f"{flat.size} weights, {4 * flat.size} bytes as float32")
    for label, point in (
        ("float16", rivals.half_floats(flat)),
        ("QSGD 8 bits", rivals.stochastic(flat, 8)),
        ("QSGD 4 bits", rivals.stochastic(flat, 4)),
    ):
        print(f"{label}: {point.n_bytes} bytes at relative MSE {point.relative_mse:.3g}")
    curves = {
        "top-k, float16": list(rivals.largest(flat)),
        "zstd-19": list(rivals.general(flat)),
    }
    if python is not None:
        curves["NNC"] = list(rivals.nnc(changes, python, trellis=False))
        curves["NNC, trellis"] = list(rivals.nnc(changes, python, trellis=True))
    print("| relative MSE | ours | " + " | ".join(curves) + " | encode s | decode s |")
    print("|---" * (len(curves) + 4) + "|")
    encode_update(before, after, Distortion(0.9))  # compiles
    for target in TARGETS:
        start = time.process_time()
        blob = encode_update(before, after, Distortion(target))
        encoded = time.process_time()
        decoded = decode_update(before, blob)
        times = (encoded - start, time.process_time() - encoded)
        ours = np.concatenate([(decoded[n] - before[n]).reshape(-1) for n in changes])
        at = rivals.error(flat, ours)
        others = [rivals.bytes_at(points, at) for points in curves.values()]
        cells = ["-" if other is None else f"{other:.0f}" for other in others]
        row = [f"{at:.4f}", str(len(blob)), *cells, *[f"{seconds:.2f}" for seconds in times]]
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
