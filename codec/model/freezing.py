"""density in floats -> prior in integers -> tensors of a checkpoint: what ends training, and fixes
every table for good.

`freeze` rounds the weights of a `ContextPrior` to integers and counts the tables. When a codec is
loaded nothing is rebuilt from floats, so two machines cannot disagree about a table. The scales
below are derived in docs/format.md, "Freezing".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from codec.coding.context import ContextNetwork
from codec.coding.exact import (
    EIGHTHS,
    FRACTION_BITS,
    LEAST_SCALE,
    LIMIT,
    MAX_RESULT,
    MAX_SUM,
    N_TABLES,
    SCALE_STEP,
)
from codec.coding.integer_prior import IntegerPrior
from codec.coding.places import DISTANCES, TABLE_SYMBOLS
from codec.coding.tables import Tables
from codec.model.density import ContextPrior

Floats = NDArray[np.float64]
Sample = Callable[[], Iterable[tuple[int, NDArray[np.int32]]]]
"""Gives pairs of a quality and symbols (B, M, C)."""

MAX_HIDDEN = 1 << 11
"""Most that a hidden unit of the frozen network may grow to."""
LEAST_FACTOR = 8
"""Least factor of a result. A factor is an integer: of a smaller one, the rounding would show.
Weights that are nearly nothing would ask for less.
"""
LEAST_SHARE = 2.0**-14
"""Least probability of a symbol in a table's density."""
ONE = 1 << FRACTION_BITS
"""1 in the fixed point of `unit`, `factor` and `bias`."""
LOG_STEP = math.log(SCALE_STEP)


def freeze(
    prior: ContextPrior, log_gain: torch.Tensor, sample: Sample, weight: float = 64.0
) -> IntegerPrior:
    """End of training: round the network to integers, then count the tables that it chooses.

    Args:
        prior: the trained density.
        log_gain: (Q, C), log of the symbols over the latent.
        sample: gives (quality, symbols (B, M, C)) of training images, the same at each call, every
            quality at least once.
        weight: how many observations a table's logistic density stands for; it decides where few
            symbols were seen.
    """
    w = {name: p.detach().double().cpu().numpy() for name, p in prior.named_parameters()}
    gain = log_gain.detach().double().exp().cpu().numpy()
    per_latent = _input_scale(gain, sample)
    hidden = _hidden_layer(w["hidden"] / np.tile(per_latent, 4), w["hidden_bias"])
    # What the second layer's weights act on is hidden * scale, not hidden: undo that in them.
    out = _out_layer(w["out"] / hidden.scale[:, None], w["out_bias"], gain)
    most = (np.abs(out.weights.astype(np.int64)) * hidden.most[:, None]).sum(2).max(0)
    most += np.abs(out.bias.astype(np.int64)).max(1)
    network = ContextNetwork(
        side=prior.side,
        unit=_int32(per_latent / gain * ONE),
        hidden=hidden.weights,
        hidden_bias=hidden.bias,
        shift=hidden.shift,
        out=out.weights,
        out_bias=out.bias,
        # Where o is so large that o * factor could pass 2**45, accuracy gives way to exactness.
        factor=_int32(np.minimum(_factor(out.scale, gain), MAX_RESULT / (most + 1))),
        bias=_int32(_result_bias(w["log_scale"], gain)),
    )
    return IntegerPrior(network, _tables(_count(network, sample, weight), weight))


class _Hidden(NamedTuple):
    """The first layer in integers, and `scale` (2, H), `most` (2, H): how much larger its units are
    than the density's, and the most that they become.
    """

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    shift: NDArray[np.int32]
    scale: Floats
    most: NDArray[np.int64]


class _Out(NamedTuple):
    """The second layer in integers, and `scale` (2 C,): how much larger its results are than the
    density's.
    """

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: Floats


def _input_scale(gain: Floats, sample: Sample) -> Floats:
    """`per_latent` (C,): the network's input over the latent, so that the largest latent seen
    becomes 127.
    """
    largest = [np.abs(some).max((0, 1)) / gain[q] for q, some in sample()]
    return LIMIT / np.max([*largest, np.full(gain.shape[1], 1e-6)], axis=0)


def _hidden_layer(rows: Floats, bias: Floats) -> _Hidden:
    """Rows (2, H, 4 C), for inputs in the network's unit, and bias (Q, 2, H) -> integers.

    `row_scale` makes a row's largest weight 127, or less where a sum could then reach 2**24: sums
    in float32 are exact below.
    """
    largest, n_inputs = np.abs(rows).max(2), rows.shape[2]
    # Most that a sum becomes per unit of row_scale. Rounding moves a weight by half at most; the
    # second term and the second `bias` leave room for it.
    grows = LIMIT * (np.abs(rows).sum(2) + n_inputs * largest / LIMIT) + 2 * np.abs(bias).max(0)
    row_scale = np.minimum(LIMIT / (largest + 1e-9), (MAX_SUM - 1) / (grows + 1e-9))
    weights = np.rint(rows * row_scale[..., None]).astype(np.int8)
    whole_bias = _int32(bias * row_scale)
    most = LIMIT * np.abs(weights.astype(np.int64)).sum(2)
    most += np.abs(whole_bias.astype(np.int64)).max(0)
    # A power of two brings every unit below 2**11, so that sums of the second layer stay small.
    shift = np.maximum(np.ceil(np.log2((most + 1) / MAX_HIDDEN)), 0).astype(np.int32)
    return _Hidden(weights, whole_bias, shift, row_scale / np.exp2(shift), most >> shift)


