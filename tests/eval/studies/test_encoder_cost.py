"""eval.studies.encoder_cost: a recipe's encoder beside a block, for every target."""

from __future__ import annotations

import pytest
import torch

from codec.bundle.targets import TARGETS
from codec.model.cost import device_cost, multiply_accumulates
from eval.studies import encoder_cost
from training.codecs.recipe import CodecRecipe
from training.engine.recipe import read_recipe

SMALL = ["student_widths=[8,8,8,8,8]", "student_depths=[0,0,0,0,1]"]


@pytest.mark.long
def test_every_target_has_a_row_and_a_small_encoder_is_cheaper_than_a_block(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_cost, "RUNS", 1)
    encoder_cost.main(["vit-base-imagenet-codec", *SMALL])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if " MB " in line]
    assert [row[0] for row in rows] == list(TARGETS)
    assert all(float(row[-1]) < 0.5 for row in rows)


@pytest.mark.long
def test_the_recipe_for_vit_base_keeps_to_3_mb_and_to_a_sixth_of_a_blocks_products() -> None:
    """Its promise is a quarter of a block's time; a product of a small convolution takes up to 1.5
    times as long as one of a block.
    """
    recipe = read_recipe(CodecRecipe, "vit-base-imagenet-codec", [])
    config = encoder_cost.config_of(recipe)
    sizes = {
        target: len(model.SerializeToString())
        for target, model in encoder_cost.graphs(config).items()
    }
    assert list(sizes) == list(TARGETS)
    assert max(sizes.values()) <= 3_000_000, sizes
    theirs = multiply_accumulates(encoder_cost.block(768), (1, 197, 768))
    assert theirs == 197 * 12 * 768**2 + 2 * 197**2 * 768
    assert device_cost(encoder_cost.encoder(config), encoder_cost.SIZE).macs <= theirs / 6


def test_a_recipe_of_another_size_is_refused() -> None:
    with pytest.raises(SystemExit, match="not of a convolutional encoder for 224 x 224"):
        encoder_cost.main(["vit-tiny-cifar10-codec"])


@pytest.mark.long
def test_the_student_is_the_recipes_own_folded_as_the_codec_has_it() -> None:
    shape = [*SMALL, "side=14", "fold=2", "n_channels=6"]
    config = encoder_cost.config_of(read_recipe(CodecRecipe, "vit-base-imagenet-codec", shape))
    student = encoder_cost.encoder(config)
    assert student.get_parameter("project.weight").shape[0] == 2 * 2 * 6
    pixels = torch.zeros(1, 3, encoder_cost.SIZE, encoder_cost.SIZE)
    assert student(pixels).shape == (1, config.side**2, config.n_channels)
    (symbols,) = encoder_cost.session(
        encoder_cost.graphs(config)["onnxruntime"], "pixel_values", tuple(pixels.shape)
    )()[:1]
    assert symbols.shape[-1] == config.n_channels
