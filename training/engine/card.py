"""recipe -> what all model cards share: the command, the recipe, the scores on a split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from training.data.texts import set_names
from training.engine.recipe import plain_values


def command_line(module: str, recipe: Any) -> str:
    """The command that trains by a recipe's file: `python -m training.train NAME`."""
    return f"python -m training.{module} {Path(recipe.file).stem or 'RECIPE'}"


def score_table(what: str, split: str, n_images: int, scores: dict[str, float]) -> str:
    """Scores in percent as a table, whose head names the split that they are of."""
    rows = "".join(f"| {name} | {score:.2f} |\n" for name, score in scores.items())
    return f"| {what} on `{split}` ({n_images:,} images), float32 | % |\n|---|---|\n{rows}"


def recipe_text(recipe: Any) -> str:
    """A recipe as the last section of a card, in the form that a recipe's file has: what is left
    out has its default, and places are said by `shown_name`.
    """
    shown = yaml.safe_dump(_shown(plain_values(recipe)), sort_keys=False, width=120)
    return f"\n## Recipe\n\n```yaml\n{shown}```\n"


PLACES = ("data", "backbone", "start", "encoder_start")
"""Keys of recipes whose values may be folders of somebody's machine."""


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            shown[key] = _shown(value)
        elif key == "match_on":
            pairs = (entry.rpartition(":") for entry in value)
            shown[key] = [f"{shown_name(place)}:{split}" for place, _, split in pairs]
        elif value is not None:
            shown[key] = shown_name(value) if key in PLACES else value
    return shown


def shown_name(reference: str) -> str:
    """A hub id, a shipped name or a folder among the runs as it is, another folder or file by its
    last part: a card holds nobody's paths. Several names, that commas separate, one by one.
    """
    names = set_names(reference)
    if len(names) > 1:
        return ", ".join(map(shown_name, names))
    place = Path(reference)
    if not place.exists() or place.parts[:1] == ("runs",):
        return reference
    return place.resolve().name
