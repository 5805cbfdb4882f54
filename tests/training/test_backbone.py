"""Backbone training: from labelled pictures to a model that the codec can cut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from codec.device.preprocess import Preprocess
from codec.model.backbone import load_backbone
from codec.model.split import split
from training.backbone import run
from training.backbones.vit import BackboneRecipe, TeacherRecipe, build_vit
from training.backbones.vit_task import BackboneTask
from training.data.images import Images
from training.data.scoring import percent, right
from training.engine.checkpoints import last_whole_checkpoint
from training.engine.schedule import Schedule

LABELS = ("cat", "dog", "ship", "truck")
pytestmark = pytest.mark.usefixtures("uncompiled")


@pytest.fixture
def recipe(pictures: Path) -> BackboneRecipe:
    schedule = Schedule(
        epochs=8, batch_size=8, lr=3e-3, precision="fp32", save_steps=20, log_steps=1
    )
    return BackboneRecipe(
        name="small",
        data=str(pictures),
        train_split="train[:40]",
        test_split="train",
        image_size=32,
        patch_size=8,
        hidden_size=32,
        n_layers=2,
        n_heads=2,
        schedule=schedule,
        teacher=TeacherRecipe(schedule=replace(schedule, epochs=2), widths=(8, 16)),
        window=3,
        window_until=0.5,
    )


@pytest.mark.long
def test_training_ends_in_a_model_that_can_be_cut(recipe: BackboneRecipe, tmp_path: Path) -> None:
    score = run(recipe, tmp_path)
    model = load_backbone(str(tmp_path / "final"), Path())
    preprocess = Preprocess.from_processor(tmp_path / "final" / "preprocessor_config.json")
    # float16
    answered = right(model, Images(recipe.data, "train", preprocess), preprocess)
    assert percent(answered) == pytest.approx(score, abs=100 / 48 + 1e-6)
    assert model.config.id2label == dict(enumerate(LABELS))  # type: ignore[union-attr,comparison-overlap]
    x = torch.randn(2, 3, 32, 32)
    head, tail = split(model, 1)
    assert torch.equal(tail(head(x)).logits, model(x).logits)
    last = last_whole_checkpoint(tmp_path / "vit")
    assert last
    losses = [
        row["loss"]
        for row in json.loads((Path(last) / "trainer_state.json").read_text())["log_history"]
        if "loss" in row
    ]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    card = (tmp_path / "final" / "README.md").read_text()
    assert f"| backbone | {score:.2f} |" in card
    assert str(tmp_path.parent) not in card
    assert f"accuracy on `{recipe.test_split}` (" in card
    assert "nothing was chosen" not in card


def test_a_window_is_neighbours_as_they_lie(recipe: BackboneRecipe) -> None:
    task = BackboneTask(build_vit(recipe, list("abcd")), Preprocess(32), recipe, None)
    tokens = torch.arange(17.0).view(1, 17, 1)
    starts = set()
    for _ in range(50):
        window = task._window(tokens)[0, :, 0]
        assert window[0] == 0
        square = window[1:].view(3, 3)
        assert (square.diff(dim=1) == 1).all()
        assert (square.diff(dim=0) == 4).all()
        starts.add(int(square[0, 0]))
    assert starts == {1, 2, 5, 6}
