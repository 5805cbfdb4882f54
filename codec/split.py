"""image -> tokens | tokens -> answer: cuts a Hugging Face vision model into a head and a tail after any block.

This is the only file that knows the insides of `transformers`. Nothing is copied: head and tail share the parameters
of the model they were cut from, and `tail(head(x)).logits` equals `model(x).logits` bit for bit.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import nn


class Split(NamedTuple):
    """The two parts of a backbone: `head` (device, image -> tokens) and `tail` (server, tokens -> answer)."""

    head: Head
    tail: nn.Module


class TokenGrid(NamedTuple):
    """Shape of the tokens at the cut: `n_prefix` special tokens, then a `side` x `side` grid, each `width` wide."""

    n_prefix: int
    side: int
    width: int

    @property
    def n_tokens(self) -> int:
        return self.n_prefix + self.side * self.side


class Head(nn.Module):
    """Embeddings and the first k blocks: `pixel_values` (B, 3, H, W) -> tokens (B, N, D)."""

    def __init__(self, embeddings: nn.Module, layers: nn.ModuleList) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.layers = layers

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.embeddings(pixel_values)
        for layer in self.layers:
            tokens = layer(tokens, None)
        return tokens


class _PassThrough(nn.Module):
    """Stands where the embeddings stood: the tokens go through untouched.

    ViT and DeiT ask `embeddings.patch_embeddings.projection.weight` for the dtype they cast their input to; an empty
    buffer in that place answers for the tail and follows its `.to()`.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        projection = nn.Module()
        projection.register_buffer("weight", torch.empty(0, dtype=dtype), persistent=False)
        self.patch_embeddings = nn.Module()
        self.patch_embeddings.projection = projection

    def forward(self, tokens: torch.Tensor, **_: Any) -> torch.Tensor:
        return tokens


def split(model: nn.Module, k: int) -> Split:
    """Cut `model` after block `k`: `head, tail = split(model, k)`.

    Args:
        model: a ViT, DeiT or DINOv2 model of `transformers`, plain (`ViTModel`) or `...ForImageClassification`.
        k: number of blocks the head keeps, 0 (embeddings only) to L (all of them).

    Returns:
        `Split(head, tail)`. `head(pixel_values)` gives tokens (B, N, D); `tail(tokens)` takes them in place of the
        pixels and otherwise is the model: same class, same outputs, same keyword arguments. Parameters are shared.

    Raises:
        ValueError: `model` is of another family, or `k` is not an integer in 0 ... L.
    """
    base = _base(model)
    layers = _layers(base)
    if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k <= len(layers):
        raise ValueError(f"cut k={k!r} is not an integer in 0..{len(layers)} (the model has {len(layers)} blocks)")
    _install_hooks(base)
    head = Head(base.embeddings, layers[:k])
    tail_base = _shallow_copy(base)
    tail_base._modules["embeddings"] = _PassThrough(next(base.parameters()).dtype)
    if "encoder" in base._modules:
        encoder = _shallow_copy(base._modules["encoder"])
        encoder._modules[_layer_name(encoder)] = layers[k:]
        tail_base._modules["encoder"] = encoder
    else:
        tail_base._modules[_layer_name(base)] = layers[k:]
    if base is model:
        return Split(head, tail_base)
    tail = _shallow_copy(model)
    tail._modules[model.base_model_prefix] = tail_base  # type: ignore[index]
    return Split(head, tail)


def n_blocks(model: nn.Module) -> int:
    """Number of transformer blocks L of a model that `split` takes."""
    return len(_layers(_base(model)))


def token_grid(model: nn.Module) -> TokenGrid:
    """Shape of the tokens of a model that `split` takes, for the image size of its configuration.

    Raises:
        ValueError: the model is of another family, or its tokens do not form a square.
    """
    base = _base(model)
    patches = base.embeddings.patch_embeddings.num_patches
    positions = base.embeddings.position_embeddings.shape[1]
    side = round(patches**0.5)
    if side * side != patches:
        raise ValueError(f"the {patches} patch tokens of {type(model).__name__} do not form a square")
    return TokenGrid(n_prefix=positions - patches, side=side, width=base.config.hidden_size)


def _base(model: nn.Module) -> Any:
    """The vision tower inside a task model, or the model itself where it is plain."""
    base = getattr(model, getattr(model, "base_model_prefix", "") or "-", model)
    if not hasattr(getattr(base, "embeddings", None), "patch_embeddings") or _find_layers(base) is None:
        raise ValueError(f"cannot split {type(model).__name__}: expected a ViT, DeiT or DINOv2 model of transformers")
    return base


def _layers(base: nn.Module) -> nn.ModuleList:
    layers = _find_layers(base)
    assert layers is not None
    return layers


def _find_layers(base: nn.Module) -> nn.ModuleList | None:
    """The blocks: `base.layers` (ViT, DeiT) or `base.encoder.layer` (DINOv2)."""
    owner = base._modules.get("encoder", base)
    name = _layer_name(owner) if owner is not None else ""
    return owner._modules[name] if name else None  # type: ignore[return-value,union-attr]


def _layer_name(owner: nn.Module) -> str:
    return next((n for n in ("layers", "layer") if isinstance(owner._modules.get(n), nn.ModuleList)), "")


def _install_hooks(base: nn.Module) -> None:
    """Let transformers install the hooks behind `output_hidden_states` now: model and tail share layers, and would each install them."""
    try:
        from transformers.utils.output_capturing import maybe_install_capturing_hooks
    except ImportError:  # before 5.2 there were none
        return
    maybe_install_capturing_hooks(base)  # type: ignore[arg-type]


def _shallow_copy(module: nn.Module) -> nn.Module:
    """A module that shares all parameters and children, whose children can be replaced one by one."""
    clone = copy.copy(module)
    clone._modules = dict(module._modules)
    return clone
