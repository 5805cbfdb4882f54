"""Recipes: those that ship can be read, wrong ones are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml

import codec.model.backbone
from training import backbone, blip
from training.codecs.recipe import CodecRecipe
from training.data.processor import preprocess_of
from training.engine.card import command_line
from training.engine.recipe import RECIPES, plain_values, read_recipe
from training.rounds.recipe import FederatedRecipe


def test_every_shipped_recipe_can_be_read() -> None:
    for file in RECIPES.glob("*.yaml"):
        text = file.read_text()
        kinds: dict[str, Any] = {  # by a key that only such recipes have
            "backbone:": CodecRecipe,
            "device_macs:": CodecRecipe,
            "n_text_layers:": blip.kind_of,
            "clients:": FederatedRecipe,
            "name:": backbone.kind_of,
        }
        kind = next(kind for key, kind in kinds.items() if f"\n{key}" in f"\n{text}")
        given = ["data=x", "backbone=backbones/vit-tiny-cifar10"]  # what a reader has to name
        assert read_recipe(kind, file.stem, given if file.stem == "codec-student" else ()).name


def test_a_recipe_knows_its_file_and_is_the_same_from_another(tmp_path: Path) -> None:
    recipe = read_recipe(CodecRecipe, "vit-tiny-cifar10-codec")
    assert Path(recipe.file).stem == "vit-tiny-cifar10-codec"
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(plain_values(recipe)))
    again = read_recipe(CodecRecipe, file)
    assert again == recipe
    assert again.file == str(file)
    assert command_line("train", again) == "python -m training.train mine"


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("k=two", "'k' wants int, not 'two'"),
        ("match.epoch=3", "unknown recipe key 'match.epoch'"),
        ("rate_weights=3", "'rate_weights' is a list"),
        ("encoder=magic", "'encoder' is one of student, mobile, blocks"),
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


def test_a_backbone_that_is_nowhere_is_asked_for_once_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hub's own downloads try for half a minute, and name a file of it."""

    def away(name: str) -> None:
        raise OSError("the hub cannot be reached")

    def downloaded(*_: Any, **__: Any) -> None:
        pytest.fail("a download was tried")

    monkeypatch.setattr(codec.model.backbone, "ask_hub", away)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", downloaded)
    reason = "no backbone 'runs/none': the hub cannot be reached"
    with pytest.raises(FileNotFoundError, match=reason):
        preprocess_of("runs/none")
