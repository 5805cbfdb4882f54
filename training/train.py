"""python -m training.train RECIPE [key=value ...]: trains a codec at the cut of a backbone, and
freezes it into a checkpoint.

Stage 1, match: the synthesis reproduces the backbone's tokens after block k (normalised distortion
+ rate). Stage 2, answer: rate + KL divergence to the uncut model's outputs, word by word where
these are words; on the server side synthesis and adapters adapt (Matsubara et al. 2022, arXiv
2108.11898, sec. 4, for the two stages; Hinton et al. 2015, arXiv 1503.02531, sec. 2, for the
divergence and its mixture with labels). Every batch holds every quality: samples take turns, and a
quality can have several turns in a round (`CodecRecipe.shares`).
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from codec.model import FeatureCodec
from codec.model.backbone import load_backbone
from codec.model.density import ContextPrior
from codec.model.split import share_tower, split
from training.codecs.freeze import calibrate, fit_prior, freeze_codec, latents_of, spaced
from training.codecs.objective import Objective, open_objective
from training.codecs.recipe import CodecRecipe
from training.data.images import normalise, uniform
from training.engine.card import write_codec_card
from training.engine.command import run_command
from training.engine.loop import is_first_process, train

START_STEPS = 500
"""A codec that starts from another has a prior that is new: it is fitted for so many steps, before
it tells the encoder what bits cost.
"""


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
        self.stage = "match"
        self.rate_weights: torch.Tensor
        self.turns: torch.Tensor
        self.spread: torch.Tensor
        self.register_buffer("rate_weights", torch.tensor(recipe.rate_weights), persistent=False)
        self.register_buffer("turns", recipe.turns(), persistent=False)
        self.register_buffer("spread", torch.ones(codec.synthesis.grid.width))

    @property
    def fast_parameters(self) -> list[nn.Parameter]:
        """Gains and prior: from one rate to another a gain goes from 1 to 70 and takes means and
        scales of the symbols with it.
        """
        return [self.codec.log_gain, *self.prior.parameters()]

    def _apply(self, *args: Any, **kwargs: Any) -> CodecTask:
        for model in self.objective.uncut.values():
            model._apply(*args, **kwargs)  # it goes where the codec goes
        return super()._apply(*args, **kwargs)

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

    def set_stage(self, stage: Literal["match", "answer"]) -> None:
        """Only the stage's own parameters want gradients: in `match` the adapters rest."""
        self.stage = stage
        for p in self.adapters:
            p.requires_grad_(stage == "answer")

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        codec = self.codec
        x = normalise(self.objective.augment(pixels, keys), codec.config.preprocess)
        x = x.contiguous(memory_format=torch.channels_last)
        quality = self.turns[torch.arange(len(x), device=x.device) % len(self.turns)]
        scaled = codec.scale(codec.encoder(x).float(), quality)
        noise = uniform(keys, scaled[0].numel(), stream=1).view_as(scaled) - 0.5
        # straight through; the rate sees noise (Minnen, Singh 2020, 2007.08739)
        rounded = scaled + (scaled.round() - scaled).detach()
        bits = self.prior.bits(
            soft_round(scaled, self.recipe.sharpness) + noise, rounded, codec.log_gain, quality
        )
        tokens = codec.synthesise(rounded, quality)
        task = (
            self._match(tokens, x)
            if self.stage == "match"
            else self._answer(tokens, x, labels, keys)
        )
        return rate_task_loss(bits, task, quality, self.rate_weights)

    def _match(self, tokens: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Squared error of the tokens over their variance, per channel: (B,)."""
        with torch.no_grad():
            target = self._head[0](x).float()
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


def load_models(recipe: CodecRecipe) -> dict[str, nn.Module]:
    """The models of a recipe by task, with one vision tower, as they are."""
    models = {
        task: load_backbone(reference, Path()).requires_grad_(False)
        for task, reference in recipe.backbones.items()
    }
    share_tower(list(models.values()))
    return models


def first_of(models: dict[str, nn.Module]) -> nn.Module:
    """The first of several models: its tower is that of all."""
    return next(iter(models.values()))


def set_attention(model: Any, implementation: str) -> None:
    """Choose how a model computes attention, where it has a choice; BLIP has none."""
    if model._supports_sdpa:
        model.set_attn_implementation(implementation)


def build(recipe: CodecRecipe) -> FeatureCodec:
    """The untrained codec of a recipe."""
    models = load_models(recipe)
    for model in models.values():
        set_attention(model, "eager")  # its backward takes half the time of sdpa's on a CPU
    torch.manual_seed(recipe.match.seed)
    codec = FeatureCodec(recipe.config(recipe.preprocess()), models)
    if recipe.start is None:
        spread_gains(codec.log_gain, recipe.rate_weights)
    elif not start_from(
        codec, Path(recipe.start), recipe.start_quality, own_gains=recipe.start_rate_weight is None
    ):
        spread_gains(codec.log_gain, recipe.rate_weights, recipe.start_rate_weight)
    return codec


@torch.no_grad()
def start_from(
    codec: FeatureCodec, folder: Path, quality: int | None = None, own_gains: bool = True
) -> bool:
    """Copy encoder, synthesis and adapters of the codec in `folder`.

    What it has by quality is taken from the one that is named; where none is, one by one if both
    have as many and `own_gains` are wanted, or else in the mean.

    Returns:
        Whether it was taken one by one; else all qualities now have the same gains.

    Raises:
        ValueError: no codec is there, or it is of another shape, or it lacks the quality.
    """
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / "codec.safetensors")
    except OSError as error:
        raise ValueError(f"start: no codec in {folder}") from error
    n_there = len(tensors.get("log_gain", ()))
    if quality is not None and not 0 <= quality < n_there:
        raise ValueError(
            f"start_quality {quality} is not in 0..{n_there - 1} of the codec in {folder}"
        )
    one_by_one = own_gains and quality is None and n_there == codec.config.n_qualities
    for name, p in codec.own_parameters().items():
        given = tensors.get(name, torch.empty(0)).float()
        if name in ("log_gain", "synthesis.quality.weight") and given.ndim == 2 and not one_by_one:
            given = (given.mean(0) if quality is None else given[quality]).repeat(len(p), 1)
        if given.shape != p.shape:
            raise ValueError(
                f"start: {name} of the codec in {folder} has another shape, or is not there"
            )
        p.copy_(given)
    return one_by_one


@torch.no_grad()
def spread_gains(
    log_gain: torch.Tensor, rate_weights: tuple[float, ...], middle: float | None = None
) -> None:
    """Where gains start: at high rates distortion goes with the square of the quantiser's step, so
    the best step with sqrt(lambda).

    `middle` is the lambda whose gains stay as they are, None for the geometric mean.
    """
    log_weights = torch.tensor(rate_weights).log()
    log_gain.add_(
        0.5 * ((math.log(middle) if middle else log_weights.mean()) - log_weights)[:, None]
    )


def run(recipe: CodecRecipe, out: Path) -> FeatureCodec:
    """Train by the recipe into `out`, resuming where a run was stopped; the finished checkpoint is
    `out/final`.
    """
    codec, uncut = build(recipe), load_models(recipe)
    preprocess = codec.config.preprocess
    objective = open_objective(recipe, uncut, preprocess, recipe.train_split, out.parent)
    task = CodecTask(
        codec,
        ContextPrior(recipe.side, recipe.n_channels, len(recipe.rate_weights)),
        objective,
        recipe,
    )
    for module in (
        codec.synthesis,
        objective.part(codec.tail),
        objective.part(first_of(uncut)),
        task._head[0],
    ):
        module.compile(dynamic=False)
    task.measure()
    if recipe.start is not None:
        latents = latents_of(codec, objective.data, spaced(len(objective.data), recipe.count_limit))
        fit_prior(task.prior, codec, latents, START_STEPS, recipe.answer.seed)
    if recipe.match.epochs:
        task.set_stage("match")
        train(task, objective.data, recipe.match, out / "match")
    task.set_stage("answer")
    train(task, objective.data, recipe.answer, out / "answer")
    task.to("cpu")
    if not is_first_process():
        return codec
    for tail in codec.tails.values():
        set_attention(tail, "sdpa")  # as it is when loaded
    with torch.compiler.set_stance("force_eager"):  # from here on batches are of all sizes
        codec = freeze_codec(codec, task.prior, objective, recipe)
        validation, held_out = (
            calibrate(codec, open_objective(recipe, uncut, preprocess, split_name))
            for split_name in (recipe.validation_split, recipe.calibration_split)
        )
    good = [q for q, row in enumerate(validation) if row.drop <= recipe.max_drop]
    codec = codec.with_config(
        default_quality=min(good, default=len(validation) - 1), calibration=held_out
    )
    codec.save_pretrained(out / "final")
    write_codec_card(codec, recipe, out / "final")
    for q, row in enumerate(held_out):
        print(
            f"quality {q}: {row.bytes_mean:.1f} bytes, drop {row.drop:.2f} points, agreement "
            f"{row.agreement:.2f}%",
            flush=True,
        )
    return codec


if __name__ == "__main__":
    sys.exit(run_command(CodecRecipe, run, __doc__))
