"""tokens at the cut -> task loss and task score: what a codec is held against in the second stage,
and measured by at the end.

The uncut model is asked the same thing of the same picture, and the codec's tail is to answer as it
does: `LabelObjective` for classifiers, `WordObjective` for captioners and question answerers, which
share a blob and so a loss. An objective comes with its data, since what is asked of a picture lies
there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from codec.tasks.judge import agrees, score

Said = dict[str, list[Any]]
"""What a model says of pictures, by task, in their order: labels, captions, or the answers to all
questions; in the form that `codec.tasks.judge` takes.
"""


class Objective(Protocol):
    """What is asked of the pictures of a data set.

    Attributes:
        uncut: the uncut models by task, which are asked and never trained.
        data: the pictures.
    """

    uncut: dict[str, nn.Module]
    data: Any

    def part(self, model: nn.Module) -> nn.Module:
        """The part of a model or a tail whose shapes do not change from step to step: what is worth
        compiling.
        """

    def augment(self, pixels: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) uint8 -> others of the same shape with the same answers."""

    def target(self, x: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor | None) -> Any:
        """What is to be answered to pixel values (B, 3, S, S) of samples `labels`; `keys` (B,) are
        None for pictures as they are.
        """

    def loss(
        self, tails: Mapping[str, nn.Module], tokens: torch.Tensor, target: Any
    ) -> torch.Tensor:
        """KL divergence from a target to what the tails answer to tokens (B, N, D), in nats:
        (B,).
        """

    def said(
        self, models: Mapping[str, nn.Module], inputs: torch.Tensor, labels: torch.Tensor
    ) -> Said:
        """What models, or tails, say of pixel values (B, 3, S, S), or tokens (B, N, D)."""

    def truth(self, places: Sequence[int] | None = None) -> Said:
        """What is right to say of the pictures at these places of the data set, or of all, in
        order; of a caption all reference captions. A task is left out where that is not known.
        """


def divergence(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """KL divergence from target (..., L) to the answers of logits (..., L), in nats: (...)."""
    return F.kl_div(logits.float().log_softmax(-1), target, reduction="none").sum(-1)


def scores(said: Said, truth: Said) -> dict[str, float]:
    """The score of each task in percent, of what was said of all pictures."""
    return {task: score(task, given, truth[task]) for task, given in said.items()}


def agreement(said: Said, other: Said) -> float:
    """Share of labels, captions and answers, counted alike, that are the other model's, in
    percent.
    """
    same = [one for task, given in said.items() for one in agrees(task, given, other[task])]
    return 100 * sum(same) / len(same)
