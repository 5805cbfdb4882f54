"""A trained codec -> one that codes: dead zones chosen, the prior fitted and frozen, every quality measured on held-out pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from codec.config import Calibration
from codec.model import FeatureCodec
from codec.prior import ContextPrior, freeze
from training.codec_recipe import CodecRecipe
from training.data import Images, batches, collate, normalise

DEAD_ZONES = (0.0, 0.04, 0.08, 0.12, 0.16, 0.2)
"""What each quality's dead zone is chosen from, in steps of the quantiser."""


def freeze_codec(
    codec: FeatureCodec, prior: ContextPrior, uncut: nn.Module, data: Images, recipe: CodecRecipe, batch_size: int = 500
) -> None:
    """End of training: fit the prior to the symbols of training images at every quality, choose dead zones, fit it to these, freeze it."""
    codec.eval()
    codec.round_weights()
    indices = np.linspace(0, len(data) - 1, min(recipe.count_limit, len(data))).astype(int)
    latents = []
    for start in range(0, len(indices), batch_size):
        pixels = torch.stack([data[i][0] for i in indices[start : start + batch_size]])
        latents.append(codec.latent(normalise(pixels.to(codec.log_gain.device), codec.config.preprocess)))
    together = torch.cat(latents).clone()
    fit_prior(prior, codec, together, recipe.prior_steps, recipe.answer.seed)
    if recipe.dead_zone_limit:
        chosen = np.random.default_rng(recipe.answer.seed).permutation(len(indices))[: recipe.dead_zone_limit]
        target = answers_of(uncut, [data[i] for i in indices[chosen]], codec, recipe)
        dead_zone = choose_dead_zones(codec, prior, together[chosen], target, recipe.rate_weights)
        codec.config = replace(codec.config, dead_zone=dead_zone)
        fit_prior(prior, codec, together, recipe.prior_steps, recipe.answer.seed)

    def sample() -> Iterator[tuple[int, NDArray[np.int32]]]:
        for latent in latents:
            for q in codec.qualities:
                yield q, codec.quantise(latent, q)

    codec.set_prior(freeze(prior, codec.log_gain, sample))


@torch.inference_mode()
def answers_of(
    uncut: nn.Module, samples: list[tuple[torch.Tensor, int, int]], codec: FeatureCodec, recipe: CodecRecipe, size: int = 500
) -> torch.Tensor:
    """What the answers to n samples of `Images` are to be, as in training: (n, L)."""
    batch = collate(samples)
    x = normalise(batch["pixels"], codec.config.preprocess).to(codec.log_gain.device)
    return recipe.target(torch.cat([uncut(some).logits for some in x.split(size)]), batch["labels"].to(x.device))


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
            symbols = codec.round(codec.scale(chosen, quality), quality)
        loss = prior.bits(symbols, symbols, log_gain, quality).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()


@torch.inference_mode()
def choose_dead_zones(
    codec: FeatureCodec, prior: ContextPrior, latents: torch.Tensor, target: torch.Tensor, rate_weights: tuple[float, ...], size: int = 500
) -> tuple[float, ...]:
    """For each quality the dead zone of least loss, rate and task as in training, on latents (n, M, C) with target answers (n, L)."""
    plain, best = codec.config, []
    for q, rate_weight in enumerate(rate_weights):
        losses = []
        for width in DEAD_ZONES:
            codec.config = replace(plain, dead_zone=(width,) * plain.n_qualities)
            loss = 0.0
            for some, wanted in zip(latents.split(size), target.split(size), strict=True):
                quality = torch.full((len(some),), q)
                symbols = codec.round(codec.scale(some, quality), quality)
                bits = prior.bits(symbols, symbols, codec.log_gain, quality)
                logits = codec.tail(codec.synthesise(symbols, quality)).logits
                loss += float(rate_weight * bits.sum() + F.kl_div(logits.float().log_softmax(-1), wanted, reduction="sum"))
            losses.append(loss)
        best.append(DEAD_ZONES[int(np.argmin(losses))])
    codec.config = plain
    return tuple(best)


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
