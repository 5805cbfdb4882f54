"""image or tokens -> latent (analysis, on the device) and latent -> tokens (synthesis, on the
server), as plain modules.

The device side is cheap and convolutional; the server side may be heavy and attends over all
positions. In between lies a latent of fewer, square-arranged positions than there are tokens: (B,
M, C) with M = side * side.

Where `fold` is more than 1, analysis and synthesis know fewer and wider positions: each is fold x
fold of the latent's, which share its channels out among them. So these channels, which lie in
passes of their own (`codec.coding.passes`), tell of one another before they are coded, as
slices of channels do in Minnen, Singh 2020, arXiv 2007.08739, sec. 3.2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from codec.model.split import Head, TokenGrid


class StudentAnalysis(nn.Module):
    """A small convolutional encoder that stands in for the first k blocks: pixel_values (B, 3, S,
    S) -> latent (B, M, C).

    Each stage halves the resolution and holds residual 3 x 3 convolutions; a 1 x 1 convolution ends
    in the latent's channels. It is distilled to the backbone's tokens, then trained for the answer
    (FrankenSplit, Furutanpey et al. 2023, arXiv 2302.10681).

    Args:
        widths: channels of each stage; the latent's side is the image's over 2 ** len(widths),
            times `fold`.
        depths: residual blocks of each stage.
        n_channels: C of the latent.
        fold: each position is fold x fold of the latent's.
    """

    def __init__(
        self, widths: tuple[int, ...], depths: tuple[int, ...], n_channels: int, fold: int = 1
    ) -> None:
        super().__init__()
        self.fold = fold
        if len(widths) != len(depths):
            raise ValueError(f"a student needs as many depths as widths: {depths} against {widths}")
        layers: list[nn.Module] = []
        for n_in, n_out, depth in zip((3, *widths), widths, depths, strict=False):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), _Norm(n_out)]
            layers += [_Residual(n_out) for _ in range(depth)]
        self.layers = nn.Sequential(*layers)
        self.project = nn.Conv2d(widths[-1], n_channels * fold**2, 1)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return latent_of(self.project(self.layers(pixel_values)), self.fold)


class BlocksAnalysis(nn.Module):
    """The backbone's own head and one linear map: pixel_values (B, 3, S, S) -> tokens (B, N, D) ->
    latent (B, M, C).

    The map takes `stride` x `stride` neighbouring tokens together, so that the latent has fewer
    positions than there are tokens. Special tokens (CLS) are not sent: the synthesis makes them
    anew.
    """

    def __init__(
        self, head: Head, grid: TokenGrid, side: int, n_channels: int, fold: int = 1
    ) -> None:
        super().__init__()
        self.head = head.requires_grad_(False)
        self.grid, self.fold = grid, fold
        stride = _ratio(grid.side, side // fold)
        self.norm = nn.LayerNorm(grid.width)
        self.project = nn.Conv2d(grid.width, n_channels * fold**2, stride, stride=stride)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(self.head(pixel_values)[:, self.grid.n_prefix :])
        square = tokens.transpose(1, 2).unflatten(2, (self.grid.side, self.grid.side))
        return latent_of(self.project(square), self.fold)


class Synthesis(nn.Module):
    """latent (B, M, C) -> tokens (B, N, D) as they would be after block k.

    Each position is unfolded into the tokens it stands for; special tokens start from learned ones;
    then all attend to all. Without blocks special tokens could learn nothing of the picture, so a
    linear map of the latent's mean is added to them. Where the grid's side is no multiple of the
    latent's, each position is unfolded into more tokens than it stands for, and these are brought
    to the grid by averaging over the areas that overlap.

    Args:
        grid: shape of the tokens.
        side: side of the latent's square, at most the grid's.
        n_channels: C of the latent.
        depth: number of transformer blocks.
        n_qualities: rate indices; each adds a learned vector, so that the blocks know how coarse
            the latent is.
        fold: the latent's positions are unfolded fold x fold at a time.
    """

    def __init__(
        self,
        grid: TokenGrid,
        side: int,
        n_channels: int,
        depth: int,
        n_qualities: int,
        fold: int = 1,
    ) -> None:
        super().__init__()
        self.grid, self.fold, self.side = grid, fold, side // fold
        if not 1 <= self.side <= grid.side:
            raise ValueError(
                f"a latent of side {self.side} cannot be unfolded into a token grid of side "
                f"{grid.side}"
            )
        self.factor = -(-grid.side // self.side)
        n_heads = _parts(grid.width, 32)
        wide = n_channels * fold**2
        self.unfold = nn.Linear(wide, grid.width * self.factor**2)
        self.prefix = nn.Parameter(torch.zeros(1, grid.n_prefix, grid.width))
        gathers = depth == 0 and grid.n_prefix > 0
        self.gather = nn.Linear(wide, grid.n_prefix * grid.width) if gathers else None
        self.positions = nn.Parameter(0.02 * torch.randn(1, grid.n_tokens, grid.width))
        self.quality = nn.Embedding(n_qualities, grid.width)
        nn.init.zeros_(self.quality.weight)
        self.layers = nn.ModuleList(Block(grid.width, n_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(grid.width)
        self.project = nn.Linear(grid.width, grid.width)

    def forward(self, latent: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """`latent` (B, M, C) float32 and `quality` (B,) int64 -> tokens (B, N, D)."""
        if self.fold > 1:
            cells = latent.unflatten(1, (self.side, self.fold, self.side, self.fold))
            latent = cells.permute(0, 1, 3, 2, 4, 5).flatten(3).flatten(1, 2)
        x = (
            self.unfold(latent)
            .unflatten(1, (self.side, self.side))
            .unflatten(3, (self.factor, self.factor, -1))
        )
        x = x.transpose(2, 3).flatten(1, 2).flatten(2, 3)  # (B, n, n, D) with n = side * factor
        if self.side * self.factor != self.grid.side:
            square = F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), self.grid.side)
            x = square.permute(0, 2, 3, 1)
        x = x.flatten(1, 2)
        prefix = self.prefix.expand(len(latent), -1, -1).to(x.dtype)
        if self.gather is not None:
            prefix = prefix + self.gather(latent.mean(1)).unflatten(1, (self.grid.n_prefix, -1))
        x = torch.cat([prefix, x], dim=1)
        x = x + self.positions + self.quality(quality)[:, None]
        for layer in self.layers:
            x = layer(x)
        tokens: torch.Tensor = self.project(self.norm(x))
        return tokens


class Block(nn.Module):
    """A pre-norm transformer block. Attention is written out: on a CPU its backward is faster than
    sdpa's.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            self.qkv(self.norm_attention(x))
            .unflatten(2, (3, self.n_heads, -1))
            .permute(2, 0, 3, 1, 4)
        )
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        x = x + self.out((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_mlp(x))))


