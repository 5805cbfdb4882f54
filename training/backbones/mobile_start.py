"""a pretrained mobile network -> the weights that a mobile encoder starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from training.backbones.mobile_file import read_mobile


@torch.no_grad()
def start_mobile(layers: Any, reference: str, preprocess: Preprocess) -> None:
    """Give a mobile encoder's stages the weights of a pretrained EfficientNet-Lite or MobileNetV2.

    Each stage takes the first of the blocks that the network has in its place, which may be more;
    each convolution has the batch normalisation behind it folded in. The first one takes over the
    difference between the network's normalisation of pixels and the backbone's; at the border,
    where zeros are padded, a difference of one pixel remains.

    Args:
        layers: of `mobile_layers`.
        reference: as `read_mobile`, such as `timm/tf_efficientnet_lite0.in1k`.
        preprocess: of the backbone's pictures.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: as `read_mobile`, or it has fewer stages or blocks, or other shapes; or two
            stages of one width follow each other, which cannot be told apart, and have fewer.
    """
    pairs, *pixels = read_mobile(reference)
    own = [part for part in layers.modules() if isinstance(part, nn.Conv2d)]
    theirs, mine = (
        places(weights) for weights in ([w for w, _ in pairs], [part.weight for part in own])
    )
    for stage in {stage for (stage, block, _), i in mine.items() if block and own[i].stride[0] > 1}:
        if {p for p in mine if p[0] == stage} != {p for p in theirs if p[0] == stage}:
            raise ValueError(
                "two stages of the encoder that follow each other have one width: such stages have "
                f"all the blocks that {reference} has there"
            )
    for place, i in mine.items():
        if place not in theirs:
            stage, block, _ = place
            raise ValueError(f"{reference} has no block {block} in stage {stage}; the encoder has")
        part, (weight, bias) = own[i], pairs[theirs[place]]
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


def places(weights: Sequence[torch.Tensor]) -> dict[tuple[int, int, int], int]:
    """Of the weights of a mobile network's convolutions, in its order: stage, block in the stage
    and place in the block -> which of them it is.

    A block ends behind the convolution that follows a depthwise one, the first block is the stem,
    and blocks of one width that follow each other are a stage.
    """
    blocks: list[list[int]] = []
    for i in range(len(weights)):
        if i < 2 or weights[i - 2].shape[1] == 1:
            blocks.append([])
        blocks[-1].append(i)
    found: dict[tuple[int, int, int], int] = {}
    stage, block, width = -1, 0, 0
    for convolutions in blocks:
        out = len(weights[convolutions[-1]])
        stage, block = (stage, block + 1) if out == width else (stage + 1, 0)
        width = out
        found |= {(stage, block, place): i for place, i in enumerate(convolutions)}
    return found
