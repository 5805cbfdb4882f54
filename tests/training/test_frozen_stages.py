"""A codec whose pretrained stages stay as they are: what learns, and what is kept of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from codec import FeatureCodec
from codec.model.mobile_shape import MobileShape
from tests.tiny_mobile import STAGES, write_network
from training.alone import run as run_alone
from training.codecs.building import build
from training.codecs.preparing import prepare
from training.codecs.recipe import CodecRecipe
from training.data.images import collate
from training.train import run

pytestmark = pytest.mark.usefixtures("uncompiled")


@pytest.fixture
def recipe(make_recipe: Callable[..., CodecRecipe], labelled: Path, tmp_path: Path) -> CodecRecipe:
    write_network(tmp_path)
    made = make_recipe(
        labelled,
        encoder="mobile",
        mobile=MobileShape(8, STAGES),
        student_widths=(),
        student_depths=(),
        encoder_start=str(tmp_path),
        frozen_stages=True,
    )
    fresh = replace(made.match, fresh_epochs=1)
    return replace(made, match=fresh, answer=fresh)


def test_only_what_follows_frozen_stages_learns(recipe: CodecRecipe, tmp_path: Path) -> None:
    started = build(recipe)
    run(recipe, tmp_path / "runs" / "one")
    trained = FeatureCodec.from_pretrained(tmp_path / "runs" / "one" / "final")
    before, after = started.encoder.state_dict(), trained.encoder.state_dict()
    for name in (name for name in before if name.startswith("layers.")):
        assert torch.equal(before[name].half().float(), after[name]), name
    assert not torch.allclose(before["project.weight"], after["project.weight"], atol=1e-3)


def test_what_frozen_stages_make_of_pictures_is_made_once(
    recipe: CodecRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = prepare(recipe, None).task
    batch = collate([task.objective.data[i] for i in range(8)])
    task.eval()
    for stage in ("match", "answer"):
        task.set_stage(stage)
        plain = task(**batch)["loss"]
        task.remember(tmp_path, task.objective.data)
        first = task(**batch)["loss"]
        with monkeypatch.context() as patch:
            patch.setattr(task._stages, "forward", None)  # not to be called again
            again = task(**batch)["loss"]
        assert torch.equal(first, again)
        np.testing.assert_allclose(plain.item(), first.item(), rtol=5e-3)  # kept in float16
    files = list((tmp_path / "encoder-features").glob("*/*.npy"))
    assert len(files) == 1, "both stages show these pictures to the same stages"


def test_the_device_alone_keeps_frozen_stages_too(recipe: CodecRecipe, tmp_path: Path) -> None:
    started = build(recipe).encoder.state_dict()
    alone = run_alone(recipe, tmp_path / "runs" / "alone")
    trained = alone.state_dict()
    for name in (name for name in started if name.startswith("layers.")):
        assert torch.equal(started[name], trained[name]), name
    assert trained["head.weight"].abs().max() > 0
    assert list((tmp_path / "runs" / "encoder-features").glob("*/*.npy"))


def test_frozen_stages_need_weights(recipe: CodecRecipe) -> None:
    with pytest.raises(ValueError, match="frozen_stages is for stages that `encoder_start`"):
        replace(recipe, encoder_start=None)
