"""image or tokens -> vision states: where each family of transformers keeps its vision tower, and
what of it training may set.

One of the files that know the insides of `transformers`, with `split`, `split_names` and
`split_text`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from codec.model.split_names import old_query_and_key

FAMILIES = ("vit", "deit", "dinov2", "dinov2_with_registers", "blip_vision_model")
"""What the towers that are taken are called in transformers. Others look alike, and add something
at each block, merge tokens, or have layers before their first block.
"""
INTERPOLATING = ("dinov2", "dinov2_with_registers")
"""Of these, the ones that take pictures of any size: they fit their positions to it."""


def vision_states(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """The last states (B, N, D) of a model's vision tower.

    Args:
        model: a model that `split` takes, its tail, or the tower itself.
        inputs: pixel values (B, 3, S, S); for a tail tokens (B, N, D).
    """
    states: torch.Tensor = vision_tower(model)(pixel_values=inputs).last_hidden_state
    return states


def set_attention(model: Any, implementation: str) -> None:
    """Choose how a model computes attention, where it has a choice; BLIP has none."""
    if model._supports_sdpa:
        model.set_attn_implementation(implementation)


def position_embeddings(model: nn.Module) -> torch.Tensor:
    """What a ViT adds to its tokens by their place: (1, N, D), the model's own parameter."""
    found: torch.Tensor = vision_tower(model).embeddings.position_embeddings
    return found


def patch_weights(model: nn.Module) -> torch.Tensor:
    """What a ViT makes tokens of patches with: (D, 3, p, p), the model's own parameter."""
    found: torch.Tensor = vision_tower(model).embeddings.patch_embeddings.projection.weight
    return found


def query_and_key(block: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The query and key projections of a ViT's block, (D, D) each, head by head along the first
    axis: the model's own parameters.
    """
    query, key = old_query_and_key(block) or (block.attention.q_proj, block.attention.k_proj)
    return query.weight, key.weight


def vision_tower(model: nn.Module) -> Any:
    """The vision tower inside a task model, or the model itself where it is one."""
    name = tower_name(model)
    return model._modules[name] if name else model


def tower_name(model: nn.Module) -> str:
    """The name a task model has its vision tower under (`vision_model`, `vit`, `deit`, `dinov2`),
    "" where the model is the tower.
    """
    for name in ("vision_model", getattr(model, "base_model_prefix", "")):
        if _is_tower(model._modules.get(name)):
            return name
    if _is_tower(model):
        return ""
    raise ValueError(
        f"cannot split {type(model).__name__}: expected a ViT, DeiT, DINOv2 or BLIP model of "
        "transformers"
    )


def _is_tower(module: Any) -> bool:
    if is_blip(module):
        return True
    if _model_type(module) not in FAMILIES:
        return False
    owner = (
        module._modules.get("encoder", module)
        if hasattr(getattr(module, "embeddings", None), "patch_embeddings")
        else None
    )
    return owner is not None and bool(layer_name(owner))


def is_blip(module: Any) -> bool:
    """Whether a module is BLIP's vision tower."""
    return _model_type(module) == "blip_vision_model"


def _model_type(module: Any) -> Any:
    return getattr(getattr(module, "config", None), "model_type", None)


def patch_grid(tower: Any, size: int | None) -> tuple[int, int]:
    """Rows and columns of a tower's patch tokens, for pictures of `size` x `size` pixels; None for
    those of its configuration.

    Raises:
        ValueError: it takes pictures of another size, or without three colours.
    """
    config = tower.config
    height, width = _pair(config.image_size)
    if getattr(config, "num_channels", 3) != 3:
        raise ValueError(
            f"{type(tower).__name__} takes pictures of {config.num_channels} channels, not 3"
        )
    if size is not None and (height, width) != (size, size):
        if config.model_type not in INTERPOLATING:
            raise ValueError(
                f"{type(tower).__name__} takes pictures of {height} x {width} pixels, and its "
                f"image processor makes {size} x {size}"
            )
        height = width = size
    rows, columns = _pair(config.patch_size)
    return height // rows, width // columns


def n_special_tokens(tower: Any) -> int:
    """How many tokens a tower puts before those of the patches: CLS, distillation, registers."""
    embeddings = tower.embeddings
    if is_blip(tower):
        return int(embeddings.position_embedding.shape[1] - embeddings.num_patches)
    registers = getattr(embeddings, "register_tokens", None)  # which have no position
    n_placed = embeddings.position_embeddings.shape[1] - embeddings.patch_embeddings.num_patches
    return int(n_placed + (0 if registers is None else registers.shape[1]))


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def tower_shape(tower: Any) -> tuple[Any, ...]:
    """What of a tower's function its weights do not show."""
    config = tower.config
    return type(tower), config.num_attention_heads, config.hidden_act, config.layer_norm_eps


def layer_name(owner: nn.Module) -> str:
    """What a module calls its blocks: `layers` (ViT, DeiT, BLIP's encoder) or `layer` (DINOv2's
    encoder).
    """
    return next(
        (n for n in ("layers", "layer") if isinstance(owner._modules.get(n), nn.ModuleList)), ""
    )
