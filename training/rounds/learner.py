"""a batch of a client's pictures -> loss; pictures -> score: what clients learn, and by what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from codec.device.preprocess import Preprocess
from training.data.augmentation import augment
from training.data.images import Batch, Images, collate, normalise
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

    def score(self, data: Images) -> float:
        """Share of right answers, in percent."""

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
        return F.cross_entropy(self._logits(x), batch["labels"])

    @torch.no_grad()
    def score(self, data: Images) -> float:
        """As `Learner`."""
        self.model.eval()
        right = 0
        for start in range(0, len(data), 500):
            batch = collate([data[i] for i in range(start, min(start + 500, len(data)))])
            logits = self._logits(normalise(batch["pixels"], self.preprocess))
            right += int((logits.argmax(1) == batch["labels"]).sum())
        return 100 * right / len(data)

    def finish(self, out: Path) -> None:
        """The weights are all."""

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        """(B, n_labels) float32."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.local.bf16):
            out: Any = self.model(x)
        logits: torch.Tensor = out if isinstance(out, torch.Tensor) else out.logits
        return logits.float()
