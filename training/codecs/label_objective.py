"""tokens at the cut -> loss and labels of a classifier: the label is to be the uncut model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.asking import may_have_several
from codec.model.networks import digest
from codec.tasks import LABELS
from training.codecs.objective import Said, divergence
from training.codecs.recipe import CodecRecipe
from training.data.augmentation import augment
from training.data.images import Images
from training.data.remembered import Remembered, n_bytes_of

MAX_BYTES = 1 << 30
"""Where the logits of a whole run would take more than this, they are not kept."""


class LabelObjective:
    """One class for each picture.

    Args:
        uncut: the classifier, by its task.
        recipe: says share of labels and size of the shift.
        data: labelled pictures.
        known: the uncut model's logits, remembered; None to compute them anew each time.

    Raises:
        ValueError: pictures may have several labels, or they have none and the recipe needs them.
    """

    def __init__(
        self,
        uncut: dict[str, nn.Module],
        recipe: CodecRecipe,
        data: Images,
        known: Remembered | None = None,
    ) -> None:
        model: Any = uncut[LABELS]
        if may_have_several(model.config):
            raise ValueError(
                f"backbone {recipe.backbone!r} tells of each label by itself whether a picture has "
                "it: codecs are trained for models that give each picture one of several labels"
            )
        self.uncut, self.recipe, self.data = uncut, recipe, data
        self.logits = known or Remembered(_logits_of(model), (), None, 0, "")
        if recipe.label_weight and min(data.labels) < 0:
            raise ValueError(
                f"label_weight is {recipe.label_weight}, and the images of {recipe.data!r} have no "
                "labels"
            )

    def part(self, model: nn.Module) -> nn.Module:
        """All of it."""
        return model

    def augment(self, pixels: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Shifted and flipped."""
        return augment(pixels, keys, self.recipe.shift)

    @torch.no_grad()
    def target(
        self, x: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor | None
    ) -> torch.Tensor:
        """(B, L): the uncut model's probabilities with a share of the true label."""
        return self.recipe.target(self.logits(x, keys), labels)

    def loss(
        self, tails: Mapping[str, nn.Module], tokens: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        """As `Objective` says."""
        return divergence(tails[LABELS](tokens).logits, target)

    def said(
        self, models: Mapping[str, nn.Module], inputs: torch.Tensor, labels: torch.Tensor
    ) -> Said:
        """The most probable label of each picture."""
        return {LABELS: models[LABELS](inputs).logits.argmax(-1).tolist()}

    def truth(self, places: Sequence[int] | None = None) -> Said:
        """The true labels, where every picture has one."""
        labels = self.data.labels
        if min(labels) < 0:
            return {}
        return {LABELS: labels if places is None else [labels[i] for i in places]}


def known_logits(
    recipe: CodecRecipe, uncut: nn.Module, preprocess: Preprocess, data: Images, runs: Path
) -> Remembered:
    """The uncut classifier's logits of a recipe's pictures, shared by the runs in a folder, unless
    they take more than `MAX_BYTES`.

    They are named by the content of all that they depend on: weights, pixels, how these are
    augmented and normalised.
    """
    model: Any = uncut
    shape = (int(model.config.num_labels),)
    n_epochs = recipe.match.epochs + recipe.answer.epochs
    if n_bytes_of(shape, len(data), n_epochs) >= MAX_BYTES:
        return Remembered(_logits_of(uncut), shape, None, len(data), "")
    about = f"{digest(uncut.state_dict())} {data.digest} {recipe.shift} {preprocess}"
    return Remembered(_logits_of(uncut), shape, runs / "uncut-logits", len(data), about)


def _logits_of(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: model(x).logits
