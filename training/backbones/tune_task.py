"""a batch of pictures -> loss: a pretrained classifier in training, behind its frozen blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.networks import digest
from codec.model.split import blocks, split, token_grid
from training.backbones.mobile_teacher import SoftLabels
from training.backbones.tuned import TunedRecipe
from training.data.augmentation import augment
from training.data.images import Images, batches, normalise
from training.data.remembered import Remembered
from training.data.scoring import percent

AT_ONCE = 50
"""So many photographs go through the model at a time where nothing is learned."""


class TuneTask(nn.Module):
    """Cross-entropy on augmented pictures, with the labels and, where there is one, the teacher's
    soft labels.

    Args:
        model: the classifier, its first blocks frozen.
        data: what it is fitted to, and `validation`: what epochs are compared on.
        folder: where the tokens behind the frozen blocks, and the teacher's features, are kept.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocess: Preprocess,
        recipe: TunedRecipe,
        data: Images,
        validation: Images,
        folder: Path,
    ) -> None:
        super().__init__()
        self.model, self.preprocess, self.recipe = model, preprocess, recipe
        self.validation = validation
        self.soft_labels = (
            SoftLabels(recipe.teacher, data, preprocess, recipe.shift, folder)
            if recipe.teacher
            else None
        )
        # in lists: their parameters are the model's, registered once
        head, tail = split(model, recipe.frozen_blocks)
        self._head, self._tail = [head.eval()], [tail]
        grid = token_grid(model, preprocess.size)
        # the embeddings move where no block is frozen, and views may never come again
        worth = recipe.frozen_blocks > 0 and recipe.schedule.fresh_epochs is not None
        weights = digest(head.state_dict()) if worth else ""

        def remembered(images: Images, about: str) -> Remembered:
            shape = grid.n_tokens, grid.width
            if not worth:
                return Remembered(head, shape, None, len(images), "")
            named = f"{weights} {images.digest} {preprocess} {recipe.schedule.precision} {about}"
            return Remembered(head, shape, folder, len(images), named)

        self._tokens = remembered(data, f"shift {recipe.shift}")
        self._unchanged = remembered(validation, "as it is")

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        x = normalise(augment(pixels, keys, self.recipe.shift), self.preprocess)
        frozen = self.recipe.frozen_blocks > 0
        tokens = self._tokens(x, keys) if frozen else self._head[0](x)
        logits = self._tail[0](tokens).logits.float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        if self.soft_labels is not None and self.recipe.teacher is not None:
            share = self.recipe.teacher.weight
            taught = F.cross_entropy(logits, self.soft_labels(x, keys))
            loss = (1 - share) * loss + share * taught
        return {"loss": loss, "train_accuracy": (logits.argmax(1) == labels).float().mean()}

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for AdamW: each block has its own rate, vectors have no decay."""
        n_trained = len(blocks(self.model)) - self.recipe.frozen_blocks
        rate_of: dict[int, float] = {}
        for i, block in enumerate(blocks(self.model)[self.recipe.frozen_blocks :]):
            rate = lr * self.recipe.layer_decay ** (n_trained - 1 - i)
            rate_of |= {id(p): rate for p in block.parameters()}
        model: Any = self.model
        rate_of |= {id(p): self.recipe.head_lr for p in model.classifier.parameters()}
        first = lr * self.recipe.layer_decay**n_trained  # of the embeddings, where they move
        behind = [p for name, p in model.base_model.named_parameters() if "norm" in name]
        rate_of = {id(p): lr for p in behind} | rate_of
        return [
            {
                "params": [p],
                "lr": rate_of.get(id(p), first),
                "weight_decay": weight_decay if p.ndim > 1 else 0.0,
            }
            for p in self.model.parameters()
            if p.requires_grad
        ]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Share of right answers on the validation split, in percent; computed as in training, of
        what is remembered of the pictures as they are.
        """
        self.eval()
        device, found, start = next(self.parameters()).device, [], 0
        with self.recipe.schedule.autocast(device.type):
            for pixels, labels in batches(self.validation, AT_ONCE):
                keys = torch.arange(start, start + len(labels))
                tokens = self._unchanged(normalise(pixels.to(device), self.preprocess), keys)
                found.append(self._tail[0](tokens).logits.argmax(1).cpu() == labels)
                start += len(labels)
        self.train()
        return {"accuracy": percent(torch.cat(found))}
