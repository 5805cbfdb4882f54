"""a batch of a client's pictures -> loss; pictures -> score: what clients learn, and by what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from codec.device.preprocess import Preprocess
from training.data.augmentation import augment
from training.data.images import Batch, Images, normalise
from training.data.scoring import logits_of, right
from training.rounds.recipe import Local


class Learner(Protocol):
    """What clients learn together."""

    @property
    def model(self) -> nn.Module:
        """Its parameters that want gradients are the weights that are sent; it holds whichever were
        used last.
        """

    @property
    def preprocess(self) -> Preprocess:
        """Of the pictures."""

    @property
    def labels(self) -> Mapping[int, str]:
        """Names of labels by index."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """What a step makes smaller."""

    def right(self, data: Images) -> torch.Tensor:
        """Whether each picture's answer is right, (n,) bool."""

    def finish(self, out: Path) -> None:
        """Write into `out` what a run ends in besides the weights."""


@dataclass
class Classifier:
    """A network, or a classifier of `transformers`, that learns labels by cross-entropy."""

    model: nn.Module
    preprocess: Preprocess
    labels: Mapping[int, str]
    local: Local

    def loss(self, batch: Batch) -> torch.Tensor:
        """As `Learner`."""
        x = normalise(augment(batch["pixels"], batch["keys"], self.local.shift), self.preprocess)
        with self._autocast():
            logits = logits_of(self.model(x))
        return F.cross_entropy(logits.float(), batch["labels"])

    def right(self, data: Images) -> torch.Tensor:
        """As `Learner`."""
        with self._autocast():
            return right(self.model, data, self.preprocess)

    def finish(self, out: Path) -> None:
        """The weights are all."""

    def _autocast(self) -> torch.autocast:
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.local.bf16)
