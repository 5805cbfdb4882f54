"""weights before and after -> an update, in bytes, and back to the same weights, bit for bit.

Both ends hold the same weights `before`. An update names them, its round and the weights that it
leads to, and holds multiples of a step for each tensor (docs/updates.md). What is wanted and not
sent, the error feedback, stays with the sender in its `UpdateState`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.coding.container import BitstreamError
from codec.coding.update_blob import MAX_ROUND, UpdateBlob, pack_update, unpack_update
from codec.coding.update_feedback import UpdateState
from codec.coding.update_search import Budget, Distortion, searched, tensor_steps
from codec.coding.update_wants import coder, wants

__all__ = [
    "BitstreamError",
    "Budget",
    "Distortion",
    "UpdateRefused",
    "UpdateState",
    "check_update",
    "decode_update",
    "encode_update",
    "weights_fingerprint",
]

MAX_CHANGE = 1 << 20
"""Integers change by less than this."""
Weights = Mapping[str, Any]


class UpdateRefused(ValueError):  # noqa: N818 - it says what happened
    """An update is whole, but the weights it leads to are not finite, or too far away."""


def encode_update(
    before: Weights,
    after: Weights,
    rate: Budget | Distortion,
    state: UpdateState | None = None,
    round_number: int = 0,
) -> bytes:
    """Weights that both ends hold, and weights that are wanted -> an update.

    Args:
        before, after: arrays or torch tensors (float16, float32, integers, booleans) of the same
            names, shapes and types. Floats change by multiples of a step, the others exactly.
        rate: `Budget(n_bytes)` or `Distortion(relative_mse)`.
        state: what earlier updates left over is added to what is wanted, and what this one leaves
            over takes its place.
        round_number: 0 to 2**32 - 1; the receiver may ask for it.

    Raises:
        ValueError: other names, shapes or types; NaN or infinity; integers that change by 2**20 or
            more; or no update fits the rate.
    """
    old, new = _arrays(before), _arrays(after)
    if not 0 <= round_number <= MAX_ROUND:
        raise ValueError(f"round {round_number} is not in 0..{MAX_ROUND}")
    _check_alike(old, new)
    changes = {name: _change(name, old[name], new[name]) for name in old}
    if state is not None:
        changes = state.wanted(changes)
    for name, change in changes.items():
        if not np.isfinite(change).all():
            raise ValueError(f"{name} holds NaN or infinity")
    flat = [change.reshape(-1) for change in changes.values()]
    coded = searched(wants(flat, _tensors(old)), rate)
    result = _applied(old, tensor_steps(coded.exponent, coded.offsets), coded.symbols)
    if state is not None:
        floats = [name for name, change in changes.items() if change.dtype == np.float32]
        state.keep(changes, {name: _less(result[name], old[name]) for name in floats})
    leads_to = _fingerprint(result)[:8]
    return pack_update(
        UpdateBlob(round_number, coded.exponent, leads_to, coded.payload), _fingerprint(old)
    )


def decode_update(
    before: Weights, blob: bytes, round_number: int | None = None, max_norm: float | None = None
) -> dict[str, Any]:
    """Weights that both ends hold, and an update -> the weights after it, the sender's bit for bit;
    arrays or tensors, as `before` has.

    Args:
        round_number: the round that is expected; None takes any.
        max_norm: as `check_update`.

    Raises:
        BitstreamError: damaged, foreign (made for other weights), of another round, too long, or of
            another version; the message says which.
        UpdateRefused: as `check_update`.
    """
    old = _arrays(before)
    own, n_weights = _fingerprint(old), sum(array.size for array in old.values())
    update = unpack_update(blob, own, n_weights, round_number)
    offsets, symbols = np.zeros(len(old), dtype=np.int32), np.zeros(n_weights, dtype=np.int32)
    prices = np.zeros(len(old), dtype=np.int64)
    coder()(False, _tensors(old), offsets, symbols, None, prices, update.payload)
    result = _applied(old, tensor_steps(update.exponent, offsets), symbols)
    if _fingerprint(result)[:8] != update.result:
        raise BitstreamError("the update does not lead to the weights that its sender had")
    check_update(old, result, max_norm)
    return {
        name: before[name].new_tensor(array) if hasattr(before[name], "new_tensor") else array
        for name, array in result.items()
    }


def check_update(before: Weights, after: Weights, max_norm: float | None = None) -> float:
    """Refuse weights that are not finite or too far away -> how far: the Euclidean norm of the
    change of all floats.

    Args:
        max_norm: the farthest that is let through; None lets any finite change through.

    Raises:
        UpdateRefused: NaN, infinity, or a norm beyond `max_norm`; the message says which.
    """
    old, new = _arrays(before), _arrays(after)
    _check_alike(old, new)
    total = 0.0
    for name, array in new.items():
        if array.dtype.kind == "f":
            if not np.isfinite(array).all():
                raise UpdateRefused(f"{name} holds NaN or infinity")
            total += float(np.square(_less(array, old[name]), dtype=np.float64).sum())
    norm = total**0.5
    if max_norm is not None and not norm <= max_norm:
        raise UpdateRefused(f"the change has a norm of {norm:.4g}, beyond {max_norm:.4g}")
    return norm


def weights_fingerprint(weights: Weights) -> bytes:
    """32 bytes that name weights: SHA-256 of their names, types, shapes and values."""
    return _fingerprint(_arrays(weights))


def _less(new: NDArray[Any], old: NDArray[Any]) -> NDArray[np.float32]:
    return new.astype(np.float32) - old.astype(np.float32)


def _change(name: str, old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
    """What is wanted of a tensor: float32, or int64."""
    if old.dtype.kind != "f":
        change = new.astype(np.int64) - old.astype(np.int64)
        # not by the absolute value: that of the least int64 is negative
        if change.max(initial=0) >= MAX_CHANGE or change.min(initial=0) <= -MAX_CHANGE:
            raise ValueError(f"{name} changes by {MAX_CHANGE} or more")
        return change
    return _less(new, old)


def _applied(
    old: dict[str, NDArray[Any]], steps: NDArray[np.float32], symbols: NDArray[np.int32]
) -> dict[str, NDArray[Any]]:
    """Two roundings of float32 for each weight: of symbol times step, and of the sum. What is not
    changed stays as it is.
    """
    at, result = 0, {}
    for (name, array), step in zip(old.items(), steps, strict=True):
        part = symbols[at : at + array.size].reshape(array.shape)
        at += array.size
        if array.dtype.kind != "f":
            result[name] = (array.astype(np.int64) + part).astype(array.dtype)
            continue
        with np.errstate(over="ignore"):
            moved = array.astype(np.float32) + part.astype(np.float32) * step
            result[name] = np.where(part == 0, array, moved.astype(array.dtype))
    return result


def _tensors(arrays: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Rows, columns, kernel and kind of each tensor: 0 a matrix, 1 a convolution, 2 a vector, 3
    integers.
    """
    rows = []
    for array in arrays.values():
        is_float, (first, *rest) = array.dtype.kind == "f", (*array.shape[:2], 1, 1)[:2]
        if not is_float or array.ndim < 2 or not array.size:
            rows.append((1, array.size, 1, 2 if is_float else 3))
        else:
            kernel = array.size // (first * rest[0])
            rows.append((first, array.size // first, kernel, int(kernel > 1)))
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def _arrays(weights: Weights) -> dict[str, NDArray[Any]]:
    """Weights as arrays, by name in order."""
    arrays = {}
    for name in sorted(weights):
        value = weights[name]
        if str(getattr(value, "dtype", "")) == "torch.bfloat16":  # numpy has no such type
            raise ValueError(f"{name} is bfloat16: not float16, float32 or integers")
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        if array.dtype.kind not in "fiub" or (array.dtype.kind == "f" and array.dtype.itemsize > 4):
            raise ValueError(f"{name} is {array.dtype}: not float16, float32 or integers")
        arrays[name] = array
    return arrays


def _check_alike(old: dict[str, NDArray[Any]], new: dict[str, NDArray[Any]]) -> None:
    if old.keys() != new.keys():
        raise ValueError(f"only one side has {', '.join(sorted(old.keys() ^ new.keys())[:3])}")
    for name, array in old.items():
        if (array.shape, array.dtype) != (new[name].shape, new[name].dtype):
            raise ValueError(f"{name} has another shape or type before and after")


def _fingerprint(arrays: dict[str, NDArray[Any]]) -> bytes:
    state = hashlib.sha256()
    for name, array in arrays.items():
        little = array.dtype.newbyteorder("<")
        state.update(f"{name!r} {little.str} {array.shape}\n".encode())
        state.update(np.ascontiguousarray(array, dtype=little).data)
    return state.digest()
