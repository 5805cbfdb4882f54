"""python -m training.backbone RECIPE: trains a classifier, the backbone that codecs belong to.

A recipe with `start` names a pretrained ViT, DeiT or DINOv2 of transformers: it gets a new
classifier and is fitted to the data. A recipe without it trains a small ViT from scratch, in two
stages: a convolutional teacher on the labels, then the ViT on the labels and the teacher's outputs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from training.backbones.cards import write_vit
from training.backbones.probe import start_classifier
from training.backbones.teacher import ConvNet
from training.backbones.tune_task import AT_ONCE, TuneTask
from training.backbones.tuned import TunedRecipe, open_start, start_preprocess
from training.backbones.vit import BackboneRecipe, build_vit
from training.backbones.vit_task import BackboneTask, TeacherTask
from training.data.images import Images
from training.data.lacking import warn_of_lacking
from training.data.scoring import percent, right
from training.engine.card import shown_name
from training.engine.command import run_command
from training.engine.loop import is_first_process, train


def run(recipe: BackboneRecipe | TunedRecipe, out: Path) -> float:
    """Train by the recipe into `out`, resuming where a run was stopped; returns the test accuracy
    in percent.

    Raises:
        ValueError: the pictures have no labels, or others than those that are fitted to.
    """
    return tune(recipe, out) if isinstance(recipe, TunedRecipe) else train_small(recipe, out)


def tune(recipe: TunedRecipe, out: Path) -> float:
    """Fit a pretrained model; the epoch that is kept is chosen on the validation split."""
    preprocess = start_preprocess(recipe.start, recipe.image_size)
    data = labelled(recipe, recipe.train_split, preprocess)
    labels = dict(enumerate(data.label_names))
    validation = labelled(recipe, recipe.validation_split, preprocess, labels)
    test = labelled(recipe, recipe.test_split, preprocess, labels)
    torch.manual_seed(recipe.schedule.seed)
    model = open_start(recipe, preprocess.size, data.label_names)
    folder = out.parent / "frozen-tokens"
    probed = start_classifier(model, data, preprocess, recipe.head_decay, recipe.schedule, folder)
    print(f"linear probe of the start: {probed:.2f}% of the training images", flush=True)
    task = TuneTask(model, preprocess, recipe, data, validation, folder)
    if task.soft_labels is not None:
        score = task.soft_labels.accuracy
        print(f"teacher: {score:.2f}% of the training images, each by a head that did not see it")
    train(task, data, recipe.schedule, out / "vit", validate=task.validate)
    answered = right(model, test, preprocess, AT_ONCE)
    score, by_class = percent(answered), 100 * mean_over_classes(answered, test.labels)
    print(
        f"backbone: {score:.2f}% on {len(test)} test images, {by_class:.2f}% in the mean over "
        "classes",
        flush=True,
    )
    if is_first_process():
        scores = {"backbone": score, "backbone, mean over classes": by_class}
        how = f"started from `{shown_name(recipe.start)}` and trained"
        what = f"a {type(model).__name__}"
        write_vit(model, preprocess, recipe, scores, len(test), out / "final", what, how)
    return score


def mean_over_classes(answered: torch.Tensor, labels: list[int]) -> float:
    """The mean of the classes' shares of right answers, over the classes that are there.

    Args:
        answered: which pictures are answered rightly, (n,) bool.
        labels: the true classes.
    """
    of = torch.tensor(labels)
    shares = [answered[of == label].float().mean() for label in of.unique()]
    return float(torch.stack(shares).mean())


def train_small(recipe: BackboneRecipe, out: Path) -> float:
    """Train a small ViT from scratch."""
    preprocess = Preprocess.from_dict(
        {"size": recipe.image_size, "mean": recipe.mean, "std": recipe.std}
    )
    data = labelled(recipe, recipe.train_split, preprocess)
    test = labelled(recipe, recipe.test_split, preprocess, dict(enumerate(data.label_names)))
    teacher: nn.Module | None = None
    scores = {}
    if recipe.teacher:
        torch.manual_seed(recipe.teacher.schedule.seed)
        teacher = ConvNet(recipe.teacher.widths, len(data.label_names))
        train(
            TeacherTask(teacher, preprocess, recipe), data, recipe.teacher.schedule, out / "teacher"
        )
        scores["teacher"] = percent(right(teacher, test, preprocess))
        print(f"teacher: {scores['teacher']:.2f}% on {len(test)} test images", flush=True)
    torch.manual_seed(recipe.schedule.seed)
    model = build_vit(recipe, data.label_names)
    train(BackboneTask(model, preprocess, recipe, teacher), data, recipe.schedule, out / "vit")
    scores["backbone"] = percent(right(model, test, preprocess))
    print(f"backbone: {scores['backbone']:.2f}% on {len(test)} test images", flush=True)
    if is_first_process():
        write_vit(model, preprocess, recipe, scores, len(test), out / "final")
    return scores["backbone"]


def labelled(
    recipe: BackboneRecipe | TunedRecipe,
    split: str,
    preprocess: Preprocess,
    labels: dict[int, str] | None = None,
) -> Images:
    """A split of the recipe's pictures, all of which have a label: of `labels`, or else the data's
    own. Classes that it lacks are warned of.
    """
    data = Images(
        recipe.data, split, preprocess, recipe.limit, recipe.schedule.seed, model_labels=labels
    )
    if min(data.labels) < 0:
        raise ValueError(f"the pictures of {recipe.data!r} have no labels")
    warn_of_lacking(data.labels, labels or dict(enumerate(data.label_names)), f"split {split!r}")
    return data


def kind_of(values: dict[str, object]) -> type[BackboneRecipe] | type[TunedRecipe]:
    """Which of the two recipes a file's values are."""
    return TunedRecipe if "start" in values else BackboneRecipe


if __name__ == "__main__":
    sys.exit(run_command(kind_of, run, __doc__))
