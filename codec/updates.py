"""weights before and after -> an update, in bytes, and back to the same weights, bit for bit.

Both ends hold the same weights `before`. An update is their fingerprint, the round, a step for each
tensor and entropy-coded multiples of it (docs/updates.md). What is left over, error feedback, stays
with the sender, in its `UpdateState`.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.coding.container import BitstreamError
from codec.coding.update_native import run

VERSION = 1
HEADER_BYTES = 21
MAX_SYMBOL = 1 << 23
STEPS = np.ldexp(
    np.array(
        [8388608, 9147765, 9975625, 10878405, 11862883, 12936455, 14107182, 15383858],
        dtype=np.float32,
    )[np.arange(512) % 8],
    np.arange(512) // 8 - 71,
)
"""Steps by their exponent, (512,) float32: 2**(e / 8 - 48), rounded once."""

Arrays = Mapping[str, Any]


class UpdateRefused(ValueError):
    """The update is whole, but what it leads to is not finite or too far away."""


class Budget(NamedTuple):
    """A rate: the best update that takes at most so many bytes, header included."""

    n_bytes: int


class Distortion(NamedTuple):
    """A rate: the smallest update whose squared error, over the squared change, is at most this."""

    relative_mse: float


@dataclass
class UpdateState:
    """What a sender keeps from one update to the next; `encode_update` brings it up to date.

    Attributes:
        residual: what was wanted and not sent, by name, in float32.
    """

    residual: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def encode_update(
    before: Arrays,
    after: Arrays,
    rate: Budget | Distortion,
    state: UpdateState | None = None,
    round_number: int = 0,
) -> bytes:
    """Weights that both ends hold and weights that are wanted -> an update.

    Args:
        before, after: arrays or torch tensors of the same names, shapes and types. Floats change by
            multiples of a step, integers exactly.
        rate: a `Budget` or a `Distortion`.
        state: what earlier updates left over is sent with this one, and what this one leaves over
            is put in its place.
        round_number: 0 to 2**32 - 1; the receiver may ask for it.

    Raises:
        ValueError: other names, shapes or types; not finite; no update is small enough.
    """
    old, new = _arrays(before), _arrays(after)
    _check_alike(old, new)
    names = list(old)
    tensors = _tensors(old)
    known = np.concatenate([_known(old[name]) for name in names]) if names else np.empty(0, "u1")
    wants: list[NDArray[Any]] = []
    for name in names:
        a, b = old[name], new[name]
        if a.dtype.kind != "f":
            wants.append((b.astype(np.int64) - a.astype(np.int64)).reshape(-1))
            if np.abs(wants[-1]).max(initial=0) >= MAX_SYMBOL:
                raise ValueError(f"{name} changes by {MAX_SYMBOL} or more")
            continue
        want = b.astype(np.float32) - a.astype(np.float32)
        if state is not None and name in state.residual:
            want = want + state.residual[name]
        if not np.isfinite(want).all():
            raise ValueError(f"{name} holds NaN or infinity")
        wants.append(want.reshape(-1))
    made = _searched(old, tensors, wants, known, rate)
    result = _applied(old, made.steps, made.symbols)
    if state is not None:
        state.residual = {
            name: want.reshape(old[name].shape)
            - (result[name].astype(np.float32) - old[name].astype(np.float32))
            for name, want in zip(names, wants)
            if old[name].dtype.kind == "f"
        }
    start = bytes([VERSION]) + _hash(old)[:4] + round_number.to_bytes(4, "big")
    rest = _hash(result)[:8] + made.payload
    return start + _check(start, rest, _hash(old)) + rest


def decode_update(
    before: Arrays, blob: bytes, round_number: int | None = None, max_norm: float | None = None
) -> dict[str, Any]:
    """Weights that both ends hold and an update -> the weights after it, arrays or tensors as
    `before` has; the sender's bit for bit.

    Args:
        round_number: the round that is expected; None takes any.
        max_norm: as `check_update`.

    Raises:
        BitstreamError: damaged, of other weights, of another round, too long, or of another version.
        UpdateRefused: as `check_update`.
    """
    old = _arrays(before)
    n_weights = sum(array.size for array in old.values())
    if not isinstance(blob, (bytes, bytearray, memoryview)):
        raise BitstreamError(f"an update is bytes, not {type(blob).__name__}")
    blob = bytes(blob)
    if len(blob) < HEADER_BYTES:
        raise BitstreamError(f"the update has {len(blob)} bytes, fewer than its header")
    if len(blob) > HEADER_BYTES + 4096 + 8 * n_weights:
        raise BitstreamError(
            f"the update has {len(blob)} bytes, more than {n_weights} weights can take"
        )
    if blob[0] != VERSION:
        raise BitstreamError(f"the update is of format version {blob[0]}, not {VERSION}")
    start, rest, own = blob[:9], blob[13:], _hash(old)
    if start[1:5] != own[:4]:
        raise BitstreamError("the update is foreign: it was made for other weights than these")
    if blob[9:13] != _check(start, rest, own):
        raise BitstreamError("the update is damaged: its check does not match")
    found = int.from_bytes(start[5:9], "big")
    if round_number is not None and found != round_number:
        raise BitstreamError(f"the update is of round {found}, not of round {round_number}")
    tensors = _tensors(old)
    steps, symbols = np.zeros(len(old), dtype=np.int32), np.zeros(n_weights, dtype=np.int32)
    known = np.concatenate([_known(array) for array in old.values()]) if old else np.empty(0, "u1")
    prices = np.zeros(len(old), dtype=np.int64)
    run(False, tensors, steps, symbols, None, known, prices, rest[8:])
    result = _applied(old, steps, symbols)
    if _hash(result)[:8] != rest[:8]:
        raise BitstreamError("the update does not lead to the weights that its sender had")
    check_update(old, result, max_norm)
    return {name: _like(before[name], array) for name, array in result.items()}


def check_update(before: Arrays, after: Arrays, max_norm: float | None = None) -> float:
    """Refuse weights that are not finite, or too far away -> how far, the Euclidean norm of the
    change of all floats.

    Args:
        max_norm: the farthest that is let through; None lets any finite change through.

    Raises:
        UpdateRefused: NaN or infinity, or a norm beyond `max_norm`.
    """
    old, new = _arrays(before), _arrays(after)
    total = 0.0
    for name, array in new.items():
        if array.dtype.kind == "f":
            if not np.isfinite(array).all():
                raise UpdateRefused(f"{name} holds NaN or infinity")
            change = array.astype(np.float64) - old[name]
            total += float(np.vdot(change, change))
    norm = total**0.5
    if max_norm is not None and norm > max_norm:
        raise UpdateRefused(f"the change has a norm of {norm:.4g}, beyond {max_norm:.4g}")
    return norm


class _Made(NamedTuple):
    payload: bytes
    steps: NDArray[np.int32]
    symbols: NDArray[np.int32]
    error: float


def _searched(
    old: dict[str, NDArray[Any]],
    tensors: NDArray[np.int64],
    wants: list[NDArray[Any]],
    known: NDArray[np.uint8],
    rate: Budget | Distortion,
) -> _Made:
    """The finest common step that fits a budget, or the coarsest that keeps a distortion."""
    low, high = 0, 511  # `high` gives the smallest update
    made: dict[int, _Made] = {}

    def fits(exponent: int) -> bool:
        made[exponent] = _made(old, tensors, wants, known, exponent)
        if isinstance(rate, Budget):
            return len(made[exponent].payload) + HEADER_BYTES <= rate.n_bytes
        return made[exponent].error > rate.relative_mse

    energy = sum(float(np.vdot(want, want)) for want in wants if want.dtype.kind == "f")
    size = sum(want.size for want in wants if want.dtype.kind == "f")
    guess = int(np.searchsorted(STEPS, 2 * (energy / max(size, 1)) ** 0.5).clip(1, 510))
    for reach in (4, 8, 16, 32):  # a bracket about the guess
        if guess - reach > low and fits(guess - reach):
            high = min(high, guess - reach)
        elif guess + reach < high and not fits(guess + reach):
            low = max(low, guess + reach)
        else:
            low, high = max(low, guess - reach), min(high, guess + reach)
            break
    while high - low > 1:  # the least exponent that fits lies in (low, high]
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    wanted = high if isinstance(rate, Budget) else low
    if wanted not in made:
        fits(wanted)
    if isinstance(rate, Budget) and len(made[wanted].payload) + HEADER_BYTES > rate.n_bytes:
        raise ValueError(f"no update of these weights fits into {rate.n_bytes} bytes")
    return made[wanted]


PRICE = 700
"""What 1/256 of a bit costs, in the square of 1/1024 of a step."""


def _made(
    old: dict[str, NDArray[Any]],
    tensors: NDArray[np.int64],
    wants: list[NDArray[Any]],
    known: NDArray[np.uint8],
    exponent: int,
) -> _Made:
    steps = np.full(len(wants), exponent, dtype=np.int32)
    prices = np.full(len(wants), PRICE, dtype=np.int64)
    wanted = np.empty(len(known), dtype=np.int32)
    at = 0
    for i, want in enumerate(wants):
        part = wanted[at : at + want.size]
        if want.dtype.kind == "f":
            sizes = np.rint(want * np.float32(1024 / STEPS[exponent]))
            part[:] = sizes.clip(-(1 << 30), 1 << 30)
        else:
            part[:], prices[i] = want * 1024, 0
        at += want.size
    symbols = np.zeros(len(known), dtype=np.int32)
    payload = run(True, tensors, steps, symbols, wanted, known, prices)
    wrong = right = 0.0
    at = 0
    for want in wants:
        if want.dtype.kind == "f":
            off = want - symbols[at : at + want.size] * STEPS[exponent]
            wrong, right = wrong + float(np.vdot(off, off)), right + float(np.vdot(want, want))
        at += want.size
    return _Made(payload, steps, symbols, wrong / right if right else 0.0)


def _applied(
    old: dict[str, NDArray[Any]], steps: NDArray[np.int32], symbols: NDArray[np.int32]
) -> dict[str, NDArray[Any]]:
    at, result = 0, {}
    for (name, array), step in zip(old.items(), steps.tolist()):
        part = symbols[at : at + array.size].reshape(array.shape)
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                moved = array.astype(np.float32) + part.astype(np.float32) * STEPS[step]
                result[name] = np.where(part == 0, array, moved.astype(array.dtype))
        else:
            result[name] = (array.astype(np.int64) + part).astype(array.dtype)
        at += array.size
    return result


def _tensors(old: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Rows, columns, kernel and kind of each tensor."""
    rows = []
    for array in old.values():
        shape = array.shape
        if array.dtype.kind != "f":
            rows.append((1, array.size, 1, 3))
        elif len(shape) < 2 or not array.size:
            rows.append((1, array.size, 1, 2))
        else:
            kernel = int(np.prod(shape[2:], dtype=np.int64))
            rows.append((shape[0], array.size // shape[0], kernel, int(kernel > 1)))
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def _known(array: NDArray[Any]) -> NDArray[np.uint8]:
    """What both ends know of each weight: its sign, and how many octaves it is below the greatest."""
    if array.dtype.kind != "f":
        return np.zeros(array.size, dtype=np.uint8)
    bits = np.ascontiguousarray(array, dtype=np.float32).reshape(-1).view(np.uint32)
    octave = (bits >> 23 & 255).astype(np.int16)
    below = (octave.max(initial=0) - octave).clip(0, 7)
    return (below + 8 * (bits >> 31)).astype(np.uint8)


def _arrays(weights: Arrays) -> dict[str, NDArray[Any]]:
    arrays = {}
    for name in sorted(weights):
        value = weights[name]
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            raise ValueError(f"{name} is of type {array.dtype}")
        arrays[name] = array
    return arrays


def _like(model: Any, array: NDArray[Any]) -> Any:
    return model.new_tensor(array) if hasattr(model, "new_tensor") else array


def _check_alike(old: dict[str, NDArray[Any]], new: dict[str, NDArray[Any]]) -> None:
    if old.keys() != new.keys():
        raise ValueError(f"only one side has {', '.join(sorted(old.keys() ^ new.keys())[:3])}")
    for name, array in old.items():
        if (array.shape, array.dtype) != (new[name].shape, new[name].dtype):
            raise ValueError(f"{name} has another shape or type before and after")


def _hash(arrays: dict[str, NDArray[Any]]) -> bytes:
    state = hashlib.sha256()
    for name, array in arrays.items():
        state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.digest()


def _check(start: bytes, rest: bytes, own: bytes) -> bytes:
    return zlib.crc32(own + start + rest).to_bytes(4, "big")
