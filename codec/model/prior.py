"""latent symbols -> bits: the density of each symbol given those before it, learned with the
transforms, then frozen to integers.

Training sees `ContextPrior`, with gradients. At its end `freeze` makes it an `IntegerPrior`;
nothing is ever rebuilt from floats when a codec is loaded, so two machines cannot disagree about a
table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from codec.coding.context import ContextNetwork
from codec.coding.exact import (
    EIGHTHS,
    FRACTION_BITS,
    LEAST_SCALE,
    LIMIT,
    MAX_RESULT,
    MAX_SUM,
    N_SCALES,
    N_TABLES,
    SCALE_STEP,
)
from codec.coding.integer_prior import IntegerPrior
from codec.coding.passes import passes
from codec.coding.places import DISTANCES, TABLE_SYMBOLS
from codec.coding.tables import Tables

Sample = Callable[[], Iterable[tuple[int, NDArray[np.int32]]]]
"""Gives pairs of a quality and symbols (B, M, C)."""

MAX_HIDDEN = 1 << 11
"""Most that a hidden unit of the frozen network is let grow to."""
LEAST_FACTOR = 8
"""Least factor of a result: below it, its own rounding would be seen. Weights that are nearly
nothing would ask for less.
"""
LEAST_SHARE = 2.0**-14
"""Least probability of a symbol in a table's density."""


