"""python -m training.backbone RECIPE: trains a small ViT from scratch, the backbone that shipped
codecs belong to.

Two stages: a convolutional teacher on the labels, then the ViT on the labels and the teacher's
outputs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

from codec.device.preprocess import Preprocess
from codec.model.split import split
from training.backbones.teacher import ConvNet
from training.backbones.vit_init import convolutional_init
from training.data.images import Images, augment, batches, normalise
from training.engine.command import run_command
from training.engine.loop import Schedule, is_first_process, train


@dataclass(frozen=True)
class Teacher:
    """The convolutional teacher: `widths` of its stages, and its share in the ViT's loss."""

    schedule: Schedule
    widths: tuple[int, ...]
    weight: float = 0.7
    temperature: float = 2.0


@dataclass(frozen=True)
class BackboneRecipe:
    """Everything a backbone depends on.

    Attributes:
        data: folder or hub name; `train_split` and `test_split` in it.
        window: side of the window of tokens that is trained on in the first part of the training
            (0: all tokens): a random contiguous window sees neighbours as they are and costs little
            more than half.
        window_until: end of that part, as a share of the steps.
        shift: largest random shift of the pictures, in pixels.
        note: a sentence for the model card.
    """

    name: str
    data: str
    train_split: str
    test_split: str
    image_size: int
    patch_size: int
    hidden_size: int
    n_layers: int
    n_heads: int
    schedule: Schedule
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    teacher: Teacher | None = None
    window: int = 0
    window_until: float = 0.0
    shift: int = 4
    label_smoothing: float = 0.1
    limit: int | None = None
    note: str = ""


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
        for part in self._split:
            part.compile(dynamic=False)
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


@torch.no_grad()
def accuracy(model: nn.Module, data: Images, preprocess: Preprocess) -> float:
    """Share of right answers in percent, in float32."""
    model.eval()
    device = next(model.parameters()).device
    right = 0
    for pixels, labels in batches(data):
        out = model(normalise(pixels.to(device), preprocess))
        logits = out if isinstance(out, torch.Tensor) else out.logits
        right += int((logits.argmax(1).cpu() == labels).sum())
    return 100 * right / len(data)


def build_vit(recipe: BackboneRecipe, labels: list[str]) -> ViTForImageClassification:
    """A ViT of the recipe's size with the convolutional initialisation."""
    config = ViTConfig(  # type: ignore[call-arg]
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        intermediate_size=4 * recipe.hidden_size,
        image_size=recipe.image_size,
        patch_size=recipe.patch_size,
        id2label=dict(enumerate(labels)),
        label2id={name: i for i, name in enumerate(labels)},
        # in bfloat16 on a CPU its backward is 1.5 times faster than sdpa's
        attn_implementation="eager",
    )
    model = ViTForImageClassification(config)
    convolutional_init(model)
    return model


def run(recipe: BackboneRecipe, out: Path) -> float:
    """Train by the recipe into `out`, resuming where a run was stopped; returns the test accuracy
    in percent.
    """
    from training.engine.card import write_backbone

    preprocess = Preprocess(recipe.image_size, mean=tuple(recipe.mean), std=tuple(recipe.std))  # type: ignore[arg-type]
    data = Images(recipe.data, recipe.train_split, preprocess, recipe.limit, recipe.schedule.seed)
    test = Images(recipe.data, recipe.test_split, preprocess, recipe.limit)
    teacher: nn.Module | None = None
    scores = {}
    if recipe.teacher:
        torch.manual_seed(recipe.teacher.schedule.seed)
        teacher = ConvNet(recipe.teacher.widths, len(data.label_names))
        train(
            TeacherTask(teacher, preprocess, recipe), data, recipe.teacher.schedule, out / "teacher"
        )
        scores["teacher"] = accuracy(teacher, test, preprocess)
        print(f"teacher: {scores['teacher']:.2f}% on {len(test)} test images", flush=True)
    torch.manual_seed(recipe.schedule.seed)
    model = build_vit(recipe, data.label_names)
    train(BackboneTask(model, preprocess, recipe, teacher), data, recipe.schedule, out / "vit")
    scores["backbone"] = accuracy(model, test, preprocess)
    print(f"backbone: {scores['backbone']:.2f}% on {len(test)} test images", flush=True)
    if is_first_process():
        write_backbone(model, preprocess, recipe, scores, len(test), out / "final")
    return scores["backbone"]


if __name__ == "__main__":
    sys.exit(run_command(BackboneRecipe, run, __doc__))
