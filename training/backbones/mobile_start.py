"""a pretrained mobile network -> the weights that a mobile encoder starts from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codec.device.preprocess import Preprocess

EPSILON = 1e-3
"""Of the batch normalisations of networks that come from TensorFlow."""
MEAN = STD = 0.5
"""Of the pixels, from 0 to 1, that these networks take."""
NORM = ("weight", "bias", "running_mean", "running_var")
BLOCK = re.compile(r"blocks\.\d+\.\d+\.|_blocks\.\d+\.")


@torch.no_grad()
def start_mobile(layers: Any, reference: str, preprocess: Preprocess) -> None:
    """Give a mobile encoder's stages the weights of a pretrained EfficientNet-Lite, or of another
    network of the same blocks.

    Its convolutions are taken in their order, each with the batch normalisation behind it folded
    in: y = (W x - mean) * gamma / sqrt(var + eps) + beta. The first one takes over the difference
    between the network's normalisation of pixels and the backbone's; at the border, where zeros
    are padded, a difference of one pixel remains.

    Args:
        layers: of `mobile_layers`.
        reference: a file of weights, `.safetensors` or PyTorch's; a folder with one; or the id of a
            timm model on the hub, such as `timm/tf_efficientnet_lite0.in1k`.
        preprocess: of the backbone's pictures.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: its convolutions have other shapes.
    """
    pairs = _folded(_weights(reference))
    own = [part for part in layers.modules() if isinstance(part, nn.Conv2d)]
    if len(pairs) < len(own):
        raise ValueError(f"{reference} has {len(pairs)} convolutions; the encoder has {len(own)}")
    for part, (weight, bias) in zip(own, pairs, strict=False):
        if part.weight.shape != weight.shape:
            raise ValueError(
                f"a convolution of {reference} has shape {tuple(weight.shape)}; in its place the "
                f"encoder has {tuple(part.weight.shape)}"
            )
        part.weight.copy_(weight)
        assert part.bias is not None
        part.bias.copy_(bias)
    first = own[0]
    assert first.bias is not None
    # a pixel p is (p - MEAN) / STD there, and x = (p - mean) / std here
    mean, std = torch.tensor(preprocess.mean), torch.tensor(preprocess.std)
    first.bias += first.weight.sum((2, 3)) @ ((mean - MEAN) / STD)
    first.weight *= (std / STD)[None, :, None, None]


def _folded(weights: dict[str, torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each convolution (weight, bias) in the order of the network, with its normalisation in it."""
    pairs = []
    for conv, norm in _pairs(weights):
        weight = weights[f"{conv}.weight"].float()
        gamma, beta, mean, var = (weights[f"{norm}.{part}"].float() for part in NORM)
        factor = gamma / (var + EPSILON).sqrt()
        pairs.append((weight * factor[:, None, None, None], beta - mean * factor))
    return pairs


def _pairs(weights: dict[str, torch.Tensor]) -> Iterator[tuple[str, str]]:
    """Names of the convolutions, and of the normalisation behind each: timm's, or those of the
    package `efficientnet-lite-pytorch`.
    """
    timm = "conv_stem.weight" in weights
    yield ("conv_stem", "bn1") if timm else ("_conv_stem", "_bn0")
    found = {match[0] for name in weights if (match := BLOCK.match(name))}
    for block in sorted(found, key=lambda name: [int(n) for n in re.findall(r"\d+", name)]):
        if not timm:
            parts: list[tuple[str, str]] = [
                ("_expand_conv", "_bn0"),
                ("_depthwise_conv", "_bn1"),
                ("_project_conv", "_bn2"),
            ]
        elif f"{block}conv_pwl.weight" in weights:
            parts = [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
        else:
            parts = [("conv_dw", "bn1"), ("conv_pw", "bn2")]
        for conv, norm in parts:
            if f"{block}{conv}.weight" in weights:  # a block that does not expand has no such part
                yield block + conv, block + norm
    head = ("conv_head", "bn2") if timm else ("_conv_head", "_bn1")
    if f"{head[0]}.weight" in weights:
        yield head


def _weights(reference: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    place = Path(reference)
    if place.is_dir():
        place = place / "model.safetensors"
    elif not place.is_file():
        from huggingface_hub import hf_hub_download

        try:
            place = Path(hf_hub_download(reference, "model.safetensors"))
        except Exception as error:  # the hub's library has many, httpx's too
            raise FileNotFoundError(f"no mobile network {reference!r}: {error}") from error
    if place.suffix == ".safetensors":
        return load_file(place)
    loaded: dict[str, torch.Tensor] = torch.load(place, map_location="cpu", weights_only=True)
    return loaded
