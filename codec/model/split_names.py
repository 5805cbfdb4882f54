"""weights -> names: what each weight of a cut model is called in checkpoints and fingerprints,
whichever version of transformers made the model.

One of the files that know the insides of `transformers`, with `split`, `split_tower` and
`split_text`. Versions call the parts of a block differently. The names here are ours: those of 5.9
and later, and they stay whatever later versions do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

PARTS = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
"""Parts of a vision block before 5.9, and what they are called here."""


def our_names(module: nn.Module) -> dict[str, str]:
    """The name of each parameter and buffer of a module -> our name for it.

    Args:
        module: a model that `split` takes, its head or tail, or a module that holds such.
    """
    old = {
        f"{name}.": part
        for name, part in module.named_modules(remove_duplicate=False)
        if _is_old_block(part)
    }
    names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    names += [name for name, _ in module.named_buffers(remove_duplicate=False)]
    return {name: _our_name(name, old) for name in names}


def named_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A model's `state_dict`, by our names."""
    ours = our_names(model)
    return {ours[name]: tensor for name, tensor in model.state_dict().items()}


def old_query_and_key(block: Any) -> tuple[Any, Any] | None:
    """The query and key projections of a ViT's block before 5.9; None of a later one."""
    if not _is_old_block(block):
        return None
    return block.attention.attention.query, block.attention.attention.key


def _is_old_block(module: Any) -> bool:
    """Whether a module is a block of ViT, DeiT or DINOv2 as it was before 5.9: its attention has a
    part `attention`. A BLIP text layer's has `self` in that place.
    """
    parts = getattr(module, "attention", None)
    return isinstance(getattr(parts, "attention", None), nn.Module)


def _our_name(name: str, old: dict[str, nn.Module]) -> str:
    prefix = next((prefix for prefix in old if name.startswith(prefix)), None)
    if prefix is None:
        return name
    inside = name[len(prefix) :]
    part = next((part for part in PARTS if inside.startswith(f"{part}.")), None)
    if part is not None:
        inside = PARTS[part] + inside[len(part) :]
    # ViT and DeiT had their blocks in an encoder; DINOv2, whose blocks have no `intermediate`, has.
    if hasattr(old[prefix], "intermediate"):
        before, _, number = prefix.rstrip(".").rpartition(".")
        if before == "encoder.layer" or before.endswith(".encoder.layer"):
            prefix = f"{before[: -len('encoder.layer')]}layers.{number}."
    return prefix + inside
