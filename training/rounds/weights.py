"""a model's trainable parameters <-> named float32 arrays, their hash and their distance."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Weights = dict[str, NDArray[np.float32]]
"""Trainable parameters by name, float32; sorted by name wherever the order counts."""


class Key(NamedTuple):
    """What the randomness of a message comes from: the run's seed, the number of the round from 0
    on, and whose the message is, 0 for the server.
    """

    seed: int
    number: int
    sender: int


def weights_of(model: nn.Module) -> Weights:
    """A copy of the parameters of `model` that want gradients."""
    named = sorted((name, p) for name, p in model.named_parameters() if p.requires_grad)
    return {name: p.detach().float().contiguous().cpu().numpy().copy() for name, p in named}


@torch.no_grad()
def set_weights(model: nn.Module, weights: Mapping[str, NDArray[Any]]) -> None:
    """Copy weights into the parameters of `model`."""
    parameters = dict(model.named_parameters())
    for name, value in weights.items():
        parameters[name].copy_(torch.from_numpy(value))


def hash_of(weights: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of all names, shapes and values, in hex."""
    state = hashlib.sha256()
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name], dtype="<f4")
        state.update(f"{name}{value.shape}".encode())
        state.update(value.tobytes())
    return state.hexdigest()


def n_values(weights: Mapping[str, NDArray[Any]]) -> int:
    return sum(value.size for value in weights.values())


def added(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> Weights:
    return {name: one[name] + other[name] for name in one}


def less(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> Weights:
    return {name: one[name] - other[name] for name in one}


def norm_of(change: Mapping[str, NDArray[Any]]) -> float:
    """Euclidean norm of a change; NaN where a value is."""
    squares = (float(np.square(v, dtype=np.float64).sum()) for v in change.values())
    return float(np.sqrt(sum(squares)))
