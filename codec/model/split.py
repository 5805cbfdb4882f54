"""image -> tokens | tokens -> answer: cuts a Hugging Face vision model into a head and a tail after
any block.

Only this file and those beside it, `split_tower`, `split_text` and `split_names`, know the insides
of `transformers`. Nothing is copied: head and tail share the parameters of the model they were cut
from, and `tail(head(x)).logits` equals `model(x).logits` bit for bit.

A task model holds a vision tower, or is one: embeddings, blocks, a norm. The cut is in the tower;
what a model has beside it (a classifier, BLIP's text encoder and decoder) is the tail's as it is.
Families differ in where the tower and its blocks are (`split_tower`), and in nothing else.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from codec.model.split_tower import (
    layer_name,
    n_special_tokens,
    patch_grid,
    tower_name,
    tower_shape,
    vision_tower,
)


class Split(NamedTuple):
    """The two parts of a backbone: `head` (device, image -> tokens) and `tail` (server, tokens ->
    answer).
    """

    head: Head
    tail: nn.Module


class TokenGrid(NamedTuple):
    """Shape of the tokens at the cut: `n_prefix` special tokens, then a `side` x `side` grid, each
    `width` wide.
    """

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
            tokens = layer(tokens)
        return tokens


class _PassThrough(nn.Module):
    """Stands where the embeddings stood: the tokens go through, in the dtype the embeddings would
    have given them.

    ViT and DeiT ask `embeddings.patch_embeddings.projection.weight` for the dtype they cast their
    input to; an empty buffer in that place answers for the tail and follows its `.to()`.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        projection = nn.Module()
        projection.register_buffer("weight", torch.empty(0, dtype=dtype), persistent=False)
        self.patch_embeddings: Any = nn.Module()
        self.patch_embeddings.projection = projection

    def forward(self, tokens: torch.Tensor, **_: Any) -> torch.Tensor:
        dtype: torch.dtype = self.patch_embeddings.projection.weight.dtype
        return tokens.to(dtype)


def split(model: nn.Module, k: int) -> Split:
    """Cut `model` after block `k` of its vision tower: `head, tail = split(model, k)`.

    Args:
        model: a ViT, DeiT or DINOv2 model of `transformers`, plain (`ViTModel`) or
            `...ForImageClassification`; or a BLIP model: `BlipForConditionalGeneration`,
            `BlipForQuestionAnswering`, `BlipForImageTextRetrieval`, `BlipModel`, `BlipVisionModel`.
        k: number of blocks the head keeps, 0 (embeddings only) to L (all of them).

    Returns:
        `Split(head, tail)`. `head(pixel_values)` gives tokens (B, N, D); `tail(tokens)` takes them
        in place of the
        pixels and otherwise is the model: same class, same methods (`generate`), same outputs, same
        keyword arguments; also by name, `pixel_values=tokens`. Parameters are shared.

    Raises:
        ValueError: `model` is of another family, or `k` is not an integer in 0 ... L.
    """
    name = tower_name(model)
    tower = vision_tower(model)
    layers = blocks(model)
    if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k <= len(layers):
        raise ValueError(
            f"cut k={k!r} is not an integer in 0..{len(layers)} (the model has {len(layers)} "
            "blocks)"
        )
    _install_hooks(tower)
    head = Head(tower.embeddings, layers[:k])
    tail_tower = _shallow_copy(tower)
    tail_tower._modules["embeddings"] = _PassThrough(next(tower.parameters()).dtype)
    if "encoder" in tower._modules:
        encoder = _shallow_copy(tower._modules["encoder"])
        encoder._modules[layer_name(encoder)] = layers[k:]
        tail_tower._modules["encoder"] = encoder
    else:
        tail_tower._modules[layer_name(tower)] = layers[k:]
    if not name:
        return Split(head, tail_tower)
    tail = _shallow_copy(model)
    tail._modules[name] = tail_tower
    return Split(head, tail)


def blocks(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks of the vision tower of a model that `split` takes; of a tail, those
    behind the cut.
    """
    tower = vision_tower(model)
    owner = tower._modules.get("encoder", tower)
    found: nn.ModuleList = owner._modules[layer_name(owner)]
    return found


def n_blocks(model: nn.Module) -> int:
    """Number of transformer blocks L of a model that `split` takes."""
    return len(blocks(model))


def token_grid(model: nn.Module, size: int | None = None) -> TokenGrid:
    """Shape of the tokens of a model that `split` takes.

    Args:
        size: side in pixels of the pictures, as the image processor makes them; None for that of
            the model's configuration.

    Raises:
        ValueError: the model is of another family, its tokens do not form a square, or it does not
            take pictures of that size, or no coloured ones.
    """
    tower = vision_tower(model)
    rows, columns = patch_grid(tower, size)
    if rows != columns:
        raise ValueError(
            f"the {rows} x {columns} patch tokens of {type(model).__name__} do not form a square"
        )
    return TokenGrid(n_special_tokens(tower), rows, tower.config.hidden_size)


def share_tower(models: Sequence[nn.Module]) -> None:
    """Give all task models the vision tower of the first: one object, so that tokens of one are
    tokens of all, and a change in it too.

    Raises:
        ValueError: a model is of another family, or its tower is not that of the first, weight for
            weight.
    """
    first = vision_tower(models[0])
    weights, shape = first.state_dict(), tower_shape(first)
    for model in models[1:]:
        own = vision_tower(model).state_dict()
        if (
            tower_shape(vision_tower(model)) != shape
            or set(own) != set(weights)
            or not all(torch.equal(own[key], weights[key]) for key in weights)
        ):
            raise ValueError(
                f"{type(models[0]).__name__} and {type(model).__name__} do not share one vision "
                "tower: theirs differ"
            )
        model._modules[tower_name(model)] = first


def _install_hooks(tower: nn.Module) -> None:
    """Let transformers install the hooks behind `output_hidden_states` now: model and tail share
    layers, and would each install them.
    """
    try:
        from transformers.utils.output_capturing import maybe_install_capturing_hooks
    except ImportError:  # before 5.2 there were none
        return
    maybe_install_capturing_hooks(tower)  # type: ignore[arg-type]
    for module in tower.modules():
        for key, hook in module._forward_hooks.items():
            if hook.__module__ == maybe_install_capturing_hooks.__module__:
                module._forward_hooks[key] = _CapturingHook(hook)


class _CapturingHook:
    """A hook of transformers that can be pickled. It is a function inside a function there: what
    that was called with is stored, and it is called again.
    """

    def __init__(self, hook: Any) -> None:
        self.hook = hook

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        return self.hook(module, args, output)

    def __reduce__(self) -> Any:
        outer = self.hook.__qualname__.split(".")[0]  # spelled differently by version
        variables = inspect.getclosurevars(self.hook).nonlocals
        asked = inspect.signature(_installing(outer)).parameters
        return _made_again, (outer, {name: variables[name] for name in asked if name in variables})


def _made_again(outer: str, variables: dict[str, Any]) -> _CapturingHook:
    """The hook that the function `outer` installs, called with what it was called with: which
    parameters it has depends on the version.
    """
    holder = nn.Module()
    _installing(outer)(holder, **variables)
    return _CapturingHook(next(iter(holder._forward_hooks.values())))


def _installing(outer: str) -> Any:
    from transformers.utils import output_capturing

    return getattr(output_capturing, outer)


def _shallow_copy(module: nn.Module) -> nn.Module:
    """A module that shares all parameters and children, whose children can be replaced one by
    one.
    """
    clone = copy.copy(module)
    clone._modules = dict(module._modules)
    return clone
