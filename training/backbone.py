"""python -m training.backbone RECIPE: trains a small ViT from scratch, the backbone that shipped
codecs belong to.

Two stages: a convolutional teacher on the labels, then the ViT on the labels and the teacher's
outputs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from training.backbones.cards import write_vit
from training.backbones.teacher import ConvNet
from training.backbones.vit import BackboneRecipe, build_vit
from training.backbones.vit_task import BackboneTask, TeacherTask, accuracy
from training.data.images import Images
from training.engine.command import run_command
from training.engine.loop import is_first_process, train


def run(recipe: BackboneRecipe, out: Path) -> float:
    """Train by the recipe into `out`, resuming where a run was stopped; returns the test accuracy
    in percent.
    """
    preprocess = Preprocess.from_dict(
        {"size": recipe.image_size, "mean": recipe.mean, "std": recipe.std}
    )
    data = Images(recipe.data, recipe.train_split, preprocess, recipe.limit, recipe.schedule.seed)
    if min(data.labels) < 0:
        raise ValueError(f"the pictures of {recipe.data!r} have no labels")
    labels = dict(enumerate(data.label_names))
    test = Images(recipe.data, recipe.test_split, preprocess, recipe.limit, model_labels=labels)
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
        write_vit(model, preprocess, recipe, scores, len(test), out / "final")
    return scores["backbone"]


if __name__ == "__main__":
    sys.exit(run_command(BackboneRecipe, run, __doc__))
