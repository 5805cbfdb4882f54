"""BLIP models with one vision tower -> folders of which each loads by itself; the weights of the
tower lie once.

Weights in several files, as transformers reads them: one has the tower, one all else, and an index
says which weight is where. In all folders but the first the tower's file is a link to the first's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

ALL, INDEX = "model.safetensors", "model.safetensors.index.json"
TOWER, REST = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
PREFIX = "vision_model."
"""Of the names of the tower's weights, in every class of BLIP."""


def save_apart(models: dict[Path, Any]) -> None:
    """Save models in folders beside each other.

    Args:
        models: by folder; their towers hold the same weights.

    Raises:
        ValueError: they do not.
    """
    first: dict[str, torch.Tensor] = {}
    owner = next(iter(models))
    for folder, model in models.items():
        model.save_pretrained(folder)
        weights = load_file(folder / ALL)
        tower = {name: w for name, w in weights.items() if name.startswith(PREFIX)}
        rest = {name: w for name, w in weights.items() if name not in tower}
        if folder == owner:
            first = tower
            save_file(tower, folder / TOWER, {"format": "pt"})
        elif not _same(tower, first):
            raise ValueError(f"the vision tower of {folder.name} is not that of {owner.name}")
        else:
            (folder / TOWER).unlink(missing_ok=True)
            (folder / TOWER).symlink_to(Path("..") / owner.name / TOWER)
        save_file(rest, folder / REST, {"format": "pt"})
        places = dict.fromkeys(tower, TOWER) | dict.fromkeys(rest, REST)
        size = sum(w.nbytes for w in weights.values())
        index = {"metadata": {"total_size": size}, "weight_map": places}
        (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
        (folder / ALL).unlink()


def _same(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(
        torch.equal(w, others[name]) for name, w in some.items()
    )
