"""recipe -> the model, the pictures of each client and those that rounds are scored on."""

from __future__ import annotations

from pathlib import Path

import torch

from codec.device.preprocess import Preprocess
from training.data.images import Images
from training.rounds.loop import Federation
from training.rounds.network import SmallNet
from training.rounds.partition import share_out, write_partition
from training.rounds.recipe import FederatedRecipe
from training.rounds.weights import weights_of


def open_federation(recipe: FederatedRecipe, out: Path | None = None) -> Federation:
    """What learning together needs; who holds which pictures is written to `out/partition.json`.

    Raises:
        ValueError: no such data or split, pictures without labels, or too few for the clients.
    """
    preprocess = _preprocess(recipe)
    data = Images(recipe.data, recipe.train_split, preprocess, recipe.limit, recipe.seed)
    if min(data.labels) < 0:
        raise ValueError(f"the pictures of {recipe.data!r} have no labels")
    labels = dict(enumerate(data.label_names))
    validation = Images(
        recipe.data, recipe.validation_split, preprocess, recipe.limit, model_labels=labels
    )
    shares = share_out(data.labels, recipe.clients.n, recipe.partition)
    if out is not None:
        write_partition(shares, data.labels, recipe.partition, out / "partition.json")
    torch.manual_seed(recipe.seed)
    model = SmallNet(recipe.widths, len(labels), recipe.image_size)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Federation(model, weights_of(model), data, shares, validation, recipe)


def open_test(recipe: FederatedRecipe) -> Images:
    """The pictures that the end is scored on."""
    train = Images(recipe.data, recipe.train_split, _preprocess(recipe), 1)
    labels = dict(enumerate(train.label_names))
    return Images(
        recipe.data, recipe.test_split, _preprocess(recipe), recipe.limit, model_labels=labels
    )


def _preprocess(recipe: FederatedRecipe) -> Preprocess:
    return Preprocess.from_dict({"size": recipe.image_size, "mean": recipe.mean, "std": recipe.std})
