"""The uncut model's answers are asked for once, and are the same when they are read again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from training.codecs import answers
from training.codecs.answers import Answers


class Model(nn.Module):
    """Answers with sums of the pixels, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.config, self.asked = SimpleNamespace(num_labels=3), 0

    def forward(self, x: torch.Tensor) -> SimpleNamespace:
        self.asked += len(x)
        return SimpleNamespace(logits=x.flatten(1)[:, :3] * 2)


def batch(epoch: int, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    keys = torch.tensor([(5 << 48) + (epoch << 32) + i for i in indices])
    return torch.tensor(indices).float()[:, None, None, None].expand(-1, 3, 2, 2) + 10 * epoch, keys


def test_the_same_pictures_are_asked_about_once_over_runs(tmp_path: Path) -> None:
    first = Answers(Model(), tmp_path, 8, 2, "about")
    for epoch in (0, 1):
        for indices in ([0, 3], [5, 7]):
            x, keys = batch(epoch, indices)
            torch.testing.assert_close(first(x, keys), first._asked(x))
    model = Model()
    again = Answers(model, tmp_path, 8, 2, "about")
    x, keys = batch(1, [7, 3])
    torch.testing.assert_close(again(x, keys), x.flatten(1)[:, :3] * 2)
    assert model.asked == 0
    x, keys = batch(1, [7, 2])  # one of them is new
    torch.testing.assert_close(again(x, keys), x.flatten(1)[:, :3] * 2)
    assert model.asked == 2


def test_other_pictures_have_other_answers(tmp_path: Path) -> None:
    x, keys = batch(0, [1, 2])
    Answers(Model(), tmp_path, 8, 1, "these")(x, keys)
    model = Model()
    torch.testing.assert_close(
        Answers(model, tmp_path, 8, 1, "those")(x + 1, keys), (x + 1).flatten(1)[:, :3] * 2
    )
    assert model.asked == 2


@pytest.mark.parametrize("nowhere", [True, False])
def test_nothing_is_kept_without_a_folder_or_where_it_would_be_large(
    tmp_path: Path, nowhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MAX_BYTES", 100)
    model = Model()
    some = Answers(model, None if nowhere else tmp_path, 8, 2, "about")
    x, keys = batch(0, [1, 2])
    for _ in range(2):
        torch.testing.assert_close(some(x, keys), x.flatten(1)[:, :3] * 2)
    assert model.asked == 4
    assert not list(tmp_path.iterdir())
