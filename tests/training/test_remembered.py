"""What frozen weights make of pictures is computed once, and is the same when it is read again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codec.device.preprocess import Preprocess
from codec.tasks import LABELS
from training.codecs import label_objective
from training.codecs.building import load_models
from training.codecs.label_objective import known_logits
from training.codecs.recipe import CodecRecipe
from training.data.images import Images
from training.data.remembered import Remembered


class Model:
    """Its logits are pixels; it counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += len(x)
        return x.flatten(1)[:, :3] * 2


def batch(epoch: int, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    keys = torch.tensor([(5 << 48) + (epoch << 32) + i for i in indices])
    return torch.tensor(indices).float()[:, None, None, None].expand(-1, 3, 2, 2) + 10 * epoch, keys


def test_the_same_pictures_are_computed_about_once_over_runs(tmp_path: Path) -> None:
    first = Remembered(Model(), (3,), tmp_path, 8, "about")
    for epoch in (0, 1):
        for indices in ([0, 3], [5, 7]):
            x, keys = batch(epoch, indices)
            torch.testing.assert_close(first(x, keys), Model()(x))
    model = Model()
    again = Remembered(model, (3,), tmp_path, 8, "about")
    x, keys = batch(1, [7, 3])
    torch.testing.assert_close(again(x, keys), x.flatten(1)[:, :3] * 2)
    assert model.asked == 0
    x, keys = batch(1, [7, 2])  # one of them is new
    torch.testing.assert_close(again(x, keys), x.flatten(1)[:, :3] * 2)
    assert model.asked == 2


def test_other_pictures_have_other_logits(tmp_path: Path) -> None:
    x, keys = batch(0, [1, 2])
    Remembered(Model(), (3,), tmp_path, 8, "these")(x, keys)
    model = Model()
    torch.testing.assert_close(
        Remembered(model, (3,), tmp_path, 8, "those")(x + 1, keys), (x + 1).flatten(1)[:, :3] * 2
    )
    assert model.asked == 2


def test_nothing_is_kept_without_a_folder(tmp_path: Path) -> None:
    model = Model()
    some = Remembered(model, (3,), None, 8, "about")
    x, keys = batch(0, [1, 2])
    for _ in range(2):
        torch.testing.assert_close(some(x, keys), x.flatten(1)[:, :3] * 2)
    assert model.asked == 4
    assert not list(tmp_path.iterdir())


def test_what_stands_for_each_picture_has_any_shape(tmp_path: Path) -> None:
    def tokens(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2)

    x, keys = batch(0, [1, 2])
    for _ in range(2):
        torch.testing.assert_close(Remembered(tokens, (3, 4), tmp_path, 8, "t")(x, keys), tokens(x))


def test_logits_that_would_be_large_are_not_kept(
    labelled: Path,
    make_recipe: Callable[..., CodecRecipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(label_objective, "MAX_BYTES", 100)
    recipe = make_recipe(labelled, train_split="train")
    images = Images(str(labelled), "train", Preprocess(32))
    model = load_models(recipe)[LABELS]
    assert known_logits(recipe, model, Preprocess(32), images, tmp_path).folder is None


@pytest.mark.parametrize("left", [0, 100, 170])
def test_a_file_that_was_cut_short_is_not_believed(tmp_path: Path, left: int) -> None:
    x, keys = batch(0, [1, 7])
    Remembered(Model(), (3,), tmp_path, 8, "about")(x, keys)
    (file,) = tmp_path.glob("*/*.npy")
    whole = file.read_bytes()
    assert len(whole) > 170
    file.write_bytes(whole[:left])
    model = Model()
    torch.testing.assert_close(
        Remembered(model, (3,), tmp_path, 8, "about")(x, keys), x.flatten(1)[:, :3] * 2
    )
    assert model.asked == 2
    assert len(file.read_bytes()) == len(whole)


def test_logits_belong_to_the_pixels_wherever_these_lie(
    labelled: Path, make_recipe: Callable[..., CodecRecipe], tmp_path: Path
) -> None:
    moved, other = tmp_path / "moved", tmp_path / "other"
    shutil.copytree(labelled, moved)
    shutil.copytree(labelled, other)
    changed = sorted((other / "train").rglob("*.png"))[0]
    Image.fromarray(255 - np.asarray(Image.open(changed))).save(changed)
    folders = []
    for data in (labelled, moved, other):
        recipe = make_recipe(data, train_split="train")
        images = Images(str(data), "train", Preprocess(32))
        model = load_models(recipe)[LABELS]
        known = known_logits(recipe, model, Preprocess(32), images, tmp_path / "runs")
        folders.append(known.folder)
    assert folders[0] is not None
    assert folders[0] == folders[1] != folders[2]
