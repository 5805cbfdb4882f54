"""a trained codec -> one that codes: dead zones chosen, the prior fitted and frozen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from codec.coding.container import HEADER_BYTES
from codec.coding.dead_zone import half_steps
from codec.model import FeatureCodec
from codec.model.density import ContextPrior
from codec.model.freezing import freeze
from training.codecs.objective import Objective
from training.codecs.recipe import CodecRecipe
from training.data.images import Keyed, collate, normalise
from training.engine.tracked import tracked

DEAD_ZONES = (0.0, 0.04, 0.08, 0.12, 0.16, 0.2)
"""What each quality's dead zone is chosen from, in steps of the quantiser."""


def freeze_codec(
    codec: FeatureCodec,
    prior: ContextPrior,
    objective: Objective,
    recipe: CodecRecipe,
    batch_size: int = 500,
) -> FeatureCodec:
    """End of training: fit the prior to the symbols of training images at every quality, choose
    dead zones, fit it to these, freeze it. Gives the codec that codes; it shares the networks.
    """
    codec.eval()
    codec.round_weights()
    data = objective.data
    indices = spaced(len(data), recipe.count_limit)
    together = latents_of(codec, data, indices, batch_size)
    fit_prior(prior, codec, together, recipe.prior_steps, recipe.answer.seed)
    if recipe.dead_zone_limit:
        chosen = np.random.default_rng(recipe.answer.seed).permutation(len(indices))[
            : recipe.dead_zone_limit
        ]
        samples = [
            collate([data[i] for i in some])
            for some in np.split(indices[chosen], range(batch_size, len(chosen), batch_size))
        ]
        targets = [
            objective.target(normalise(b["pixels"], codec.config.preprocess), b["labels"], None)
            for b in samples
        ]
        # as in training: widths are compared
        with recipe.answer.autocast(codec.log_gain.device.type):
            dead_zone = choose_dead_zones(
                codec,
                prior,
                together[chosen].split(batch_size),
                targets,
                objective,
                recipe.rate_weights,
            )
        codec = codec.with_config(dead_zone=dead_zone)
    if recipe.even_from is not None:
        codec = space_evenly(codec, prior, together, recipe.even_from)
    if recipe.dead_zone_limit or recipe.even_from is not None:
        fit_prior(prior, codec, together, recipe.prior_steps, recipe.answer.seed)

    def sample() -> Iterator[tuple[int, NDArray[np.int32]]]:
        parts = together.split(batch_size)
        for latent in tracked(parts, "reading symbols for the tables", len(parts), "batches"):
            for q in codec.qualities:
                yield q, codec.quantise(latent, q)

    codec.set_prior(freeze(prior, codec.log_gain, sample))
    return codec


def spaced(n: int, limit: int) -> NDArray[np.int64]:
    """At most `limit` of n places, evenly spaced from the first to the last."""
    return np.linspace(0, n - 1, min(limit, n)).astype(np.int64)


def latents_of(
    codec: FeatureCodec, data: Keyed, indices: NDArray[np.int64], batch_size: int = 500
) -> torch.Tensor:
    """Latents (n, M, C) of the pictures at indices (n,) of a data set."""
    latents, parts = [], np.split(indices, range(batch_size, len(indices), batch_size))
    for some in tracked(parts, "encoding training pictures", len(parts), "batches"):
        pixels = torch.stack([data[i][0] for i in some])
        latents.append(
            codec.latent(normalise(pixels.to(codec.log_gain.device), codec.config.preprocess))
        )
    return torch.cat(latents).clone()


