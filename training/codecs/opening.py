"""recipe, split -> objective: the pictures of a split, and what is asked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from codec.device.preprocess import Preprocess
from codec.tasks import LABELS
from training.codecs.label_objective import LabelObjective, known_logits
from training.codecs.objective import Objective
from training.codecs.recipe import CodecRecipe
from training.codecs.word_objective import WordObjective, known_states
from training.data.images import Images, JoinedImages, Keyed
from training.data.lacking import warn_of_lacking
from training.data.texts import TextImages, open_source


def open_match_data(
    recipe: CodecRecipe, preprocess: Preprocess, data: Images | TextImages
) -> Keyed:
    """The pictures of stage 1: those of `data`, and of all that `match_on` names.

    Raises:
        ValueError: an entry of `match_on` is not of the form DATA:SPLIT, or names no pictures.
    """
    if not recipe.match_on:
        return data
    parts: list[Keyed] = [data]
    for entry in recipe.match_on:
        place, colon, split = entry.rpartition(":")
        if not colon or not place:
            raise ValueError(f"an entry of match_on is of the form DATA:SPLIT, not {entry!r}")
        parts.append(Images(place, split, preprocess, recipe.limit))
    return JoinedImages(parts, recipe.match.seed)


def open_objective(
    recipe: CodecRecipe,
    uncut: dict[str, nn.Module],
    preprocess: Preprocess,
    split: str,
    runs: Path | None = None,
) -> Objective:
    """A split of a recipe's data and what is asked of it; the uncut classifier's logits, or the
    vision states of uncut captioners and answerers, are remembered in a folder of `runs`. Classes
    that the split lacks are warned of.

    Raises:
        ValueError: no such data or split, or without the words or labels that the recipe needs.
    """
    seed = recipe.match.seed
    if tuple(uncut) == (LABELS,):
        model: Any = uncut[LABELS]
        labels = model.config.id2label
        images = Images(recipe.data, split, preprocess, recipe.limit, seed, labels)
        warn_of_lacking(images.labels, labels, f"split {split!r}")
        known = known_logits(recipe, model, preprocess, images, runs) if runs else None
        return LabelObjective(uncut, recipe, images, known)
    data = TextImages(open_source(recipe.data, split, recipe.limit), preprocess, seed)
    for task in uncut:
        if not any(words.of(task) for words in data.words):
            raise ValueError(
                f"the codec is for {recipe.task}, and {recipe.data!r} has no words for {task}"
            )
    kept = known_states(uncut, preprocess, data, runs) if runs else None
    return WordObjective(uncut, recipe, data, kept)
