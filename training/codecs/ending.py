"""a trained codec -> `final`: frozen, calibrated, saved, with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from codec.model import FeatureCodec
from codec.model.split_tower import set_attention
from training.codecs.calibration import calibrate
from training.codecs.card import write_codec_card
from training.codecs.freeze import fit_prior, freeze_codec, latents_of, spaced
from training.codecs.preparing import Prepared

START_STEPS = 500
"""A codec that starts from another has a prior that is new: it is fitted for so many steps, before
it tells the encoder what bits cost.
"""


def fit_first(made: Prepared) -> None:
    """Fit the new prior of a codec that starts from another."""
    recipe, objective = made.task.recipe, made.task.objective
    latents = latents_of(
        made.codec, objective.data, spaced(len(objective.data), recipe.count_limit)
    )
    fit_prior(made.task.prior, made.codec, latents, START_STEPS, recipe.answer.seed)


def write_final(made: Prepared, command: str, out: Path) -> FeatureCodec:
    """Write what a training ends in, and print what its qualities take and lose.

    The default quality is the smallest whose drop on the pictures to choose on is at most the
    recipe's `max_drop`.

    Args:
        made: on the CPU, its task trained.
        command: that trained it, for the card.
        out: the folder that is written.
    """
    codec, recipe = made.codec, made.task.recipe
    if recipe.frozen_stages:
        stages: Any = codec.encoder.layers
        stages.requires_grad_(True)  # they are the codec's own all the same
    for tail in codec.tails.values():
        set_attention(tail, "sdpa")  # as it is when loaded
    with torch.compiler.set_stance("force_eager"):  # from here on batches are of all sizes
        codec = freeze_codec(codec, made.task.prior, made.task.objective, recipe)
        chosen_on, held_out = (
            calibrate(codec, some) for some in (made.to_choose_on, made.to_measure_on)
        )
        known = bool(made.to_measure_on.truth())
    good = [q for q, row in enumerate(chosen_on) if row.drop <= recipe.max_drop]
    codec = codec.with_config(
        default_quality=min(good, default=len(chosen_on) - 1), calibration=held_out
    )
    codec.save_pretrained(out)
    write_codec_card(codec, recipe, command, out, known=known)
    for q, row in enumerate(held_out):
        print(
            f"quality {q}: {row.bytes_mean:.1f} bytes, drop {row.drop:.2f} points, agreement "
            f"{row.agreement:.2f}%",
            flush=True,
        )
    return codec
