"""a batch of pictures -> loss: the codec in training, in its two stages.

Stage 1, match: the synthesis reproduces the backbone's tokens after block k (normalised distortion
+ rate). Stage 2, answer: rate + KL divergence to the uncut model's outputs, word by word where
these are words; on the server side synthesis and adapters adapt (Matsubara et al. 2022, arXiv
2108.11898, sec. 4, for the two stages; Hinton et al. 2015, arXiv 1503.02531, sec. 2, for the
divergence and its mixture with labels). Every batch holds every quality: samples take turns, and a
quality can have several turns in a round (`CodecRecipe.shares`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from codec.model import FeatureCodec
from codec.model.density import ContextPrior
from codec.model.networks import digest
from codec.model.split import split
from codec.model.transforms import latent_of
from training.codecs.building import first_of
from training.codecs.features import frozen_features
from training.codecs.objective import Objective
from training.codecs.recipe import CodecRecipe
from training.data.images import Keyed, normalise
from training.data.randomness import uniform
from training.data.remembered import Remembered
from training.engine.optim import FAST, SLOW
from training.engine.precision import encoder_precision


class CodecTask(nn.Module):
    """The codec in training: a batch -> loss, for stage `match` or `answer`."""

    def __init__(
        self, codec: FeatureCodec, prior: ContextPrior, objective: Objective, recipe: CodecRecipe
    ) -> None:
        super().__init__()
        self.codec, self.prior, self.recipe, self.objective = codec, prior, recipe, objective
        # in a list: not part of the checkpoint
        self._head = [split(first_of(objective.uncut), recipe.k).head]
        self.adapters = [p for p in codec.tail.parameters() if p.requires_grad]
        self.tokens_of = Remembered(self._head[0], (), None, 0, "")
        self.features_of: Remembered | None = None
        if recipe.frozen_stages:
            self._stages.requires_grad_(False)
            self.features_of = frozen_features(self._stages, recipe, codec.config.preprocess)
        self.stage = "match"
        self.rate_weights: torch.Tensor
        self.turns: torch.Tensor
        self.spread: torch.Tensor
        self.register_buffer("rate_weights", torch.tensor(recipe.rate_weights), persistent=False)
        self.register_buffer("turns", recipe.turns(), persistent=False)
        self.register_buffer("spread", torch.ones(codec.synthesis.grid.width))

    @property
    def rate_factors(self) -> dict[float, list[nn.Parameter]]:
        """How many times the learning rate some parameters have. Gains and prior are fast: from one
        rate to another a gain goes from 1 to 70 and takes means and scales of the symbols with it.
        Stages of an encoder that are pretrained are slow.
        """
        factors: dict[float, list[nn.Parameter]] = {
            FAST: [self.codec.log_gain, *self.prior.parameters()]
        }
        if self.recipe.encoder_start is not None and not self.recipe.frozen_stages:
            factors[SLOW] = list(self._stages.parameters())
        return factors

    @property
    def _stages(self) -> nn.Module:
        """The encoder without the projection behind it."""
        stages: Any = self.codec.encoder.layers
        assert isinstance(stages, nn.Module)
        return stages

    def _apply(self, *args: Any, **kwargs: Any) -> CodecTask:
        for model in self.objective.uncut.values():
            model._apply(*args, **kwargs)  # it goes where the codec goes
        return super()._apply(*args, **kwargs)

    def train(self, mode: bool = True) -> CodecTask:
        """As a module's, but for the tails: dropout that a backbone was trained with is not in the
        answers they are held against.
        """
        super().train(mode)
        for tail in self.codec.tails.values():
            tail.eval()
        return self

    @torch.no_grad()
    def measure(self, n: int = 256) -> None:
        """Of the first `n` pictures: each token channel's variance, the unit of the distortion in
        stage 1; and the prior's means.
        """
        data = self.objective.data
        pixels = torch.stack([data[i][0] for i in range(min(n, len(data)))])
        x = normalise(pixels, self.codec.config.preprocess)
        self.spread.copy_(self._head[0](x).var(dim=(0, 1)) + 1e-6)
        self.prior.recentre(self.codec.encoder(x))

    def remember(self, runs: Path, data: Keyed) -> None:
        """Keep what frozen networks make of the pictures of `data` in folders of `runs`: what stage
        1 aims at, the backbone's tokens (B, N, D) behind block k; and features (B, W, s, s) of
        frozen stages.
        """
        preprocess = self.codec.config.preprocess
        if self.stage == "match":
            head, grid = self._head[0], self.codec.synthesis.grid
            about = f"{digest(head.state_dict())} {data.digest} {preprocess} {self.recipe.shift}"
            shape = grid.n_tokens, grid.width
            self.tokens_of = Remembered(head, shape, runs / "head-tokens", len(data), about)
        if self.recipe.frozen_stages:
            self.features_of = frozen_features(self._stages, self.recipe, preprocess, data, runs)

    def set_stage(self, stage: Literal["match", "answer"]) -> None:
        """Only the stage's own parameters want gradients: in `match` the adapters rest. Nothing is
        remembered of the stage's pictures yet.
        """
        self.stage = stage
        if self.recipe.frozen_stages:
            self.features_of = frozen_features(
                self._stages, self.recipe, self.codec.config.preprocess
            )
        for p in self.adapters:
            p.requires_grad_(stage == "answer")

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        codec = self.codec
        x = normalise(self.objective.augment(pixels, keys), codec.config.preprocess)
        x = x.contiguous(memory_format=torch.channels_last)
        quality = self.turns[torch.arange(len(x), device=x.device) % len(self.turns)]
        scaled = codec.scale(self._latent(x, keys), quality)
        noise = uniform(keys, scaled[0].numel(), stream=1).view_as(scaled) - 0.5
        # straight through; the rate sees noise (Minnen, Singh 2020, 2007.08739)
        rounded = scaled + (scaled.round() - scaled).detach()
        bits = self.prior.bits(
            soft_round(scaled, self.recipe.sharpness) + noise, rounded, codec.log_gain, quality
        )
        tokens = codec.synthesise(rounded, quality)
        task = (
            self._match(tokens, x, keys)
            if self.stage == "match"
            else self._answer(tokens, x, labels, keys)
        )
        return rate_task_loss(bits, task, quality, self.rate_weights)

    def rounded(self, x: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """The symbols (B, M, C) of pixel values (B, 3, S, S), each at its quality (B,), without
        noise and without dead zones: what is held against held-out pictures.
        """
        return self.codec.scale(self.codec.encoder(x).float(), quality).round()

    def _latent(self, x: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        encoder: Any = self.codec.encoder
        with encoder_precision(self.recipe.mobile, x.device):
            if self.features_of is None:
                latent: torch.Tensor = encoder(x)
            else:
                latent = latent_of(encoder.project(self.features_of(x, keys)), encoder.fold)
        return latent.float()

    def _match(self, tokens: torch.Tensor, x: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Squared error of the tokens over their variance, per channel: (B,)."""
        with torch.no_grad():
            target = self.tokens_of(x, keys)
        error = (tokens.float() - target).square() / self.spread
        return self.recipe.match_weight * error.mean(dim=(1, 2))

    def _answer(
        self, tokens: torch.Tensor, x: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> torch.Tensor:
        """KL divergence from the target, the uncut models' answers with a share of the truth, to
        the tails', in nats: (B,).
        """
        return self.objective.loss(self.codec.tails, tokens, self.objective.target(x, labels, keys))


def soft_round(values: torch.Tensor, sharpness: float) -> torch.Tensor:
    """Values drawn towards the nearest integer: from none of the way (sharpness 0) to all of it
    (infinity).

    Of the noise that stands for rounding in the rate, a small value of a fine quality's channel is
    charged bits that it never takes, as it is rounded to zero; drawn there first, it is charged
    fewer (Agustsson, Theis 2020, "Universally quantized neural compression", arXiv 2006.09952, sec.
    4).
    """
    if not sharpness:
        return values
    middle = values.floor() + 0.5
    return middle + torch.tanh(sharpness * (values - middle)) / (2 * math.tanh(sharpness / 2))


def rate_task_loss(
    bits: torch.Tensor, task: torch.Tensor, quality: torch.Tensor, rate_weights: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Bits and task loss (B,) of samples at `quality` (B,) -> the loss, and what each quality takes
    and loses, for the log.
    """
    number = torch.bincount(quality, minlength=len(rate_weights)).clamp_min(1)
    log = {
        f"{name}_q{i}": mean
        for name, value in (("bytes", bits / 8), ("task", task))
        for i, mean in enumerate(
            torch.zeros_like(rate_weights).index_add(0, quality, value.detach().float()) / number
        )
    }
    return {"loss": (task + rate_weights[quality] * bits).mean()} | log
