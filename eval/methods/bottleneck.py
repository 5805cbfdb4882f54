"""pixels -> blobs -> tokens by a codec built the usual way: the backbone's own blocks, a linear
map, compressai's factorised prior, a linear map back.

`python -m eval.studies.bottleneck` trains it; `python -m eval.sweep --bottleneck FOLDER` measures
it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from codec.coding.container import pack, unpack
from codec.device.preprocess import Preprocess
from codec.model.adapters import add_adapters
from codec.model.backbone import load_backbone, task_of
from codec.model.config import CodecConfig
from codec.model.cost import Cost, device_cost
from codec.model.split import split, token_grid
from eval.methods.factorised import fit_factorised_prior
from eval.methods.method import BOTTLENECK, DecodeError
from training.codecs.recipe import CodecRecipe
from training.codecs.start import spread_gains
from training.data.images import normalise
from training.engine.recipe import read_recipe

WEIGHTS, RECIPE = "bottleneck.safetensors", "recipe.json"
"""Files of a trained bottleneck's folder."""


class LinearBottleneck(nn.Module):
    """tokens (B, N, D) -> symbols (B, N, D) -> tokens, by a linear map each way and gains of each
    quality.

    The linear bottleneck of split computing, its rate under compressai's factorised prior
    (Matsubara et al. 2022, arXiv 2108.11898; Balle et al. 2018, arXiv 1802.01436, sec. 6.1). The
    maps start as the tokens' principal components and are as wide as the tokens: a channel that
    does not pay is driven to zeros, which cost next to nothing. Gains (Cui et al. 2021, arXiv
    2003.02012) give it every rate in one training, as the codec it is held against has; the tail
    has the codec's adapters.
    """

    def __init__(self, backbone: nn.Module, recipe: CodecRecipe) -> None:
        super().__init__()
        from compressai.entropy_models import EntropyBottleneck

        grid = token_grid(backbone, recipe.preprocess().size)
        n_qualities = len(recipe.rate_weights)
        self.n_tokens = grid.n_tokens
        backbone.requires_grad_(False)
        self.head, self.tail = split(backbone, recipe.k)
        if recipe.adapter_rank:
            add_adapters(self.tail, recipe.adapter_rank)
        self.down, self.up = nn.Linear(grid.width, grid.width), nn.Linear(grid.width, grid.width)
        self.log_gain = nn.Parameter(torch.full((n_qualities, grid.width), -0.5))
        spread_gains(self.log_gain, recipe.rate_weights)
        self.density = EntropyBottleneck(grid.width * n_qualities, init_scale=4)
        # they are for compressai's own tables, which `fit_factorised_prior` makes
        self.density.quantiles.requires_grad_(False)

    @torch.no_grad()
    def start_from_components(self, pixel_values: torch.Tensor) -> None:
        """Set the maps to the principal components of the tokens of pixels (B, 3, S, S), in units
        of the tokens' mean deviation.
        """
        tokens = torch.cat([self.head(some) for some in pixel_values.split(100)]).flatten(0, 1)
        mean = tokens.mean(0)
        variances, components = torch.linalg.eigh((tokens - mean).T @ (tokens - mean) / len(tokens))
        unit = variances.mean().sqrt()
        self.down.weight.copy_(components.T / unit)
        self.down.bias.copy_(-(mean @ components) / unit)
        self.up.weight.copy_(components * unit)
        self.up.bias.copy_(mean)

    def scaled(self, pixel_values: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) and quality (B,) -> what is rounded to symbols, (B, N, C) float32."""
        with torch.no_grad():
            tokens = self.head(pixel_values)
        latent: torch.Tensor = self.down(tokens).float()
        return latent * self.log_gain.exp()[quality][:, None]

    def tokens(self, scaled: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """Symbols (B, N, C) -> tokens (B, N, D)."""
        tokens: torch.Tensor = self.up(scaled * (-self.log_gain).exp()[quality][:, None])
        return tokens

    def answer(self, scaled: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """Symbols (B, N, C) -> logits (B, L)."""
        logits: torch.Tensor = self.tail(self.tokens(scaled, quality)).logits
        return logits

    def bits(self, values: torch.Tensor) -> torch.Tensor:
        """Bits of values (B, N, C), where sample b has quality b mod Q: (B,) float32,
        differentiable.
        """
        (b, n, c), q = values.shape, len(self.log_gain)
        rows = (
            values.float()
            .unflatten(0, (b // q, q))
            .permute(1, 3, 0, 2)
            .reshape(q * c, 1, b // q * n)
        )
        likelihood = self.density._likelihood(rows)[0].clamp_min(1e-9)
        bits: torch.Tensor = -torch.log2(likelihood).view(q, c, b // q, n).sum((1, 3))
        return bits.transpose(0, 1).reshape(b)

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name, but for the density."""
        return {
            name: p
            for name, p in self.named_parameters()
            if p.requires_grad and not name.startswith("density.")
        }


