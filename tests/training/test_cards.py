"""Model cards: they hold the whole recipe, nobody's paths, and no claim that nothing checks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from codec import FeatureCodec
from codec.device.preprocess import Preprocess
from codec.model.backbone import load_backbone
from training.backbones.cards import write_vit
from training.backbones.tuned import TunedRecipe
from training.codecs.card import write_codec_card
from training.codecs.recipe import CodecRecipe
from training.engine.card import recipe_text, shown_name
from training.engine.recipe import read_recipe


def stored(card: str, folder: Path) -> Path:
    """The recipe of a card as a file."""
    (text,) = re.findall(r"## Recipe\n\n```yaml\n(.*?)```", card, re.DOTALL)
    file = folder / "stored.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", ["vit-tiny-cifar10-codec", "vit-small-caltech101-codec"])
def test_the_recipe_in_a_card_is_the_recipe(name: str, tmp_path: Path) -> None:
    recipe = read_recipe(CodecRecipe, name, ["answer.lr=3e-3", "match_on=[a/b:train, c:test]"])
    assert read_recipe(CodecRecipe, stored(recipe_text(recipe), tmp_path)) == recipe


def test_no_place_on_this_machine_is_in_a_card(
    make_recipe: Callable[..., CodecRecipe], pictures: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "lite0.safetensors"
    weights.write_bytes(b"")
    recipe = make_recipe(
        pictures, match_on=(f"{pictures}:train", "owner/name:test"), start=str(tmp_path)
    )
    text = recipe_text(recipe)
    assert str(tmp_path.parent) not in text
    assert f"- {pictures.name}:train" in text
    assert "- owner/name:test" in text
    assert shown_name(str(weights)) == "lite0.safetensors"
    assert shown_name(".") == Path.cwd().name
    assert shown_name("facebook/dinov2-small") == "facebook/dinov2-small"


def test_the_teachers_place_is_hidden_as_well(tmp_path: Path) -> None:
    recipe = read_recipe(
        TunedRecipe, "vit-small-caltech101-backbone", [f"teacher.start={tmp_path}"]
    )
    assert str(tmp_path) not in recipe_text(recipe)
    assert tmp_path.name in recipe_text(recipe)


@pytest.mark.parametrize(("epochs", "kept"), [(1, True), (0, False)])
def test_a_codecs_card_says_what_was_chosen_and_on_what(
    make_recipe: Callable[..., CodecRecipe],
    make_codec: Callable[..., FeatureCodec],
    pictures: Path,
    tmp_path: Path,
    epochs: int,
    kept: bool,
) -> None:
    recipe = make_recipe(pictures)
    recipe = replace(recipe, answer=replace(recipe.answer, epochs=epochs))
    write_codec_card(make_codec(), recipe, "train it", tmp_path, known=True)
    card = (tmp_path / "README.md").read_text()
    assert f"Chosen on `{recipe.validation_split}`: " in card
    assert ("the epoch that was kept" in card) == kept
    assert "othing was chosen" not in card


def test_a_backbones_card_claims_no_codec_and_no_choice_that_was_not_made(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    model: Any = load_backbone(str(tiny_backbone), Path())
    recipe = read_recipe(TunedRecipe, "vit-small-caltech101-backbone")
    write_vit(model, Preprocess(32), recipe, {"backbone": 50.0}, 4, tmp_path / "tuned")
    card = (tmp_path / "tuned" / "README.md").read_text()
    assert "The epoch that was kept was chosen on `validation`." in card
    assert "shipped" not in card
    assert next(model.parameters()).dtype == torch.float32