def fit_prior(
    prior: ContextPrior,
    codec: FeatureCodec,
    latents: torch.Tensor,
    n_steps: int,
    seed: int,
    lr: float = 3e-3,
) -> None:
    """The prior alone, on symbols of latents (n, M, C): so far it has seen noise in the place of
    rounding.

    A bit counts as a share of those that its quality takes at first: counted alike, the finest
    quality's many would have the network.
    """
    generator = torch.Generator().manual_seed(seed)
    quality = torch.arange(16 * codec.config.n_qualities) % codec.config.n_qualities
    log_gain, at_first = codec.log_gain.detach(), torch.ones(codec.config.n_qualities)
    optimizer = torch.optim.Adam(prior.parameters(), lr=lr)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / n_steps)
    for step in tracked(range(n_steps), "fitting the prior", n_steps, "steps"):
        chosen = latents[torch.randint(len(latents), (len(quality),), generator=generator)]
        with torch.no_grad():
            symbols = codec.round(codec.scale(chosen, quality), quality)
        bits = prior.bits(symbols, symbols, log_gain, quality)
        if not step:
            at_first = bits.detach().view(-1, codec.config.n_qualities).mean(0).clamp_min(1)
        loss = (bits / at_first[quality]).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()


@torch.inference_mode()
def choose_dead_zones(
    codec: FeatureCodec,
    prior: ContextPrior,
    latents: Sequence[torch.Tensor],
    targets: Sequence[Any],
    objective: Objective,
    rate_weights: tuple[float, ...],
) -> tuple[float, ...]:
    """For each quality the dead zone of least loss, rate and task as in training, on batches of
    latents (n, M, C) and their targets.
    """
    n_qualities, best = codec.config.n_qualities, []
    for q in tracked(codec.qualities, "choosing dead zones", n_qualities, "qualities"):
        rate_weight, losses = rate_weights[q], list[float]()
        for width in DEAD_ZONES:
            half = torch.from_numpy(half_steps((width,) * n_qualities, n_qualities))
            loss = 0.0
            for some, target in zip(latents, targets, strict=True):
                quality = torch.full((len(some),), q)
                symbols = codec.round(codec.scale(some, quality), quality, half)
                bits = prior.bits(symbols, symbols, codec.log_gain, quality)
                task = objective.loss(codec.tails, codec.synthesise(symbols, quality), target)
                loss += float(rate_weight * bits.sum() + task.sum())
            losses.append(loss)
        best.append(DEAD_ZONES[int(np.argmin(losses))])
    return tuple(best)


@torch.no_grad()
def space_evenly(
    codec: FeatureCodec, prior: ContextPrior, latents: torch.Tensor, first: int
) -> FeatureCodec:
    """Move the qualities between `first` and the finest so that each one's blobs are as many times
    longer than the one's before.

    Which size a rate weight leads to is only known in the end, and a budget in bytes is filled best
    where no two sizes lie far apart. All that a quality has of its own is interpolated between the
    trained ones (Cui et al. 2021, arXiv 2003.02012, eq. 5, for gains). Gives the codec whose dead
    zones moved with them.
    """
    n = codec.config.n_qualities
    sizes = []
    for q in codec.qualities:
        quality = torch.full((len(latents),), q)
        symbols = codec.round(codec.scale(latents, quality), quality)
        bits = [
            prior.bits(s, s, codec.log_gain, some)
            for s, some in zip(symbols.split(500), quality.split(500), strict=True)
        ]
        sizes.append(8 * HEADER_BYTES + float(torch.cat(bits).mean()))
    logs = np.maximum.accumulate(np.log(sizes))
    wanted = np.linspace(logs[first], logs[-1], n - first)
    places = torch.tensor(
        [*range(first), *np.interp(wanted, logs[first:], np.arange(first, n))], dtype=torch.float32
    )
    low = places.floor().clamp(max=n - 2).long()
    share = places - low

    def between(values: torch.Tensor) -> torch.Tensor:
        return torch.lerp(values[low], values[low + 1], share.view(-1, *[1] * (values.ndim - 1)))

    for p in (codec.log_gain, codec.synthesis.quality.weight, prior.hidden_bias, prior.log_scale):
        p.copy_(between(p))
    if codec.config.dead_zone:
        widths = between(torch.tensor(codec.config.dead_zone)).tolist()
        codec = codec.with_config(dead_zone=tuple(round(width, 3) for width in widths))
    codec.round_weights()
    return codec
