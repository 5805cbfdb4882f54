"""python -m training.alone: a classifier of the encoder's cost, from a codec's own stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from codec import FeatureCodec
from codec.model.alone import load_alone
from training.alone import run
from training.codecs.alone import build_alone
from training.codecs.recipe import CodecRecipe


@pytest.fixture
def recipe(make_recipe: Callable[..., CodecRecipe], labelled: Path) -> CodecRecipe:
    return make_recipe(labelled, label_weight=0.5)


def test_it_starts_from_the_stages_of_a_codec(
    recipe: CodecRecipe, tiny_codec: FeatureCodec, tmp_path: Path
):
    tiny_codec.save_pretrained(tmp_path)
    config = tiny_codec.config
    shape = {"student_widths": config.student_widths, "student_depths": config.student_depths}
    alone = build_alone(replace(recipe, start=str(tmp_path), **shape), 4)  # type: ignore[arg-type]
    kept = tiny_codec.encoder.layers.state_dict()  # type: ignore[union-attr,operator]
    for name, value in alone.layers.state_dict().items():
        torch.testing.assert_close(value, kept[name])
    other = replace(recipe, start=str(tmp_path), student_widths=(16, 8, 8))
    with pytest.raises(ValueError, match="start: the encoder of"):
        build_alone(other, 4)


@pytest.mark.usefixtures("uncompiled")
def test_it_trains_and_is_kept_with_a_card_that_names_its_split(
    recipe: CodecRecipe, tmp_path: Path
):
    alone = run(recipe, tmp_path)
    loaded = load_alone(tmp_path / "final")
    torch.testing.assert_close(loaded.head.weight, alone.head.weight.half().float())
    card = (tmp_path / "final" / "README.md").read_text()
    assert recipe.calibration_split in card
    assert "device" in card


def test_a_codec_for_words_has_no_device_alone(recipe: CodecRecipe):
    with pytest.raises(ValueError, match="not for blocks"):
        build_alone(replace(recipe, encoder="blocks"), 4)
