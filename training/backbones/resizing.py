"""a pretrained ViT -> the same for pictures or patches of another size."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from codec.model.split_tower import n_special_tokens, patch_weights, position_embeddings


@torch.no_grad()
def resized(model: PreTrainedModel, image_size: int, patch_size: int) -> PreTrainedModel:
    """A model of the same class for square pictures of `image_size` pixels, cut into patches of
    `patch_size`; the same one where it is of these sizes.

    Positions are interpolated (bicubic), as DINOv2 does for pictures of other sizes. The kernel
    of the patches is resized by the pseudo-inverse, so that a resized patch gives the token that
    the patch gave (FlexiViT, Beyer et al. 2023, arXiv 2212.08013, sec. 3.4).

    Raises:
        ValueError: patches of that size do not make up a picture.
    """
    if image_size % patch_size:
        raise ValueError(f"patches of {patch_size} pixels do not make up {image_size} pixels")
    config: Any = copy.deepcopy(model.config)
    if (config.image_size, config.patch_size) == (image_size, patch_size):
        return model
    config.image_size, config.patch_size = image_size, patch_size
    made: PreTrainedModel = type(model)(config)
    sizes = {name: p.shape for name, p in made.named_parameters()}
    weights = model.state_dict()
    place = {id(p): name for name, p in model.named_parameters()}
    positions, kernel = position_embeddings(model), patch_weights(model)
    n_special = n_special_tokens(model.base_model) - _registers(model)
    weights[place[id(positions)]] = _placed(
        positions, n_special, sizes[place[id(positions)]][1] - n_special
    )
    weights[place[id(kernel)]] = _resized_kernel(kernel, patch_size)
    made.load_state_dict(weights)
    return made.eval()


def _registers(model: Any) -> int:
    """Special tokens that have no position."""
    return int(getattr(model.config, "num_register_tokens", 0))


def _placed(positions: torch.Tensor, n_special: int, n_patches: int) -> torch.Tensor:
    """(1, n_special + G * G, D) -> (1, n_special + n_patches, D)."""
    special, grid = positions[:, :n_special], positions[:, n_special:]
    old, new = round(grid.shape[1] ** 0.5), round(n_patches**0.5)
    square = grid.transpose(1, 2).unflatten(2, (old, old))
    square = F.interpolate(square, size=(new, new), mode="bicubic", align_corners=False)
    return torch.cat([special, square.flatten(2).transpose(1, 2)], dim=1)


def _resized_kernel(kernel: torch.Tensor, side: int) -> torch.Tensor:
    """(D, 3, p, p) -> (D, 3, side, side), whose product with a patch resized to `side` is that of
    the kernel with the patch.
    """
    old = kernel.shape[-1]
    unit = torch.eye(old * old).view(old * old, 1, old, old)
    resize = F.interpolate(unit, size=(side, side), mode="bilinear", align_corners=False)
    matrix = resize.flatten(1)  # (p * p, side * side): a patch as a row, times it, is resized
    inverse = torch.linalg.pinv(matrix)  # (side * side, p * p)
    return (kernel.flatten(2) @ inverse.T).unflatten(2, (side, side))
