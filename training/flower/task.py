"""run config of Flower -> what clients and server learn with: the recipe, the pictures, the
model.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord

from training.engine.recipe import read_recipe
from training.rounds.loop import Federation
from training.rounds.opening import open_federation
from training.rounds.recipe import FederatedRecipe
from training.rounds.weights import Weights


def recipe_of(run_config: Mapping[str, Any]) -> FederatedRecipe:
    """The recipe that a run names, `recipe`, with its `overrides`, `key=value` and spaces between
    them, put over it.

    Raises:
        FileNotFoundError, ValueError: as `read_recipe`.
    """
    overrides = shlex.split(str(run_config.get("overrides", "")))
    return read_recipe(FederatedRecipe, str(run_config["recipe"]), overrides)


@functools.lru_cache(maxsize=1)
def federation_of(recipe: FederatedRecipe) -> Federation:
    """Model and pictures of a recipe, once a process."""
    return open_federation(recipe)


def to_record(weights: Weights) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(weights[name])) for name in sorted(weights)})


def from_record(record: ArrayRecord) -> Weights:
    return {name: record[name].numpy() for name in sorted(record)}
