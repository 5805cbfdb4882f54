"""recipe -> what is learned, the pictures of each client and those that rounds are scored on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from codec.device.preprocess import Preprocess
from codec.model.backbone import load_backbone
from training.data.images import Images
from training.data.processor import preprocess_of
from training.rounds.codec_learner import CodecLearner
from training.rounds.learner import Classifier, Learner
from training.rounds.loop import Federation
from training.rounds.messages import coding_of
from training.rounds.network import SmallNet
from training.rounds.partition import share_out, write_partition
from training.rounds.recipe import FederatedRecipe
from training.rounds.weights import weights_of


def open_federation(recipe: FederatedRecipe, out: Path | None = None) -> Federation:
    """What learning together needs; who holds which pictures is written to `out/partition.json`.

    Raises:
        ValueError: no such start, data or split, pictures without labels or with others than the
            model's, or too few for the clients.
    """
    for rate in (recipe.updates.rate, recipe.updates.down_rate):
        coding_of(recipe.updates, rate)  # a wrong one is said before anybody learns
    torch.set_num_threads(1)  # numbers are the same for any number of cores only with one thread
    learner = _started(recipe)
    preprocess = _small_preprocess(recipe) if learner is None else learner.preprocess
    known = None if learner is None else learner.labels
    data = _images(recipe, recipe.train_split, preprocess, known)
    if min(data.labels) < 0:
        raise ValueError(f"the pictures of {recipe.data!r} have no labels")
    shares = share_out(data.labels, recipe.clients.n, recipe.partition)
    if out is not None:
        write_partition(shares, data.labels, recipe.partition, out / "partition.json")
    if learner is None:
        torch.manual_seed(recipe.seed)
        model = SmallNet(recipe.widths, len(data.label_names), recipe.image_size)
        labels = dict(enumerate(data.label_names))
        learner = Classifier(model, preprocess, labels, recipe.local)
    learner.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    validation = _images(recipe, recipe.validation_split, preprocess, learner.labels)
    return Federation(learner, weights_of(learner.model), data, shares, validation, recipe)


def open_test(federation: Federation) -> Images:
    """The pictures that the end is scored on."""
    recipe, learner = federation.recipe, federation.learner
    return _images(recipe, recipe.test_split, learner.preprocess, learner.labels)


def _started(recipe: FederatedRecipe) -> Learner | None:
    """The codec or the classifier that goes on learning; None where a new network learns.

    Raises:
        ValueError: the start has no labels.
    """
    if recipe.codec is not None:
        return CodecLearner(recipe)
    if recipe.start is None:
        return None
    model: Any = load_backbone(recipe.start, Path())
    if not getattr(model.config, "id2label", None):
        raise ValueError(f"start: {recipe.start!r} is no classifier")
    running = [name for name, buffer in model.named_buffers() if name.endswith("running_mean")]
    if running:
        raise ValueError(
            f"start: {recipe.start!r} has running statistics ({running[0]}), which are no weights "
            "and would differ from client to client"
        )
    preprocess, labels = preprocess_of(recipe.start), model.config.id2label
    return Classifier(model.requires_grad_(True), preprocess, labels, recipe.local)


def _small_preprocess(recipe: FederatedRecipe) -> Preprocess:
    said = {"size": recipe.image_size, "mean": recipe.mean, "std": recipe.std}
    return Preprocess.from_dict(said)


def _images(
    recipe: FederatedRecipe, split: str, preprocess: Preprocess, labels: Mapping[int, str] | None
) -> Images:
    return Images(recipe.data, split, preprocess, recipe.limit, recipe.seed, labels)
