"""Which pictures a classifier answers rightly."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from codec.device.preprocess import Preprocess
from training.data.images import Images
from training.data.scoring import percent, right


class Says(nn.Module):
    """Answers each picture in turn with the labels that it is given."""

    def __init__(self, labels: list[int], n_labels: int, in_an_object: bool) -> None:
        super().__init__()
        self.none = nn.Parameter(torch.zeros(()))
        self.logits, self.start = 4 * torch.eye(n_labels)[labels], 0
        self.in_an_object = in_an_object

    def forward(self, x: torch.Tensor) -> torch.Tensor | SimpleNamespace:
        assert not self.training
        assert not torch.is_grad_enabled()
        logits = self.logits[self.start : self.start + len(x)]
        self.start += len(x)
        return SimpleNamespace(logits=logits) if self.in_an_object else logits


@pytest.mark.parametrize("in_an_object", [False, True])
@pytest.mark.parametrize("size", [5, 500])
def test_a_picture_is_right_where_its_highest_logit_is_its_labels(
    labelled: Path, in_an_object: bool, size: int
) -> None:
    data = Images(str(labelled), "train", Preprocess(32))
    n_labels, wrong = len(data.label_names), {0, 7, len(data) - 1}
    said = [(label + (i in wrong)) % n_labels for i, label in enumerate(data.labels)]
    found = right(Says(said, n_labels, in_an_object), data, Preprocess(32), size)
    assert found.tolist() == [i not in wrong for i in range(len(data))]
    assert percent(found) == 100 * (len(data) - 3) / len(data)
