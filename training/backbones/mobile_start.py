"""a pretrained mobile network -> the weights that a mobile encoder starts from."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from training.backbones.mobile_file import read_mobile


@torch.no_grad()
def start_mobile(layers: Any, reference: str, preprocess: Preprocess) -> None:
    """Give a mobile encoder's stages the weights of a pretrained EfficientNet-Lite or MobileNetV2.

    Its convolutions are taken in their order, each with the batch normalisation behind it folded
    in. The first one takes over the difference between the network's normalisation of pixels and
    the backbone's; at the border, where zeros are padded, a difference of one pixel remains.

    Args:
        layers: of `mobile_layers`.
        reference: as `read_mobile`, such as `timm/tf_efficientnet_lite0.in1k`.
        preprocess: of the backbone's pictures.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: as `read_mobile`, or its convolutions have other shapes.
    """
    pairs, *pixels = read_mobile(reference)
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
    # a pixel p is (p - its_mean) / its_std there, and x = (p - mean) / std here
    its_mean, its_std = (torch.tensor(value) for value in pixels)
    mean, std = torch.tensor(preprocess.mean), torch.tensor(preprocess.std)
    first.bias += first.weight.sum((2, 3)) @ ((mean - its_mean) / its_std)
    first.weight *= (std / its_std)[None, :, None, None]
