"""recipe -> the model, the pictures of each client and those that rounds are scored on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.backbone import load_backbone
from codec.model.checkpoint import find_backbone
from training.data.images import Images
from training.rounds.loop import Federation
from training.rounds.network import SmallNet
from training.rounds.partition import share_out, write_partition
from training.rounds.recipe import FederatedRecipe
from training.rounds.weights import weights_of


def open_federation(recipe: FederatedRecipe, out: Path | None = None) -> Federation:
    """What learning together needs; who holds which pictures is written to `out/partition.json`.

    Raises:
        ValueError: no such data or split, pictures without labels or with others than the model's,
            or too few for the clients.
    """
    started = None if recipe.start is None else _classifier(recipe.start)
    known: Mapping[int, str] | None = started.config.id2label if started is not None else None
    data = _images(recipe, recipe.train_split, known)
    if min(data.labels) < 0:
        raise ValueError(f"the pictures of {recipe.data!r} have no labels")
    labels = known or dict(enumerate(data.label_names))
    shares = share_out(data.labels, recipe.clients.n, recipe.partition)
    if out is not None:
        write_partition(shares, data.labels, recipe.partition, out / "partition.json")
    torch.manual_seed(recipe.seed)
    model: nn.Module = started or SmallNet(recipe.widths, len(labels), recipe.image_size)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    validation = _images(recipe, recipe.validation_split, labels)
    return Federation(model, weights_of(model), data, shares, validation, labels, recipe)


def open_test(federation: Federation) -> Images:
    """The pictures that the end is scored on."""
    return _images(federation.recipe, federation.recipe.test_split, federation.labels)


def _classifier(start: str) -> Any:
    """A classifier of `transformers` whose parameters all learn.

    Raises:
        ValueError: it has no labels.
    """
    model: Any = load_backbone(start, Path())
    if not getattr(model.config, "id2label", None):
        raise ValueError(f"start: {start!r} is no classifier")
    return model.requires_grad_(True)


def _images(recipe: FederatedRecipe, split: str, labels: Mapping[int, str] | None) -> Images:
    if recipe.start is None:
        said = {"size": recipe.image_size, "mean": recipe.mean, "std": recipe.std}
        preprocess = Preprocess.from_dict(said)
    else:
        preprocess = Preprocess.from_processor(Path(find_backbone(recipe.start, Path())))
    return Images(recipe.data, split, preprocess, recipe.limit, recipe.seed, labels)