class ContextPrior(nn.Module):
    """Mean and scale of each symbol's logistic density, from its position, channel, quality and
    four neighbours.

    latent of known neighbours (4 C) -> hidden -> mean and log scale of C channels; one network for
    all qualities and positions, with a first layer for each pass of `codec.coding.passes`.
    The first pass has no neighbours: its means and scales are constants.

    Joint training of a context model and the transforms: Minnen, Balle, Toderici 2018, arXiv
    1809.02736.

    Args:
        side: side of the latent's square.
        n_channels: C of the latent.
        n_qualities: rate indices.
        n_hidden: width of the network.
    """

    def __init__(self, side: int, n_channels: int, n_qualities: int, n_hidden: int = 64) -> None:
        super().__init__()
        self.side, self.n_channels, self.n_hidden = side, n_channels, n_hidden
        self.passes = passes(side)
        bound = (4 * n_channels) ** -0.5
        self.hidden = nn.Parameter(torch.empty(2, n_hidden, 4 * n_channels).uniform_(-bound, bound))
        self.hidden_bias = nn.Parameter(torch.zeros(n_qualities, 2, n_hidden))
        self.out = nn.Parameter(torch.zeros(2 * n_channels, n_hidden))
        self.out_bias = nn.Parameter(torch.zeros(2 * n_channels, side * side))
        self.log_scale = nn.Parameter(torch.full((n_qualities, n_channels), -1.0))

    def forward(
        self, known: torch.Tensor, quality: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latent of the symbols (B, M, C) and quality (B,) -> mean and log scale (B, M, C), in the
        latent's unit.

        Each position's result depends on positions of earlier passes alone.
        """
        b, m, c = known.shape
        padded = F.pad(known, (0, 0, 0, 1))
        out = self.out_bias.t().expand(b, m, 2 * c)
        for i, (positions, neighbours) in enumerate(self.passes[1:]):
            seen = padded[:, torch.from_numpy(neighbours).to(known.device)].flatten(2)
            hidden = F.relu(F.linear(seen, self.hidden[i]) + self.hidden_bias[quality, i][:, None])
            out = out.index_add(
                1,
                torch.from_numpy(positions).to(known.device),
                F.linear(hidden, self.out).to(out.dtype),
            )
        mean, log_scale = out.split(c, dim=2)
        return mean, log_scale + self.log_scale[quality][:, None]

    @torch.no_grad()
    def recentre(self, latents: torch.Tensor) -> None:
        """Move the mean of each channel and position to that of latents (n, M, C): a gradient's
        steps would take long to get there.
        """
        predicted, _ = self(
            latents, torch.zeros(len(latents), dtype=torch.int64, device=latents.device)
        )
        self.out_bias[: self.n_channels] += (latents - predicted).mean(0).t()

    def bits(
        self,
        values: torch.Tensor,
        known: torch.Tensor,
        log_gain: torch.Tensor,
        quality: torch.Tensor,
    ) -> torch.Tensor:
        """Bits of values in units of the quantiser's step (B, M, C): (B,) float32, differentiable.

        Args:
            values: symbols, or the scaled latent with uniform noise in training.
            known: the symbols (B, M, C) that the decoder sees.
            log_gain: (Q, C), log of the symbols over the latent.
            quality: (B,) int64.
        """
        chosen = log_gain[quality][:, None]
        mean, log_scale = self(known * (-chosen).exp(), quality)
        scale = (
            (log_scale + chosen)
            .float()
            .clamp(math.log(LEAST_SCALE), math.log(LEAST_SCALE * SCALE_STEP**N_SCALES))
            .exp()
        )
        distance = (values - mean * chosen.exp()).float().abs()
        low, high = (-distance - 0.5) / scale, (-distance + 0.5) / scale
        # sigmoid(high) - sigmoid(low), in a form that neither cancels nor underflows
        log_likelihood = (
            F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(-1 / scale))
        )
        return -log_likelihood.sum((1, 2)) / math.log(2)


def freeze(
    prior: ContextPrior, log_gain: torch.Tensor, sample: Sample, weight: float = 64.0
) -> IntegerPrior:
    """End of training: round the network to integers, then count the tables that its choices lead
    to.

    Every row of weights is scaled to what int8 and exact sums allow; the scale of a hidden row goes
    on into the next layer.

    Args:
        prior: the trained prior.
        log_gain: (Q, C), log of the symbols over the latent.
        sample: gives (quality, symbols (B, M, C)) of training images, the same at each call, every
            quality at least once.
        weight: observations that a table's logistic density stands for, where few symbols were
            seen.
    """
    w = {name: p.detach().double().cpu().numpy() for name, p in prior.named_parameters()}
    gain = log_gain.detach().double().exp().cpu().numpy()
    one = 1 << FRACTION_BITS
    per_latent = LIMIT / np.max(
        [np.abs(some).max((0, 1)) / gain[q] for q, some in sample()]
        + [np.full(prior.n_channels, 1e-6)],
        axis=0,
    )

    rows = w["hidden"] / np.tile(per_latent, 4)
    bias_most = np.abs(w["hidden_bias"]).max(0)
    room = (MAX_SUM - 1) / (
        LIMIT * (np.abs(rows).sum(2) + rows.shape[2] * np.abs(rows).max(2) / LIMIT)
        + 2 * bias_most
        + 1e-9
    )
    row_scale = np.minimum(LIMIT / (np.abs(rows).max(2) + 1e-9), room)
    draft = ContextNetwork(
        side=prior.side,
        unit=_int32(per_latent / gain * one),
        hidden=np.rint(rows * row_scale[..., None]).astype(np.int8),
        hidden_bias=_int32(w["hidden_bias"] * row_scale),
        shift=np.zeros((2, prior.n_hidden), dtype=np.int32),
        out=np.zeros((2, 2 * prior.n_channels, prior.n_hidden), dtype=np.int8),
        out_bias=np.zeros((2 * prior.n_channels, prior.side**2), dtype=np.int32),
        factor=np.zeros((len(gain), 2 * prior.n_channels), dtype=np.int32),
        bias=np.zeros((len(gain), 2 * prior.n_channels), dtype=np.int32),
    )
    sums = LIMIT * np.abs(draft.hidden.astype(np.int64)).sum(2) + np.abs(
        draft.hidden_bias.astype(np.int64)
    ).max(0)
    shift = np.maximum(np.ceil(np.log2((sums + 1) / MAX_HIDDEN)), 0).astype(np.int32)
    out = w["out"] * (np.exp2(shift) / row_scale)[:, None]  # (2, 2C, H), for integer hidden units
    log_step = math.log(SCALE_STEP)
    # of a result, in eighths or indices
    unit = np.concatenate([EIGHTHS * gain.min(0), np.full(prior.n_channels, 1 / log_step)])
    out_scale = np.minimum(
        LIMIT / np.maximum(np.abs(out).max((0, 2)), np.abs(w["out_bias"]).max(1) / MAX_SUM + 1e-9),
        unit * one / LEAST_FACTOR,
    )
    to_eighths = EIGHTHS * gain / out_scale[: prior.n_channels]
    to_index = np.broadcast_to(1 / (out_scale[prior.n_channels :] * log_step), gain.shape)
    index_bias = (w["log_scale"] + np.log(gain) - math.log(LEAST_SCALE)) / log_step + 0.5
    whole = np.rint(out * out_scale[:, None]).astype(np.int8)
    out_bias = _int32(w["out_bias"] * out_scale[:, None])
    most = (np.abs(whole.astype(np.int64)) * (sums >> shift)[:, None]).sum(2).max(0) + np.abs(
        out_bias.astype(np.int64)
    ).max(1)
    factor = np.concatenate([to_eighths, to_index], axis=1) * one
    bias = np.concatenate([np.full(gain.shape, EIGHTHS / 2 + 0.5), index_bias], axis=1) * one
    network = replace(
        draft,
        shift=shift,
        out=whole,
        out_bias=out_bias,
        factor=_int32(np.minimum(factor, MAX_RESULT / (most + 1))),
        bias=_int32(bias),
    )
    counts = np.zeros((N_TABLES, TABLE_SYMBOLS))
    uncounted = IntegerPrior(network, _tables(counts, weight))
    for q, some in sample():
        _, places, tables = uncounted.places(some, q)
        counts += np.bincount(
            (tables * TABLE_SYMBOLS + places).reshape(-1), minlength=counts.size
        ).reshape(counts.shape)
    return replace(uncounted, tables=_tables(counts, weight))


def _tables(counts: NDArray[np.float64], weight: float) -> Tables:
    """Counts (N_TABLES, 32), smoothed by each table's logistic density, as integer tables."""
    index, eighth = np.divmod(np.arange(N_TABLES), EIGHTHS)
    scale = (LEAST_SCALE * SCALE_STEP**index)[:, None]
    distance = DISTANCES - (eighth[:, None] - EIGHTHS / 2) / EIGHTHS
    high, low = (
        1 / (1 + np.exp(-np.clip((distance + half) / scale, -50, 50))) for half in (0.5, -0.5)
    )
    inside = high - low
    pmf = np.concatenate([inside, np.maximum(1 - inside.sum(1, keepdims=True), 0)], axis=1)
    mass = counts + weight * np.maximum(pmf, LEAST_SHARE)
    return Tables.from_mass(mass)


def _int32(values: NDArray[np.float64]) -> NDArray[np.int32]:
    """Rounded, and bounded by what int32 holds."""
    return np.rint(values).clip(-(2**31) + 1, 2**31 - 1).astype(np.int32)


def prior_to_tensors(prior: IntegerPrior) -> dict[str, torch.Tensor]:
    """A frozen prior as the tensors a checkpoint holds."""
    arrays = {name: getattr(prior.network, name) for name in _ARRAYS} | {
        "cdf": prior.tables.cdf.astype(np.int32)
    }
    return {f"prior.{name}": torch.from_numpy(array) for name, array in arrays.items()}


def prior_from_tensors(tensors: dict[str, torch.Tensor], side: int) -> IntegerPrior:
    """The inverse of `prior_to_tensors`.

    Raises:
        KeyError, ValueError: a tensor is missing or malformed.
    """
    network = ContextNetwork(
        side=side, **{name: tensors[f"prior.{name}"].numpy() for name in _ARRAYS}
    )
    return IntegerPrior(network, Tables(tensors["prior.cdf"].numpy().astype(np.uint32)))


_ARRAYS = tuple(field.name for field in fields(ContextNetwork) if field.name != "side")
