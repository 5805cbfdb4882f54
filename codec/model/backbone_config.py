"""configuration of a backbone, which may come from anyone -> whether a model may be built of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from codec.model.config import MAX_DEPTH
from codec.model.split_tower import FAMILIES

ATTENTION = (None, "eager", "sdpa")
"""How transformers may compute attention. Its other ways are code that it looks for elsewhere, on
the hub too.
"""
ADAPTER = "adapter_config.json"


def check_config(config: Any, reference: str) -> None:
    """Check what a configuration of transformers asks for, before anything is built of it.

    Args:
        reference: name of the backbone, for messages.

    Raises:
        ValueError: it is of a family that is not cut, or has too many blocks; or it asks for
            attention by other code, or for weights that are unpacked by other code.
    """
    for part in _parts(config):
        if part._attn_implementation not in ATTENTION:
            raise ValueError(
                f"backbone {reference!r} asks for the attention "
                f"{str(part._attn_implementation)[:60]!r}, which is code from elsewhere: remove "
                "attn_implementation from its config.json"
            )
        n_blocks = getattr(part, "num_hidden_layers", 0)
        if not isinstance(n_blocks, int) or not 0 <= n_blocks <= MAX_DEPTH:
            raise ValueError(
                f"num_hidden_layers of backbone {reference!r} is in 0..{MAX_DEPTH}, not "
                f"{str(n_blocks)[:60]}"
            )
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(f"backbone {reference!r} is quantised: save it in float32 or float16")
    if config.model_type not in (*FAMILIES, "blip"):
        raise ValueError(
            f"cannot split {(config.architectures or [type(config).__name__])[0]}: expected a ViT, "
            "DeiT, DINOv2 or BLIP model of transformers"
        )


def check_folder(folder: Path, kind: Any, config: Any, reference: str) -> None:
    """Check that a folder holds a model's weights itself, and as many as its configuration says: of
    a larger model, transformers makes up those that are missing, in gigabytes.

    Args:
        kind: the class of the model.

    Raises:
        ValueError: it does not.
    """
    if (folder / ADAPTER).exists():
        raise ValueError(
            f"backbone {reference!r} has an adapter ({ADAPTER}): merge it into the weights, and "
            "save the model without it"
        )
    with torch.device("meta"):
        n_weights = sum(p.numel() for p in kind(config).parameters())
    files = (*folder.glob("model*.safetensors"), folder / "pytorch_model.bin")
    n_bytes = sum(file.stat().st_size for file in files if file.is_file())
    if n_weights > n_bytes > 0:
        raise ValueError(
            f"backbone {reference!r} lacks weights: its configuration asks for {n_weights:,}, and "
            f"its files have {n_bytes:,} bytes"
        )


def _parts(config: Any) -> Iterator[Any]:
    """A configuration and those in it, of its towers."""
    yield config
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if part is not None:
            yield from _parts(part)
