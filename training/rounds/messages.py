"""weights before and after -> message -> weights after, as the other end has them: ways to send a
change of weights.

| `updates.codec` | message | `rate` |
|---|---|---|
| `coded` | the change by `codec.updates`, header and hash included | times fewer than float32 |
| `none` | the weights, float32 | |
| `float16` | the change, float16 | |
| `qsgd8`, `qsgd4` | the change in 8 or 4 bits, rounded up or down at random | |
| `topk` | the largest changes, float16, with their places | their share, 0.01 for 1% |
| `zstd` | the change over a step, rounded, int8, by zstandard | step over the RMS of a tensor |
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from codec.updates import Budget, decode_update, encode_update
from training.rounds.recipe import Updates
from training.rounds.rivals import Plain, Qsgd, TopK, Zstandard
from training.rounds.weights import Key, Weights, added, less, n_values


class Coding(Protocol):
    """One way to send a change; `decode(before, encode(before, after, key), key)` is what the other
    end has then.
    """

    def encode(self, before: Weights, after: Weights, key: Key) -> bytes: ...

    def decode(self, before: Weights, blob: bytes, key: Key) -> Weights:
        """Raises: BitstreamError: not a message about such weights, or of another round."""
        ...


class Sent(NamedTuple):
    """A message, and what it left out of the change, to be added to the next one; None for
    nothing.
    """

    blob: bytes
    left: Weights | None


def coding_of(updates: Updates, rate: float) -> Coding:
    """The way that a recipe names, at a rate.

    Raises:
        ValueError: the rate means nothing to it.
    """
    if updates.codec == "coded":
        if not rate >= 1:
            raise ValueError(f"coded's rate is times fewer bytes, 1 or more, not {rate}")
        return Coded(rate)
    if updates.codec == "topk":
        if not 0 < rate <= 1:
            raise ValueError(f"topk's rate is a share in (0, 1], not {rate}")
        return TopK(rate)
    if updates.codec == "zstd":
        if not rate > 0:
            raise ValueError(f"zstd's rate is a step above 0, not {rate}")
        return Zstandard(rate)
    if updates.codec in ("qsgd8", "qsgd4"):
        return Qsgd(int(updates.codec[-1]))
    return Plain("<f2") if updates.codec == "float16" else Plain("<f4")


def send(coding: Coding, before: Weights, after: Weights, left: Weights | None, key: Key) -> Sent:
    """The message of a change, after what earlier ones left out was added (error feedback:
    Karimireddy et al. 2019, arXiv 1901.09847, algorithm 2).

    Args:
        left: None where nothing is to be kept for the next message either.
    """
    if left is None:
        return Sent(coding.encode(before, after, key), None)
    wanted = added(after, left)
    blob = coding.encode(before, wanted, key)
    return Sent(blob, less(wanted, coding.decode(before, blob, key)))


def left_before(updates: Updates, weights: Weights, left: Weights | None) -> Weights | None:
    """What earlier messages left out: nothing at first, None where nothing is to be kept."""
    if not updates.feedback or updates.codec == "none":
        return None
    return left or {name: np.zeros_like(value) for name, value in weights.items()}


class Coded:
    """The best update of `codec.updates` that takes so many `times` fewer bytes than float32."""

    def __init__(self, times: float) -> None:
        self.times = times

    def encode(self, before: Weights, after: Weights, key: Key) -> bytes:
        budget = Budget(int(4 * n_values(before) / self.times))
        return encode_update(before, after, budget, round_number=key.number)

    def decode(self, before: Weights, blob: bytes, key: Key) -> Weights:
        return decode_update(before, blob, round_number=key.number)
