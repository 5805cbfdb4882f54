"""latent symbols -> bits: a density learned in training, frozen once into the integer tables that coding uses.

Training sees `Density`, a smooth model with gradients (compressai's factorised prior). At its end `freeze` turns density and counts
into `Tables`; nothing is ever rebuilt from floats when a codec is loaded, so two machines cannot disagree about them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from codec.rangecoder import LIMIT, TOTAL, Tables

MAX_SYMBOLS = 256
"""Widest table of a channel; values beyond are escaped."""
ESCAPE_SHARE = 2.0**-16
"""Least probability of the escape symbol."""


class Density(nn.Module):
    """One learned density per channel and quality: `EntropyBottleneck` of compressai (Balle et al. 2018, arXiv 1802.01436, sec. 6.1).

    Needs the training extra; a loaded codec has `Tables` instead.
    """

    def __init__(self, n_channels: int, n_qualities: int) -> None:
        super().__init__()
        from compressai.entropy_models import EntropyBottleneck

        self.n_channels, self.n_qualities = n_channels, n_qualities
        self.bottleneck = EntropyBottleneck(n_channels * n_qualities, init_scale=4)
        self.bottleneck.quantiles.requires_grad_(False)  # for compressai's own tables, not used here

    def bits(self, values: torch.Tensor) -> torch.Tensor:
        """Bits of values (B, M, C), where sample b has quality b mod Q: (B,) float32, differentiable."""
        b, m, c = values.shape
        q = self.n_qualities
        rows = values.float().unflatten(0, (b // q, q)).permute(1, 3, 0, 2).reshape(q * c, 1, b // q * m)
        likelihood = self.bottleneck._likelihood(rows)[0].clamp_min(1e-9)
        bits: torch.Tensor = -torch.log2(likelihood).view(q, c, b // q, m).sum((1, 3))
        return bits.transpose(0, 1).reshape(b)

    @torch.no_grad()
    def pmf(self, low: int, high: int) -> NDArray[np.float64]:
        """Probability of each integer low ... high: (Q, C, high - low + 1)."""
        values = torch.arange(low, high + 1, dtype=torch.float32, device=self.bottleneck.quantiles.device)
        rows = values.expand(self.n_qualities * self.n_channels, 1, -1)
        likelihood = self.bottleneck._likelihood(rows)[0][:, 0].double().cpu().numpy()
        return np.asarray(likelihood.reshape(self.n_qualities, self.n_channels, -1))


class Histogram:
    """Counts of the symbols each channel sent at one quality."""

    def __init__(self, n_channels: int) -> None:
        self.counts = np.zeros((n_channels, 2 * LIMIT + 1), dtype=np.int64)

    def add(self, symbols: NDArray[np.int32]) -> None:
        """Count symbols (B, M, C)."""
        for channel in range(len(self.counts)):
            values = symbols[..., channel].reshape(-1) + LIMIT
            self.counts[channel] += np.bincount(values, minlength=2 * LIMIT + 1)


def freeze(histogram: Histogram, pmf: NDArray[np.float64] | None = None, weight: float = 64.0) -> Tables:
    """Counts of training symbols, smoothed by the learned density, as integer tables.

    Counts are what a coder pays for; the density fills the places where few symbols were seen, as `weight` more observations.

    Args:
        histogram: symbols of the training data at one quality.
        pmf: (C, MAX_SYMBOLS) probabilities of -128 ... 127, from `Density.pmf`; None for counts alone.
        weight: observations the density stands for.
    """
    half = MAX_SYMBOLS // 2
    inner = histogram.counts[:, LIMIT - half : LIMIT + half].astype(np.float64)
    outer = histogram.counts.sum(1) - inner.sum(1)
    mass = inner if pmf is None else inner + weight * pmf
    rows = [_row(channel, beyond) for channel, beyond in zip(mass, outer, strict=True)]
    n_symbols = np.array([len(frequency) for _, frequency in rows], dtype=np.int32)
    cdf = np.full((len(rows), int(n_symbols.max()) + 1), TOTAL, dtype=np.uint32)
    for line, (_, frequency) in zip(cdf, rows, strict=True):
        line[: len(frequency) + 1] = np.concatenate([[0], np.cumsum(frequency)])
    return Tables(cdf=cdf, offset=np.array([low for low, _ in rows], dtype=np.int32), n_symbols=n_symbols)


def _row(mass: NDArray[np.float64], beyond: float) -> tuple[int, NDArray[np.int64]]:
    """Mass of -128 ... 127 and beyond -> (first value, frequencies with the escape last, summing to 2**24)."""
    total = mass.sum() + beyond
    if total <= 0:
        mass, total = np.where(np.arange(len(mass)) == len(mass) // 2, 1.0, 0.0), 1.0
    p = mass / total
    kept = np.flatnonzero(p > 2.0**-20)
    low, high = int(kept[0]), int(kept[-1])
    inside = p[low : high + 1]
    escape = max(1 - inside.sum(), ESCAPE_SHARE)
    exact = np.append(inside, escape)
    exact *= TOTAL / exact.sum()
    frequency = np.maximum(np.floor(exact), 1).astype(np.int64)
    frequency[np.argmax(frequency)] += TOTAL - frequency.sum()
    return low - len(mass) // 2, frequency


def tables_to_tensors(tables: list[Tables]) -> dict[str, torch.Tensor]:
    """Tables of every quality as the tensors a checkpoint holds."""
    tensors = {}
    for q, t in enumerate(tables):
        tensors[f"tables.{q}.cdf"] = torch.from_numpy(t.cdf.astype(np.int32))
        tensors[f"tables.{q}.offset"] = torch.from_numpy(t.offset)
        tensors[f"tables.{q}.n_symbols"] = torch.from_numpy(t.n_symbols)
    return tensors


def tables_from_tensors(tensors: dict[str, Any], n_qualities: int) -> list[Tables]:
    """The inverse of `tables_to_tensors`.

    Raises:
        KeyError, ValueError: tables are missing or malformed.
    """
    return [
        Tables(
            cdf=tensors[f"tables.{q}.cdf"].numpy().astype(np.uint32),
            offset=tensors[f"tables.{q}.offset"].numpy(),
            n_symbols=tensors[f"tables.{q}.n_symbols"].numpy(),
        )
        for q in range(n_qualities)
    ]
