"""a batch of pictures -> loss: the convolutional teacher in training, and the ViT."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.split import split
from training.backbones.vit import BackboneRecipe
from training.data.augmentation import augment
from training.data.images import normalise
from training.engine.compiling import compile_networks


class TeacherTask(nn.Module):
    """Cross-entropy of the teacher on augmented pictures."""

    def __init__(self, model: nn.Module, preprocess: Preprocess, recipe: BackboneRecipe) -> None:
        super().__init__()
        self.model, self.preprocess, self.recipe = model, preprocess, recipe

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        x = normalise(augment(pixels, keys, self.recipe.shift), self.preprocess)
        logits = self.model(x).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        return {"loss": loss, "train_accuracy": (logits.argmax(1) == labels).float().mean()}


class BackboneTask(nn.Module):
    """Labels and the teacher's outputs on augmented pictures; on a window of the tokens at
    first.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocess: Preprocess,
        recipe: BackboneRecipe,
        teacher: nn.Module | None,
    ) -> None:
        super().__init__()
        self.model, self.preprocess, self.recipe = model, preprocess, recipe
        # not a child: not saved
        self._teacher = [teacher.eval().requires_grad_(False)] if teacher is not None else []
        # in a list: their parameters are the model's, registered once
        self._split = [*split(model, 0)]
        compile_networks(self._split, recipe.compile)
        self.progress = 0.0

    def on_progress(self, progress: float) -> None:
        self.progress = progress

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        x = normalise(augment(pixels, keys, self.recipe.shift), self.preprocess)
        tokens = self._split[0](x)
        if self.recipe.window and self.progress < self.recipe.window_until:
            tokens = self._window(tokens)
        logits = self._split[1](tokens).logits.float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        if self._teacher and self.recipe.teacher:
            with torch.no_grad():
                target = self._teacher[0](x).float()
            t, w = self.recipe.teacher.temperature, self.recipe.teacher.weight
            kl = F.kl_div(
                (logits / t).log_softmax(1),
                (target / t).log_softmax(1),
                log_target=True,
                reduction="batchmean",
            )
            loss = (1 - w) * loss + w * t * t * kl
        return {"loss": loss, "train_accuracy": (logits.argmax(1) == labels).float().mean()}

    def _window(self, tokens: torch.Tensor) -> torch.Tensor:
        """CLS and a random window of the grid, the same for the whole batch: (B, 1 + G*G, D) -> (B,
        1 + w*w, D).
        """
        side, w = self.recipe.image_size // self.recipe.patch_size, self.recipe.window
        top, left = torch.randint(0, side - w + 1, (2,)).tolist()
        grid = tokens[:, 1:].unflatten(1, (side, side))[:, top : top + w, left : left + w]
        return torch.cat([tokens[:, :1], grid.flatten(1, 2)], dim=1)
