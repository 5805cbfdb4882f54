"""What each epoch is held against: loss, score and bytes on pictures as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from codec.coding.container import HEADER_BYTES
from codec.model.density import ContextPrior
from codec.tasks import LABELS
from training.codecs.building import build, load_models
from training.codecs.opening import open_objective
from training.codecs.recipe import CodecRecipe
from training.codecs.task import CodecTask
from training.codecs.validation import Validation
from training.data.images import normalise


@pytest.fixture
def validation(make_recipe: Callable[..., CodecRecipe], labelled: Path) -> Validation:
    recipe = make_recipe(labelled)
    codec = build(recipe)
    objective = open_objective(recipe, load_models(recipe), codec.config.preprocess, "test")
    task = CodecTask(codec, ContextPrior(4, 4, 2), objective, recipe)
    return Validation(task, objective)


def pixel_values(validation: Validation) -> torch.Tensor:
    data = validation.objective.data
    pixels = torch.stack([data[i][0] for i in validation.places])
    return normalise(pixels, validation.task.codec.config.preprocess)


def test_the_uncut_score_is_the_share_of_right_labels(validation: Validation) -> None:
    with torch.no_grad():
        said = validation.objective.uncut[LABELS](pixel_values(validation)).logits.argmax(1)
    right = (said == torch.tensor(validation.objective.data.labels)).float().mean()
    assert validation.of_uncut() == {LABELS: pytest.approx(100 * float(right))}


def test_bytes_are_those_of_a_blob_with_its_header(validation: Validation) -> None:
    codec, x = validation.task.codec, pixel_values(validation)
    found = validation()
    assert list(found) == ["minus loss", "score", "bytes at quality 0", "bytes at quality 1"]
    for q in (0, 1):
        quality = torch.full((8,), q)
        with torch.no_grad():
            latent = codec.encoder(x[q::2]).float()
            symbols = codec.scale(latent, quality).round()
            bits = validation.task.prior.bits(symbols, symbols, codec.log_gain, quality)
        mean = float(bits.mean()) / 8 + HEADER_BYTES
        assert found[f"bytes at quality {q}"] == pytest.approx(mean, rel=1e-4)


def test_more_is_better_and_the_rate_counts(
    validation: Validation, make_recipe: Callable[..., CodecRecipe]
) -> None:
    cheap = validation()["minus loss"]
    assert cheap < 0
    validation.task.rate_weights.mul_(100)
    assert validation()["minus loss"] < cheap


def test_validation_is_the_same_each_time_and_training_goes_on(validation: Validation) -> None:
    validation.task.train()
    assert validation() == validation()
    assert validation.task.training


def test_at_most_so_many_pictures_are_looked_at_evenly_spaced(validation: Validation) -> None:
    few = Validation(validation.task, validation.objective, most=4)
    assert few.places == [0, 5, 10, 15]
    assert few()["score"] in (0.0, 25.0, 50.0, 75.0, 100.0)


def test_without_labels_there_is_a_loss_and_no_score(validation: Validation) -> None:
    data = validation.objective.data
    data.labels = [-1] * len(data)
    assert "score" not in validation()
    assert validation.of_uncut() == {}
