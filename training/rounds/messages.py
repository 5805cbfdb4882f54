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

from codec.updates import Budget, UpdateState, decode_update, encode_update
from training.rounds.recipe import Updates
from training.rounds.rivals import Half, Plain, Qsgd, TopK, Zstandard
from training.rounds.weights import Key, Weights, n_values


class Coding(Protocol):
    """One way to send a change; `decode(before, encode(before, after, key), key)` is what the other
    end has then. With a state, what earlier messages left out is sent too, and what this one leaves
    out is kept there.
    """

    def encode(
        self, before: Weights, after: Weights, key: Key, state: UpdateState | None = None
    ) -> bytes: ...

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
    return Half() if updates.codec == "float16" else Plain()


def send(coding: Coding, before: Weights, after: Weights, left: Weights | None, key: Key) -> Sent:
    """The message of a change, with what earlier ones left out.

    Args:
        left: None where nothing is to be kept for the next message either.
    """
    state = None if left is None else UpdateState(left)
    blob = coding.encode(before, after, key, state)
    return Sent(blob, None if state is None else state.residual)


def left_before(updates: Updates, left: Weights | None) -> Weights | None:
    """What earlier messages left out: nothing at first, None where nothing is to be kept."""
    if not updates.feedback or updates.codec == "none":
        return None
    return left or {}


class Coded:
    """The best update of `codec.updates` that takes so many `times` fewer bytes than float32."""

    def __init__(self, times: float) -> None:
        self.times = times

    def encode(
        self, before: Weights, after: Weights, key: Key, state: UpdateState | None = None
    ) -> bytes:
        budget = Budget(int(4 * n_values(before) / self.times))
        return encode_update(before, after, budget, state, key.number)

    def decode(self, before: Weights, blob: bytes, key: Key) -> Weights:
        return decode_update(before, blob, round_number=key.number)
