"""Recipes: those that ship can be read, wrong ones are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training.backbones.blip import BlipRecipe
from training.backbones.vit import BackboneRecipe
from training.codecs.recipe import CodecRecipe
from training.engine.recipe import RECIPES, read_recipe


def test_every_shipped_recipe_can_be_read() -> None:
    for file in RECIPES.glob("*.yaml"):
        text = file.read_text()
        kind: Any = (
            CodecRecipe
            if "\nbackbone:" in text
            else BlipRecipe
            if "\nn_text_layers:" in text
            else BackboneRecipe
        )
        assert read_recipe(kind, file.stem).name


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("k=two", "'k' wants int, not 'two'"),
        ("match.epoch=3", "unknown recipe key 'match.epoch'"),
        ("rate_weights=3", "'rate_weights' is a list"),
        ("encoder=magic", "'encoder' is one of student, blocks"),
        ("match=3", "'match' is a section"),
        ("k", "not of the form key=value"),
        ("k.x=1", "'k' is not a section"),
    ],
)
def test_a_wrong_override_is_named(override: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_recipe(CodecRecipe, "vit-tiny-cifar10-codec", [override])


def test_an_unknown_recipe_says_which_ship() -> None:
    with pytest.raises(FileNotFoundError, match="vit-tiny-cifar10-codec"):
        read_recipe(CodecRecipe, "no-such-recipe")


def test_a_recipe_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("name: [1, 2")
    with pytest.raises(ValueError, match=r"broken\.yaml is not YAML"):
        read_recipe(CodecRecipe, tmp_path / "broken.yaml")
    with pytest.raises(ValueError, match="'k=\\[1' is not YAML"):
        read_recipe(CodecRecipe, "vit-tiny-cifar10-codec", ["k=[1"])
