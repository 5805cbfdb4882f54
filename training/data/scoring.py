"""a classifier, labelled pictures as they are -> which of them it answers rightly."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from training.data.images import Keyed, batches, normalise


def logits_of(out: Any) -> torch.Tensor:
    """The logits that a network gives, or that a classifier of `transformers` gives in an
    object.
    """
    logits: torch.Tensor = out if isinstance(out, torch.Tensor) else out.logits
    return logits


@torch.no_grad()
def right(model: nn.Module, data: Keyed, preprocess: Preprocess, size: int = 500) -> torch.Tensor:
    """Whether the classifier's label of each picture is right: (n,) bool; `size` pictures at a
    time.
    """
    model.eval()
    device = next(model.parameters()).device
    found = [
        logits_of(model(normalise(pixels.to(device), preprocess))).argmax(1).cpu() == labels
        for pixels, labels in batches(data, size)
    ]
    return torch.cat(found)


def percent(of: torch.Tensor) -> float:
    """The share of those that are right, in percent."""
    return 100 * int(of.sum()) / len(of)
