"""weights before and after -> message -> weights after: what others send, for comparison.

Both ends know names and shapes. These messages hold values alone: nothing is counted for what they
would need beside them to be refused where they are foreign, damaged or old.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.coding.container import BitstreamError
from codec.updates import UpdateState
from training.rounds.weights import Key, Weights, added, less, n_values

BUCKET = 512
"""Values that share one scale in `Qsgd`."""


class Plain:
    """Weights in float32, as they are: nothing is left out."""

    def encode(
        self, before: Weights, after: Weights, key: Key, state: UpdateState | None = None
    ) -> bytes:
        return _flat(after).astype("<f4").tobytes()

    def decode(self, before: Weights, blob: bytes, key: Key) -> Weights:
        return _shaped(_read(blob, np.dtype("<f4"), n_values(before)).astype(np.float32), before)


class _Changes(ABC):
    """Messages that hold a change, less exactly than it is."""

    def encode(
        self, before: Weights, after: Weights, key: Key, state: UpdateState | None = None
    ) -> bytes:
        change = less(after, before)
        if state is None:
            return self.written(change, key)
        wanted = state.wanted(change)
        blob = self.written(wanted, key)
        state.keep(wanted, less(self.decode(before, blob, key), before))
        return blob

    def decode(self, before: Weights, blob: bytes, key: Key) -> Weights:
        return added(before, self.read(before, blob))

    @abstractmethod
    def written(self, changes: Weights, key: Key) -> bytes:
        """The message of a change."""

    @abstractmethod
    def read(self, like: Weights, blob: bytes) -> Weights:
        """The change of weights of such shapes that a message holds."""


class Half(_Changes):
    """Changes in float16."""

    def written(self, changes: Weights, key: Key) -> bytes:
        with np.errstate(over="ignore"):
            return _flat(changes).astype("<f2").tobytes()

    def read(self, like: Weights, blob: bytes) -> Weights:
        return _shaped(_read(blob, np.dtype("<f2"), n_values(like)).astype(np.float32), like)


class Qsgd(_Changes):
    """Stochastic quantisation to `n_bits` with one scale, its largest value, for each 512
    (Alistarh et al. 2017, arXiv 1610.02132, sec. 5; FedPAQ, arXiv 1909.13014, sends changes so).
    """

    def __init__(self, n_bits: int) -> None:
        self.n_bits, self.most = n_bits, (1 << (n_bits - 1)) - 1

    def written(self, changes: Weights, key: Key) -> bytes:
        change = _flat(changes)
        n_buckets = -(-len(change) // BUCKET)
        rows = np.zeros((n_buckets, BUCKET), np.float32)
        rows.reshape(-1)[: len(change)] = change
        scale = np.abs(rows).max(1)
        u = np.random.default_rng(key).random(rows.shape, np.float32)
        with np.errstate(invalid="ignore"):
            steps = np.floor(rows / np.where(scale > 0, scale, 1)[:, None] * self.most + u)
            # in float32 the largest change plus u can round to one step more
            symbols = np.minimum(steps, self.most).reshape(-1)[: len(change)].astype(np.int8)
        if self.n_bits == 4:
            symbols = np.append(symbols, np.zeros(len(symbols) % 2, np.int8)) & 15
            symbols = (symbols[::2] | symbols[1::2] << 4).astype(np.int8)
        return scale.astype("<f4").tobytes() + symbols.tobytes()

    def read(self, like: Weights, blob: bytes) -> Weights:
        n = n_values(like)
        n_buckets, n_bytes = -(-n // BUCKET), -(-n * self.n_bits // 8)
        scale = _read(blob[: 4 * n_buckets], np.dtype("<f4"), n_buckets)
        symbols = _read(blob[4 * n_buckets :], np.dtype(np.int8), n_bytes)
        if self.n_bits == 4:
            halves = np.stack([symbols & 15, symbols >> 4 & 15], 1).reshape(-1)[:n]
            symbols = np.where(halves > 7, halves - 16, halves)
        change = symbols.astype(np.float32) / self.most * np.repeat(scale, BUCKET)[:n]
        return _shaped(change.astype(np.float32), like)


class TopK(_Changes):
    """The largest changes of all tensors alike, in float16, each with the number of values since
    the last one in 16 bits (Aji, Heafield 2017, arXiv 1704.05021).
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def written(self, changes: Weights, key: Key) -> bytes:
        change = _flat(changes)
        n = max(1, int(self.share * len(change)))
        places = np.sort(np.argpartition(np.abs(change), len(change) - n)[len(change) - n :])
        # a gap of 65,535 is a step without a value
        gaps: list[int] = []
        values: list[float] = []
        last = -1
        for place in places.tolist():
            gap = place - last - 1
            gaps += [65_535] * (gap // 65_535) + [gap % 65_535]
            values.append(change[place])
            last = place
        with np.errstate(over="ignore"):
            return np.array(gaps, "<u2").tobytes() + np.array(values, "<f2").tobytes()

    def read(self, like: Weights, blob: bytes) -> Weights:
        size = n_values(like)
        n = max(1, int(self.share * size))
        n_gaps = len(blob) // 2 - n
        gaps = _read(blob[: 2 * max(n_gaps, 0)], np.dtype("<u2"), max(n_gaps, 0)).astype(np.int64)
        values = _read(blob[2 * max(n_gaps, 0) :], np.dtype("<f2"), n)
        ends = gaps < 65_535
        places = (np.cumsum(np.where(ends, gaps + 1, gaps)) - 1)[ends]
        if len(places) != n or places[-1] >= size:
            raise BitstreamError("the places of a message are not those of its values")
        change = np.zeros(size, np.float32)
        change[places] = values
        return _shaped(change, like)


class Zstandard(_Changes):
    """Changes over a step, the same multiple of each tensor's root mean square, rounded to int8."""

    def __init__(self, step: float) -> None:
        self.step = step

    def written(self, changes: Weights, key: Key) -> bytes:
        import zstandard

        names = sorted(changes)
        steps = [self.step * float(np.sqrt(np.square(changes[name]).mean())) for name in names]
        symbols = [
            np.clip(np.rint(changes[name] / (step or 1.0)), -127, 127).astype(np.int8)
            for name, step in zip(names, steps, strict=True)
        ]
        plain = b"".join(s.tobytes() for s in symbols)
        return np.array(steps, "<f4").tobytes() + zstandard.compress(plain, 19)

    def read(self, like: Weights, blob: bytes) -> Weights:
        import zstandard

        n, size = len(like), n_values(like)
        steps = _read(blob[: 4 * n], np.dtype("<f4"), n)
        try:
            if zstandard.frame_content_size(blob[4 * n :]) != size:
                raise BitstreamError("a message does not hold as many values as there are weights")
            plain = zstandard.decompress(blob[4 * n :])
        except zstandard.ZstdError as error:
            raise BitstreamError(f"a message is not by zstandard: {error}") from error
        symbols = _shaped(_read(plain, np.dtype(np.int8), size).astype(np.float32), like)
        return {name: symbols[name] * s for name, s in zip(sorted(symbols), steps, strict=True)}


def _flat(weights: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([weights[name].reshape(-1) for name in sorted(weights)])


def _shaped(flat: NDArray[Any], like: Mapping[str, NDArray[Any]]) -> Weights:
    """Values in order -> arrays of the shapes of `like`."""
    names = sorted(like)
    ends = np.cumsum([like[name].size for name in names])[:-1]
    parts = zip(names, np.split(flat, ends), strict=True)
    return {name: part.reshape(like[name].shape) for name, part in parts}


def _read(blob: bytes, kind: np.dtype[Any], n: int) -> NDArray[Any]:
    if len(blob) != n * kind.itemsize:
        raise BitstreamError(
            f"a message has {len(blob)} bytes in the place of {n * kind.itemsize}: it is about "
            "other weights, or cut short"
        )
    return np.frombuffer(blob, kind)
