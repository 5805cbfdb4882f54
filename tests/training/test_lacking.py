"""Classes that a split lacks are said before anything is trained on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from codec.device.preprocess import Preprocess
from training.backbone import labelled as labelled_split
from training.backbones.vit import BackboneRecipe
from training.codecs.building import load_models
from training.codecs.opening import open_objective
from training.codecs.recipe import CodecRecipe
from training.data.lacking import lacking
from training.engine.schedule import Schedule

NAMES = dict(enumerate("abcdefgh"))


def test_how_many_classes_are_lacking_and_some_of_their_names() -> None:
    line = lacking([0, 2, 2], NAMES, "split 'train'")
    assert line == (
        "warning: split 'train' has no picture of 6 of the model's 8 classes: b, d, e, f, ..."
    )
    assert lacking([0, 1, 2, 3, 4, 5, 6], NAMES, "x") == (
        "warning: x has no picture of 1 of the model's 8 classes: h"
    )


def test_nothing_is_said_of_whole_splits_or_of_unknown_labels() -> None:
    assert lacking(list(range(8)), NAMES, "x") is None
    assert lacking([0, -1], NAMES, "x") is None


def test_a_codecs_splits_are_held_against_the_models_classes(
    make_recipe: Callable[..., CodecRecipe], labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_recipe(labelled)
    models = load_models(recipe)
    open_objective(recipe, models, recipe.preprocess(), "train")
    assert not capsys.readouterr().out
    open_objective(recipe, models, recipe.preprocess(), "train[:2]")
    assert "split 'train[:2]' has no picture of " in capsys.readouterr().out


def test_a_backbones_splits_are_held_against_the_data_sets_classes(
    labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = BackboneRecipe(
        "small", str(labelled), "train[:2]", "test", 32, 8, 32, 1, 1, Schedule(epochs=1)
    )
    labelled_split(recipe, "train[:2]", Preprocess(32))
    assert "of the model's 4 classes: " in capsys.readouterr().out