class Bottleneck:
    """A trained `LinearBottleneck` at one quality, coded by compressai, in the codec's
    container.
    """

    name = BOTTLENECK

    def __init__(
        self, model: LinearBottleneck, quality: int, cost: Cost, preprocess: Preprocess, prior: Any
    ) -> None:
        self.model, self.quality, self.cost, self.preprocess, self.prior = (
            model,
            quality,
            cost,
            preprocess,
            prior,
        )
        self.models = {task_of(model.tail): model.tail}

    def symbols(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels -> symbols (B, C, N) float32."""
        quality = torch.full((len(pixels),), self.quality)
        return (
            self.model.scaled(normalise(pixels, self.preprocess), quality).round().transpose(1, 2)
        )

    def encode(self, pixels: torch.Tensor) -> list[bytes]:
        return [
            pack(string, self.quality, bytes(32))
            for string in self.prior.compress(self.symbols(pixels))
        ]

    def read(self, blobs: list[bytes]) -> torch.Tensor:
        """Blobs -> symbols (B, C, N) float32."""
        n_tokens = self.model.n_tokens
        symbols: torch.Tensor = self.prior.decompress(
            [unpack(blob, bytes(32)).payload for blob in blobs], (n_tokens,)
        )
        return symbols

    def decode(self, blobs: list[bytes]) -> torch.Tensor:
        return self.model.tokens(
            self.read(blobs).transpose(1, 2), torch.full((len(blobs),), self.quality)
        )

    def check(self, pixels: torch.Tensor, blobs: list[bytes]) -> float:
        symbols = self.symbols(pixels)
        if not torch.equal(self.read(blobs), symbols):
            raise DecodeError(
                f"{self.name}, quality {self.quality}: the decoded symbols are not those that were "
                "encoded"
            )
        return float(-torch.log2(self.prior(symbols, training=False)[1]).sum())


def load_bottleneck(folder: Path) -> tuple[LinearBottleneck, CodecRecipe]:
    """What `eval.studies.bottleneck` wrote.

    Raises:
        ValueError: `folder` holds no trained bottleneck.
    """
    from safetensors.torch import load_file

    if not (folder / RECIPE).is_file() or not (folder / WEIGHTS).is_file():
        raise ValueError(
            f"{folder} holds no trained bottleneck: python -m eval.studies.bottleneck RECIPE --out "
            f"{folder} trains one"
        )
    recipe = read_recipe(CodecRecipe, folder / RECIPE)
    model = LinearBottleneck(load_backbone(recipe.backbone, Path()), recipe)
    weights, own = load_file(folder / WEIGHTS), model.own_parameters()
    if set(weights) != set(own):
        raise ValueError(f"the weights in {folder} are not those of its recipe")
    with torch.no_grad():
        for name, p in own.items():
            p.copy_(weights[name])
    return model.eval(), recipe


@torch.inference_mode()
def bottleneck_methods(folder: Path, pixels: torch.Tensor, config: CodecConfig) -> list[Bottleneck]:
    """The trained bottleneck in `folder` at each of its qualities, compressai's prior fitted to
    pixels (n, 3, S, S).

    Raises:
        ValueError: it is not there, or not for the tasks, the cut and the pictures of the codec
            `config`.
    """
    model, recipe = load_bottleneck(folder)
    preprocess = recipe.preprocess()
    if (task_of(model.tail),) != config.tasks:
        raise ValueError(
            f"the bottleneck in {folder} is for {task_of(model.tail)}, {config.name} for "
            f"{config.task}"
        )
    if (recipe.k, preprocess) != (config.k, config.preprocess):
        raise ValueError(
            f"the bottleneck in {folder} is for another cut (after block {recipe.k}) or other "
            f"pictures than {config.name}"
        )
    cost = device_cost(nn.Sequential(model.head, model.down), preprocess.size)
    methods = []
    for q in range(len(recipe.rate_weights)):
        method = Bottleneck(model, q, cost, preprocess, None)
        symbols = np.concatenate(
            [method.symbols(some).numpy().astype(np.int32) for some in pixels.split(100)]
        )
        method.prior = fit_factorised_prior(symbols)
        methods.append(method)
    return methods
