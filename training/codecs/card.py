"""a finished codec -> its model card."""

from __future__ import annotations

import re
from pathlib import Path

from codec.model import FeatureCodec
from codec.model.config import Calibration
from training.codecs.recipe import CodecRecipe
from training.engine.card import recipe_text, shown_name

_HEAD = """| quality | bytes, mean | drop against the uncut model, points | agreement with it, % |
|---|---|---|---|
"""


def write_codec_card(
    codec: FeatureCodec, recipe: CodecRecipe, command: str, out: Path, known: bool
) -> None:
    """Write the model card of a codec that `command` trained, with its calibration; `known` as in
    `calibration_text`.
    """
    c = codec.config
    chosen = "the default quality"
    if recipe.answer.epochs:
        chosen = f"the epoch that was kept, and {chosen}"
    n_device = sum(p.numel() for p in codec.encoder.parameters())
    text = f"""# {c.name}: a task-oriented codec

Cuts `{shown_name(c.backbone)}` after block {c.k}; `{c.encoder}` encoder with {n_device:,}
parameters on the device; latent {c.side} x {c.side} x {c.n_channels}; {c.n_qualities} qualities,
default {c.default_quality}. {recipe.note}
Trained by `{command}` with the recipe below.

Chosen on `{recipe.validation_split}`: {chosen}.
"""
    calibration = calibration_text(recipe, c.calibration, known)
    (out / "README.md").write_text(text + calibration + recipe_text(recipe))


def calibration_text(recipe: CodecRecipe, calibration: tuple[Calibration, ...], known: bool) -> str:
    """The sentence that says what the figures are of, and their table; `known` says whether the
    data set says what is right.
    """
    unlabelled = ", which have no labels, so that each answer that is not the uncut model's counts"
    rows = "".join(
        f"| {q} | {row.bytes_mean:.1f} | {row.drop:.2f} | {row.agreement:.2f} |\n"
        for q, row in enumerate(calibration)
    )
    return (
        f"Calibration: real blobs of the {calibration[0].n_images:,} images of "
        f"`{recipe.calibration_split}`{'' if known else unlabelled}:\n\n{_HEAD}{rows}"
    )


def replace_calibration(card: str, text: str) -> str:
    """A card with another `calibration_text` in the place of its own.

    Raises:
        ValueError: it has none.
    """
    found = re.compile(r"Calibration: [^|]*?\n\n(\|[^\n]*\n)+").search(card)
    if not found:
        raise ValueError("the model card has no table of the calibration")
    return card[: found.start()] + text + card[found.end() :]