def _out_layer(out: Floats, bias: Floats, gain: Floats) -> _Out:
    """Weights (2, 2 C, H), for integer hidden units, and bias (2 C, M) -> integers.

    A row has one scale in both passes, as they share bias and factor. It makes the largest weight
    127, or less: where the bias would not fit int32 (127 * 2**24), or the factor that takes the
    scale back would be below `LEAST_FACTOR`.
    """
    fits = LIMIT / np.maximum(np.abs(out).max((0, 2)), np.abs(bias).max(1) / MAX_SUM + 1e-9)
    scale = np.minimum(fits, _per_result(gain.min(0)) * ONE / LEAST_FACTOR)
    return _Out(np.rint(out * scale[:, None]).astype(np.int8), _int32(bias * scale[:, None]), scale)


def _per_result(gain: Floats) -> Floats:
    """What a result of 1 is (..., 2 C): a mean in eighths of a symbol, a log scale in indices."""
    return np.concatenate([EIGHTHS * gain, np.full(gain.shape, 1 / LOG_STEP)], axis=-1)


def _factor(scale: Floats, gain: Floats) -> Floats:
    """What takes the scale of results back and brings them to eighths and indices: (Q, 2 C)."""
    n_channels = gain.shape[1]
    eighths = EIGHTHS * gain / scale[:n_channels]
    indices = np.broadcast_to(1 / (scale[n_channels:] * LOG_STEP), gain.shape)
    factor: Floats = np.concatenate([eighths, indices], axis=1) * float(ONE)
    return factor


def _result_bias(log_scale: Floats, gain: Floats) -> Floats:
    """What is added to results in eighths and indices: (Q, 2 C).

    Results are rounded down: a half makes that rounding to the nearest. The mean has four eighths
    more, so that its whole part is the nearest symbol. An index counts steps from the least scale.
    """
    eighths = np.full(gain.shape, EIGHTHS / 2 + 0.5)
    indices = (log_scale + np.log(gain) - math.log(LEAST_SCALE)) / LOG_STEP + 0.5
    return np.concatenate([eighths, indices], axis=1) * ONE


def _count(network: ContextNetwork, sample: Sample, weight: float) -> Floats:
    """How often each symbol of each table is coded in the sample: (N_TABLES, 32)."""
    counts = np.zeros((N_TABLES, TABLE_SYMBOLS))
    uncounted = IntegerPrior(network, _tables(counts, weight))
    for q, some in sample():
        _, places, tables = uncounted.places(some, q)
        flat = (tables * TABLE_SYMBOLS + places).reshape(-1)
        counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)
    return counts


def _tables(counts: Floats, weight: float) -> Tables:
    """Counts (N_TABLES, 32), smoothed by each table's logistic density, as integer tables."""
    index, eighth = np.divmod(np.arange(N_TABLES), EIGHTHS)
    scale = (LEAST_SCALE * SCALE_STEP**index)[:, None]
    distance = DISTANCES - (eighth[:, None] - EIGHTHS / 2) / EIGHTHS
    high, low = (
        1 / (1 + np.exp(-np.clip((distance + half) / scale, -50, 50))) for half in (0.5, -0.5)
    )
    inside = high - low
    pmf = np.concatenate([inside, np.maximum(1 - inside.sum(1, keepdims=True), 0)], axis=1)
    return Tables.from_mass(counts + weight * np.maximum(pmf, LEAST_SHARE))


def _int32(values: Floats) -> NDArray[np.int32]:
    """Rounded, and bounded by what int32 holds."""
    return np.rint(values).clip(-(2**31) + 1, 2**31 - 1).astype(np.int32)


def prior_to_tensors(prior: IntegerPrior) -> dict[str, torch.Tensor]:
    """A frozen prior -> the tensors of a checkpoint: `prior.cdf` (K, S + 1) int32, and the arrays
    of `ContextNetwork` as `prior.<name>`.
    """
    arrays = {name: getattr(prior.network, name) for name in _DTYPES}
    arrays["cdf"] = prior.tables.cdf.astype(np.int32)
    return {f"prior.{name}": torch.from_numpy(array) for name, array in arrays.items()}


def prior_from_tensors(tensors: dict[str, torch.Tensor], side: int) -> IntegerPrior:
    """The inverse of `prior_to_tensors`.

    Raises:
        KeyError: a tensor is missing.
        ValueError: a tensor has another dtype or shape, or its numbers are out of range.
    """
    arrays = {name: tensors[f"prior.{name}"] for name in (*_DTYPES, "cdf")}
    for name, tensor in arrays.items():
        wanted = _DTYPES.get(name, torch.int32)
        if tensor.dtype != wanted:
            raise ValueError(f"prior.{name} is {tensor.dtype}, not {wanted}")
    cdf = arrays.pop("cdf").numpy().astype(np.uint32)
    network = ContextNetwork(side=side, **{name: t.numpy() for name, t in arrays.items()})
    return IntegerPrior(network, Tables(cdf))


_DTYPES = {
    field.name: torch.int8 if field.name in ("hidden", "out") else torch.int32
    for field in fields(ContextNetwork)
    if field.name != "side"
}