class _Residual(nn.Module):
    """Two 3 x 3 convolutions around a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(width, width, 3, padding=1),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.norm, self.norm_in = _Norm(width), _Norm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch: torch.Tensor = self.second(F.relu(self.norm(self.first(F.relu(self.norm_in(x))))))
        return x + branch


class _Norm(nn.GroupNorm):
    """Group normalisation, 16 channels a group: no batch statistics, so training does not depend on
    how a batch is shared out.
    """

    def __init__(self, width: int) -> None:
        super().__init__(_parts(width, 16), width)


def latent_of(square: torch.Tensor, fold: int) -> torch.Tensor:
    """(B, C * fold**2, S, S) -> latent (B, (S * fold)**2, C): fold x fold positions of each, row by
    row, with C of its channels each.
    """
    if fold > 1:
        # (B, S, fold, S, fold, C)
        cells = square.unflatten(1, (fold, fold, -1)).permute(0, 4, 1, 5, 2, 3)
        return cells.flatten(1, 4)
    return square.flatten(2).transpose(1, 2)


def _parts(width: int, wanted: int) -> int:
    """Into how many equal parts a width is cut: those of `wanted` channels, or somewhat wider ones
    where these do not make it up.
    """
    return next(n for n in range(max(width // wanted, 1), 0, -1) if width % n == 0)


def _ratio(large: int, small: int) -> int:
    if small < 1 or large % small:
        possible = [side for side in range(1, large + 1) if large % side == 0]
        raise ValueError(
            f"a latent of side {small} does not divide a token grid of side {large}; possible are "
            f"{', '.join(map(str, possible))}"
        )
    return large // small
