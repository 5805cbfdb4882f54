"""symbols -> bits, in training: the density of each symbol given those before it, in floats and
with gradients.

It is learned together with the transforms. At the end of training `codec.model.freezing.freeze`
makes an `IntegerPrior` of it, which codes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from codec.coding.exact import LEAST_SCALE, N_SCALES, SCALE_STEP
from codec.coding.passes import passes


class ContextPrior(nn.Module):
    """Mean and scale of each symbol's logistic density, from its position, channel, quality and
    four neighbours.

    latent of the known neighbours (4 C) -> hidden -> mean and log scale of C channels. One network
    serves all qualities and positions; each pass of `codec.coding.passes` has a first layer
    of its own. The first pass has no neighbours: its means and scales are constants.

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
        """Set the mean of each channel and position to that of latents (n, M, C); the optimiser
        would need many steps for it.
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
