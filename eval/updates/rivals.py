"""changes of weights -> bytes and relative squared error of other ways to send them: half floats,
stochastic quantisation, the largest weights alone, a general compressor.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BUCKET = 512
"""Weights that share a scale in QSGD (Alistarh et al. 2017, section 3.3)."""
FIND = np.exp2(np.arange(-2.0, 2.6, 0.5))
"""Steps that are tried, in root mean squares of the change."""

Changes = Mapping[str, NDArray[np.float32]]


class Point(NamedTuple):
    """What one setting takes and loses."""

    n_bytes: int
    relative_mse: float


def half_floats(change: NDArray[np.float32]) -> Point:
    """Every change as float16."""
    return Point(2 * change.size, error(change, change.astype(np.float16)))


def stochastic(change: NDArray[np.float32], n_bits: int, seed: int = 0) -> Point:
    """QSGD with the greatest change of a bucket as its scale, as FedPAQ (Reisizadeh et al. 2020)
    uses it: unbiased, a fixed number of bits, a float32 for a bucket.
    """
    levels, draw = 2 ** (n_bits - 1) - 1, np.random.default_rng(seed)
    padded = np.zeros(-(-change.size // BUCKET) * BUCKET, dtype=np.float32)
    padded[: change.size] = change
    buckets = padded.reshape(-1, BUCKET)
    scale = np.maximum(np.abs(buckets).max(1, keepdims=True), 1e-30)
    levelled = np.floor(buckets / scale * levels + draw.random(buckets.shape))
    decoded = (levelled / levels * scale).reshape(-1)[: change.size]
    return Point(-(-change.size * n_bits // 8) + 4 * len(buckets), error(change, decoded))


def largest(change: NDArray[np.float32]) -> Iterator[Point]:
    """The largest changes as float16, and the gaps between them in Rice's code."""
    order = np.argsort(np.abs(change))[::-1]
    for share in (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6):
        kept = np.sort(order[: max(int(share * change.size), 1)])
        gaps = np.diff(kept, prepend=-1) - 1
        n_bits = min(int((gaps >> k).sum()) + (1 + k) * len(gaps) for k in range(20))
        decoded = np.zeros_like(change)
        decoded[kept] = change[kept].astype(np.float16)
        yield Point(2 * len(kept) + -(-n_bits // 8) + 1, error(change, decoded))


def general(change: NDArray[np.float32]) -> Iterator[Point]:
    """Multiples of a step, with a dead zone, as int8, in zstd at level 19."""
    import zstandard

    size = float(np.sqrt(np.square(change, dtype=np.float64).mean()))
    for step in FIND * size:
        whole = np.sign(change) * np.floor(np.abs(change) / step + 0.35)
        symbols = whole.clip(-127, 127).astype(np.int8)
        n_bytes = len(zstandard.ZstdCompressor(level=19).compress(symbols.tobytes())) + 4
        yield Point(n_bytes, error(change, symbols * np.float32(step)))


def nnc(changes: Changes, python: str, trellis: bool) -> Iterator[Point]:
    """NNC in another environment's Python.

    Raises:
        ValueError: it fails; the message says why.
    """
    flat = np.concatenate([change.reshape(-1) for change in changes.values()])
    size = float(np.sqrt(np.square(flat, dtype=np.float64).mean()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "changes.npz"
        np.savez(path, **dict(changes))  # type: ignore[arg-type]
        how, script = "trellis" if trellis else "scalar", Path(__file__).with_name("nnc.py")
        steps = [repr(float(step)) for step in FIND * size]
        done = subprocess.run(
            [python, str(script), str(path), how, *steps],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise ValueError(f"{python} {script.name} failed: {done.stderr.strip()[-300:]}")
    for line in done.stdout.splitlines():
        n_bytes, found = line.split()
        yield Point(int(n_bytes), float(found))


def bytes_at(points: Sequence[Point], relative_mse: float) -> float | None:
    """Bytes at this error between measured points, straight in error and in the logarithm of bytes;
    None beyond them.
    """
    rising = sorted(points, key=lambda point: point.relative_mse)
    errors = [point.relative_mse for point in rising]
    if not errors or not errors[0] <= relative_mse <= errors[-1]:
        return None
    logs = np.log([point.n_bytes for point in rising])
    return float(np.exp(np.interp(relative_mse, errors, logs)))


def error(change: NDArray[np.float32], decoded: NDArray[Any]) -> float:
    """Squared error over the squared change."""
    off = change.astype(np.float64) - decoded
    return float((off**2).sum() / np.square(change, dtype=np.float64).sum())
