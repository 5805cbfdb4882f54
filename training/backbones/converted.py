"""the vision tower of a DINOv2 -> the same function as BLIP's vision tower, weight by weight.

The two differ in how they write it down. DINOv2 scales what attention and perceptron add to a token
channel by channel (LayerScale, Touvron et al. 2021, arXiv 2103.17239, eq. 3): as the last step of
both is a linear map, the scales go into its weights. Query, key and value are one map in BLIP.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import BlipVisionConfig, BlipVisionModel, PreTrainedModel

from codec.model.split_names import named_weights
from codec.model.split_tower import vision_tower

EMBEDDINGS = {
    "embeddings.class_embedding": "embeddings.cls_token",
    "embeddings.position_embedding": "embeddings.position_embeddings",
    "embeddings.patch_embedding.weight": "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embedding.bias": "embeddings.patch_embeddings.projection.bias",
    "post_layernorm.weight": "layernorm.weight",
    "post_layernorm.bias": "layernorm.bias",
}
"""BLIP's name of what is no block's -> DINOv2's."""


@torch.no_grad()
def converted(model: PreTrainedModel) -> BlipVisionModel:
    """A BLIP vision tower whose tokens, before the first block and behind each one, are those of a
    DINOv2; it takes pictures of the size in that one's configuration.

    Raises:
        ValueError: the model is none, or has gated perceptrons, which BLIP has not.
    """
    tower = vision_tower(model)
    config: Any = tower.config
    if config.model_type != "dinov2" or config.use_swiglu_ffn:
        what = "gated perceptrons" if config.model_type == "dinov2" else f"type {config.model_type}"
        raise ValueError(
            f"only a DINOv2 with plain perceptrons becomes a BLIP's tower, not one of {what}"
        )
    make_config: Any = BlipVisionConfig
    made = BlipVisionModel(
        make_config(
            hidden_size=config.hidden_size,
            intermediate_size=int(config.hidden_size * config.mlp_ratio),
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            image_size=config.image_size,
            patch_size=config.patch_size,
            hidden_act=config.hidden_act,
            layer_norm_eps=config.layer_norm_eps,
        )
    )
    found = named_weights(tower)
    weights = {name: found[own] for name, own in EMBEDDINGS.items()}
    for i in range(config.num_hidden_layers):
        block = _block({name: found.get(f"encoder.layer.{i}.{name}") for name in _block_names()})
        weights |= {f"encoder.layers.{i}.{name}": tensor for name, tensor in block.items()}
    made.load_state_dict(weights)
    return made.eval()


def _block_names() -> list[str]:
    """DINOv2's names of the weights of a block."""
    maps = ["norm1", "norm2", "mlp.fc1", "mlp.fc2", *(f"attention.{p}_proj" for p in "qkvo")]
    scales = ["layer_scale1.lambda1", "layer_scale2.lambda1"]
    return [f"{name}.{kind}" for name in maps for kind in ("weight", "bias")] + scales


def _block(own: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of a block of DINOv2, None for a bias that it has not -> those of BLIP's."""
    parts = [own[f"attention.{part}_proj.weight"] for part in "qkv"]
    shifts = [own[f"attention.{part}_proj.bias"] for part in "qkv"]
    block = {
        "self_attn.qkv.weight": torch.cat(parts),
        "self_attn.qkv.bias": torch.cat(
            [
                part.new_zeros(len(part)) if shift is None else shift
                for part, shift in zip(parts, shifts, strict=True)
            ]
        ),
    }
    for kind in ("weight", "bias"):
        block[f"layer_norm1.{kind}"] = own[f"norm1.{kind}"]
        block[f"layer_norm2.{kind}"] = own[f"norm2.{kind}"]
        block[f"mlp.fc1.{kind}"] = own[f"mlp.fc1.{kind}"]
    for name, last, scale in (
        ("self_attn.projection", "attention.o_proj", own["layer_scale1.lambda1"]),
        ("mlp.fc2", "mlp.fc2", own["layer_scale2.lambda1"]),
    ):
        block[f"{name}.weight"] = scale[:, None] * own[f"{last}.weight"]
        block[f"{name}.bias"] = scale * own[f"{last}.bias"]
    return block
