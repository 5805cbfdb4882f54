"""Measuring a finished codec anew: only the calibration changes, and its folder stays whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from codec.model import FeatureCodec
from codec.model.checkpoint import check_manifest
from training.calibrate import main, run
from training.codecs.card import replace_calibration
from training.codecs.recipe import CodecRecipe
from training.engine.recipe import plain_values
from training.train import run as train_codec

pytestmark = pytest.mark.usefixtures("uncompiled")


@pytest.fixture
def recipe(make_recipe: Callable[..., CodecRecipe], pictures: Path) -> CodecRecipe:
    return make_recipe(
        pictures,
        train_split="train[:16]",
        validation_split="train[16:20]",
        calibration_split="train[20:24]",
    )


@pytest.mark.long
def test_a_codec_is_measured_anew_and_nothing_else_changes(
    recipe: CodecRecipe, tmp_path: Path
) -> None:
    train_codec(recipe, tmp_path)
    folder = tmp_path / "final"
    before = FeatureCodec.from_pretrained(folder)
    card = (folder / "README.md").read_text()
    assert run(folder, recipe) == before.config.calibration
    assert (folder / "README.md").read_text() == card
    file = tmp_path / "other.yaml"
    other = replace(recipe, calibration_split="train[20:30]")
    file.write_text(yaml.safe_dump(plain_values(other)))
    assert main([str(folder), str(file)]) == 0
    check_manifest(folder)
    after = FeatureCodec.from_pretrained(folder)
    assert [row.n_images for row in after.config.calibration] == [10, 10]
    assert after.fingerprint == before.fingerprint
    assert replace(after.config, calibration=()) == replace(before.config, calibration=())
    assert json.loads((folder / "manifest.json").read_text())["fingerprint"] == (
        before.fingerprint.hex()
    )
    changed = (folder / "README.md").read_text()
    row = after.config.calibration[1]
    assert "of the 10 images of `train[20:30]`:\n\n| quality" in changed
    assert f"| 1 | {row.bytes_mean:.1f} | {row.drop:.2f} | {row.agreement:.2f} |\n" in changed
    assert changed.count("\n| ") == card.count("\n| ")
    assert changed.partition("## Recipe")[2] == card.partition("## Recipe")[2]


def test_a_recipe_of_another_codec_is_refused(
    recipe: CodecRecipe, tiny_codec_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(yaml.safe_dump(plain_values(recipe)))
    before = (tiny_codec_folder / "config.json").read_bytes()
    assert main([str(tiny_codec_folder), str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the recipe is of another codec: its name is small, not" in line
    assert (tiny_codec_folder / "config.json").read_bytes() == before


def test_a_card_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no table of the calibration"):
        replace_calibration("# a card", "text")
