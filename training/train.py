"""python -m training.train RECIPE [key=value ...]: trains a codec at the cut of a backbone, and freezes it into a checkpoint.

Stage 1, match: the synthesis reproduces the backbone's tokens after block k (normalised distortion + rate).
Stage 2, answer: rate + KL divergence to the uncut model's outputs; on the server side synthesis and adapters adapt (Matsubara et al. 2022,
arXiv 2108.11898, sec. 4, for the two stages; Hinton et al. 2015, arXiv 1503.02531, sec. 2, for the divergence and its mixture with labels).
Every batch holds every quality: sample b is coded at quality b mod Q.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from codec.checkpoint import find_backbone
from codec.config import Calibration, CodecConfig
from codec.model import FeatureCodec, digest, load_backbone
from codec.preprocess import Preprocess
from codec.prior import ContextPrior, freeze
from codec.split import split
from training.answers import Answers
from training.card import write_codec_card
from training.command import run_command
from training.data import Images, augment, batches, normalise, uniform
from training.loop import Schedule, is_first_process, train


@dataclass(frozen=True)
class CodecRecipe:
    """Everything a codec depends on.

    Attributes:
        backbone: folder, shipped name or hub id of the model that is cut after block `k`.
        data: folder or hub name; `train_split` is fitted on, `validation_split` picks the default quality, and `calibration_split`,
            which picks nothing, says what each quality takes and loses.
        rate_weights: lambda of each quality in nats per bit, largest (smallest blobs) first; their number is the number of qualities.
        match_weight: weight of the normalised token distortion against the rate in stage 1.
        start: folder of a trained codec of the same shape, whose encoder, synthesis and adapters this one starts from; its qualities
            need not be as many. None to start from random weights.
        label_weight: share of the true label in the target of stage 2; the rest is the uncut model's answer. 0 needs no labels.
        max_drop: the default quality is the smallest one whose drop on the validation split is at most this, in points.
        note: a sentence for the model card.
        prior_steps: steps of fitting the prior alone, at the end.
        count_limit: images whose symbols it is fitted to, and that are counted for the frozen tables.
    """

    name: str
    backbone: str
    data: str
    train_split: str
    validation_split: str
    calibration_split: str
    k: int
    encoder: Literal["student", "blocks"]
    side: int
    n_channels: int
    rate_weights: tuple[float, ...]
    match: Schedule
    answer: Schedule
    start: str | None = None
    student_widths: tuple[int, ...] = ()
    student_depths: tuple[int, ...] = ()
    synthesis_depth: int = 1
    adapter_rank: int = 16
    match_weight: float = 0.3
    label_weight: float = 0.0
    max_drop: float = 0.4
    shift: int = 4
    prior_steps: int = 2000
    count_limit: int = 20000
    limit: int | None = None
    note: str = ""

    def preprocess(self) -> Preprocess:
        """The preprocessing of the backbone's pictures."""
        place = Path(find_backbone(self.backbone, Path()))
        if place.is_dir():
            return Preprocess.from_processor(place / "preprocessor_config.json")
        from huggingface_hub import hf_hub_download

        return Preprocess.from_processor(hf_hub_download(self.backbone, "preprocessor_config.json"))

    def answers(self, uncut: nn.Module, preprocess: Preprocess, n_images: int, out: Path) -> Answers:
        """The uncut model's answers to this recipe's pictures, shared with the runs whose folders lie beside `out`."""
        about = f"{digest(uncut.state_dict())} {self.data} {self.train_split} {self.limit} {self.shift} {preprocess}"
        return Answers(uncut, out.parent / "answers", n_images, self.match.epochs + self.answer.epochs, about)

    def target(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What an answer is to be: the uncut model's, with a share of the true label. (B, L) and (B,) -> (B, L)."""
        target, share = logits.softmax(-1), self.label_weight
        return (1 - share) * target + share * F.one_hot(labels, target.shape[-1]) if share else target

    def config(self, preprocess: Preprocess) -> CodecConfig:
        """The shape of the codec this recipe trains."""
        return CodecConfig(
            name=self.name,
            backbone=self.backbone,
            k=self.k,
            encoder=self.encoder,
            side=self.side,
            n_channels=self.n_channels,
            n_qualities=len(self.rate_weights),
            default_quality=len(self.rate_weights) - 1,
            preprocess=preprocess,
            student_widths=self.student_widths,
            student_depths=self.student_depths,
            synthesis_depth=self.synthesis_depth,
            adapter_rank=self.adapter_rank,
        )


class CodecTask(nn.Module):
    """The codec in training: a batch -> loss, for stage `match` or `answer`."""

    def __init__(self, codec: FeatureCodec, prior: ContextPrior, uncut: nn.Module, recipe: CodecRecipe, answers: Answers) -> None:
        super().__init__()
        self.codec, self.prior, self.recipe = codec, prior, recipe
        self.answers = answers
        self._uncut = [uncut.eval().requires_grad_(False)]  # in a list: not part of the checkpoint
        self._head = [split(uncut, recipe.k).head]
        self.adapters = [p for p in codec.tail.parameters() if p.requires_grad]
        self.stage = "match"
        self.rate_weights: torch.Tensor
        self.spread: torch.Tensor
        self.register_buffer("rate_weights", torch.tensor(recipe.rate_weights), persistent=False)
        self.register_buffer("spread", torch.ones(codec.synthesis.grid.width))

    def _apply(self, *args: Any, **kwargs: Any) -> CodecTask:
        self._uncut[0]._apply(*args, **kwargs)  # it goes where the codec goes
        return super()._apply(*args, **kwargs)

    @torch.no_grad()
    def measure_spread(self, data: Images, n: int = 256) -> None:
        """Variance of each channel of the tokens over the first `n` pictures: the unit of the distortion in stage 1."""
        pixels = torch.stack([data[i][0] for i in range(min(n, len(data)))])
        tokens = self._head[0](normalise(pixels, self.codec.config.preprocess))
        self.spread.copy_(tokens.var(dim=(0, 1)) + 1e-6)

    def set_stage(self, stage: Literal["match", "answer"]) -> None:
        """Only the stage's own parameters want gradients: in `match` the adapters rest."""
        self.stage = stage
        for p in self.adapters:
            p.requires_grad_(stage == "answer")

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor) -> dict[str, torch.Tensor]:
        codec, q = self.codec, len(self.recipe.rate_weights)
        x = normalise(augment(pixels, keys, self.recipe.shift), codec.config.preprocess)
        x = x.contiguous(memory_format=torch.channels_last)
        quality = torch.arange(len(x), device=x.device) % q
        scaled = codec.scale(codec.encoder(x).float(), quality)
        noise = uniform(keys, scaled[0].numel(), stream=1).view_as(scaled) - 0.5
        rounded = scaled + (scaled.round() - scaled).detach()  # straight through; the rate sees noise (Minnen, Singh 2020, 2007.08739)
        bits = self.prior.bits(scaled + noise, rounded, codec.log_gain, quality)
        tokens = codec.synthesise(rounded, quality)
        task = self._match(tokens, x) if self.stage == "match" else self._answer(tokens, x, labels, keys)
        return rate_task_loss(bits, task, self.rate_weights)

    def _match(self, tokens: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Squared error of the tokens over their variance, per channel: (B,)."""
        with torch.no_grad():
            target = self._head[0](x).float()
        error = (tokens.float() - target).square() / self.spread
        return self.recipe.match_weight * error.mean(dim=(1, 2))

    def _answer(self, tokens: torch.Tensor, x: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """KL divergence from the target, the uncut model's answer with a share of the true label, to the tail's, in nats: (B,)."""
        target = self.recipe.target(self.answers(x, keys), labels)
        return divergence(self.codec.tail(tokens).logits, target)


def divergence(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """KL divergence from target (B, L) to the answers of logits (B, L), in nats: (B,)."""
    return F.kl_div(logits.float().log_softmax(-1), target, reduction="none").sum(-1)


def rate_task_loss(bits: torch.Tensor, task: torch.Tensor, rate_weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """Bits and task loss (B,), where sample b has quality b mod Q -> the loss, and what each quality takes and loses, for the log."""
    q = len(rate_weights)
    mean_bits, mean_task = (value.detach().unflatten(0, (-1, q)).mean(0) for value in (bits, task))
    log = {f"bytes_q{i}": b / 8 for i, b in enumerate(mean_bits)} | {f"task_q{i}": t for i, t in enumerate(mean_task)}
    return {"loss": (task + rate_weights.repeat(len(bits) // q) * bits).mean()} | log


def freeze_codec(codec: FeatureCodec, prior: ContextPrior, data: Images, recipe: CodecRecipe, batch_size: int = 500) -> None:
    """End of training: fit the prior to the symbols of training images at every quality, and freeze it."""
    codec.eval()
    codec.round_weights()
    indices = np.linspace(0, len(data) - 1, min(recipe.count_limit, len(data))).astype(int)
    latents = []
    for start in range(0, len(indices), batch_size):
        pixels = torch.stack([data[i][0] for i in indices[start : start + batch_size]])
        latents.append(codec.latent(normalise(pixels.to(codec.log_gain.device), codec.config.preprocess)))
    fit_prior(prior, codec, torch.cat(latents).clone(), recipe.prior_steps, recipe.answer.seed)

    def sample() -> Iterator[tuple[int, NDArray[np.int32]]]:
        for latent in latents:
            for q in codec.qualities:
                yield q, codec.quantise(latent, q)

    codec.set_prior(freeze(prior, codec.log_gain, sample))


def fit_prior(prior: ContextPrior, codec: FeatureCodec, latents: torch.Tensor, n_steps: int, seed: int, lr: float = 3e-3) -> None:
    """The prior alone, on symbols of latents (n, M, C): so far it has seen noise in the place of rounding."""
    generator = torch.Generator().manual_seed(seed)
    quality = torch.arange(16 * codec.config.n_qualities) % codec.config.n_qualities
    log_gain = codec.log_gain.detach()
    optimizer = torch.optim.Adam(prior.parameters(), lr=lr)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / n_steps)
    for _ in range(n_steps):
        chosen = latents[torch.randint(len(latents), (len(quality),), generator=generator)]
        with torch.no_grad():
            symbols = codec.scale(chosen, quality).round()
        loss = prior.bits(symbols, symbols, log_gain, quality).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()


@torch.inference_mode()
def calibrate(codec: FeatureCodec, uncut: nn.Module, data: Images) -> tuple[Calibration, ...]:
    """Real blobs of held-out pictures at every quality: mean bytes, drop and agreement."""
    n_bytes, right, same = (np.zeros(codec.config.n_qualities) for _ in range(3))
    uncut_right = 0
    for pixels, labels in batches(data):
        x = normalise(pixels, codec.config.preprocess).to(codec.log_gain.device)
        reference = uncut(x).logits.argmax(-1).cpu()
        uncut_right += int((reference == labels).sum())
        for q in codec.qualities:
            blobs = codec.encode(x, q)
            answer = codec.tail(codec.decode(blobs)).logits.argmax(-1).cpu()
            n_bytes[q] += sum(map(len, blobs))
            right[q] += int((answer == labels).sum())
            same[q] += int((answer == reference).sum())
    n = len(data)
    columns = n_bytes / n, 100 * (uncut_right - right) / n, 100 * same / n
    return tuple(Calibration(n, *(round(float(value), 4) for value in row)) for row in zip(*columns, strict=True))


def load_uncut(recipe: CodecRecipe) -> nn.Module:
    """The uncut model, which is asked and never trained."""
    return load_backbone(recipe.backbone, Path()).requires_grad_(False)


def build(recipe: CodecRecipe) -> tuple[FeatureCodec, nn.Module]:
    """The untrained codec of a recipe, and the uncut model it is held against."""
    backbone: Any = load_backbone(recipe.backbone, Path())
    backbone.set_attn_implementation("eager")  # its backward takes half the time of sdpa's on a CPU
    torch.manual_seed(recipe.match.seed)
    codec = FeatureCodec(recipe.config(recipe.preprocess()), backbone)
    if recipe.start is not None:
        start_from(codec, Path(recipe.start))
    spread_gains(codec.log_gain, recipe.rate_weights)
    return codec, load_uncut(recipe)


@torch.no_grad()
def start_from(codec: FeatureCodec, folder: Path) -> None:
    """Copy encoder, synthesis and adapters of the codec in `folder`; what it has by quality is averaged.

    Raises:
        ValueError: no codec is there, or it is of another shape.
    """
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / "codec.safetensors")
    except OSError as error:
        raise ValueError(f"start: no codec in {folder}") from error
    for name, p in codec.own_parameters().items():
        given = tensors.get(name, torch.empty(0)).float()
        if name in ("log_gain", "synthesis.quality.weight") and given.ndim == 2:
            given = given.mean(0, keepdim=True).repeat(len(p), 1)
        if given.shape != p.shape:
            raise ValueError(f"start: {name} of the codec in {folder} has another shape, or is not there")
        p.copy_(given)


@torch.no_grad()
def spread_gains(log_gain: torch.Tensor, rate_weights: tuple[float, ...]) -> None:
    """Where gains start: at high rates distortion goes with the square of the quantiser's step, so the best step with sqrt(lambda)."""
    log_weights = torch.tensor(rate_weights).log()
    log_gain.add_(0.5 * (log_weights.mean() - log_weights)[:, None])


def run(recipe: CodecRecipe, out: Path) -> FeatureCodec:
    """Train by the recipe into `out`, resuming where a run was stopped; the finished checkpoint is `out/final`."""
    codec, uncut = build(recipe)
    data = Images(recipe.data, recipe.train_split, codec.config.preprocess, recipe.limit, recipe.match.seed)
    prior = ContextPrior(recipe.side, recipe.n_channels, len(recipe.rate_weights))
    answers = recipe.answers(uncut, codec.config.preprocess, len(data), out)
    task = CodecTask(codec, prior, uncut, recipe, answers)
    for module in (codec.synthesis, codec.tail, uncut, task._head[0]):
        module.compile(dynamic=False)
    if recipe.label_weight and min(data.labels) < 0:
        raise ValueError(f"label_weight is {recipe.label_weight}, and the images of {recipe.data!r} have no labels")
    task.measure_spread(data)
    if recipe.match.epochs:
        task.set_stage("match")
        train(task, data, recipe.match, out / "match")
    task.set_stage("answer")
    train(task, data, recipe.answer, out / "answer")
    task.to("cpu")
    if not is_first_process():
        return codec
    tail: Any = codec.tail
    tail.set_attn_implementation("sdpa")  # as it is when loaded
    freeze_codec(codec, task.prior, data, recipe)
    validation, held_out = (
        calibrate(codec, uncut, Images(recipe.data, split_name, codec.config.preprocess, recipe.limit))
        for split_name in (recipe.validation_split, recipe.calibration_split)
    )
    good = [q for q, row in enumerate(validation) if row.drop <= recipe.max_drop]
    codec.config = replace(codec.config, default_quality=min(good, default=len(validation) - 1), calibration=held_out)
    codec.save_pretrained(out / "final")
    write_codec_card(codec, recipe, out / "final")
    for q, row in enumerate(held_out):
        print(f"quality {q}: {row.bytes_mean:.1f} bytes, drop {row.drop:.2f} points, agreement {row.agreement:.2f}%", flush=True)
    return codec


if __name__ == "__main__":
    sys.exit(run_command(CodecRecipe, run, __doc__))
