"""file of a pretrained mobile network -> its convolutions, and how its pixels are normalised.

Makers differ in the small number that a batch normalisation adds to the variance, and in the mean
and the deviation of pixels. The names of the weights say who made a file:

| names | from | epsilon | pixels |
|---|---|---|---|
| `_conv_stem` | the package `efficientnet-lite-pytorch`, from TensorFlow | 1e-3 | 0.5, 0.5 |
| `features.0.0`, `features.1.conv` | torchvision's MobileNetV2 | 1e-5 | ImageNet's |
| `conv_stem` | timm, from TensorFlow or PyTorch: its `config.json` says which | by name | there |
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

Pair = tuple[torch.Tensor, torch.Tensor]
OF_TENSORFLOW, OF_PYTORCH = 1e-3, 1e-5
"""Epsilon of batch normalisations."""
HALF = (0.5, 0.5, 0.5)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of pixels from 0 to 1, of torchvision's networks."""
TIMM = {
    "tf_efficientnet_lite": OF_TENSORFLOW,
    "efficientnet_lite": OF_PYTORCH,
    "mobilenetv2_": OF_PYTORCH,
}
"""Epsilon by how the name of an architecture begins."""
NORM = ("weight", "bias", "running_mean", "running_var")
HEAD = re.compile(r"classifier\.|_fc\.")


class MobileFile(NamedTuple):
    """Each convolution (weight, bias) in the order of the network, with the normalisation behind it
    folded in: y = (W x - mean) * gamma / sqrt(var + epsilon) + beta. And mean and standard
    deviation of the pixels, from 0 to 1, that it takes.
    """

    pairs: list[Pair]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_mobile(reference: str) -> MobileFile:
    """Read a network of the blocks that a mobile encoder has.

    Args:
        reference: a file of weights, `.safetensors` or PyTorch's; a folder with one; or the id of a
            timm model on the hub.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it does not say how it normalises, or has other parts than a mobile encoder.
    """
    place, config = _found(reference)
    weights = _weights(place)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    if "_conv_stem.weight" in weights:
        names, epsilon, mean, std = _package(weights), OF_TENSORFLOW, HALF, HALF
    elif "features.1.conv.0.0.weight" in weights:
        names, epsilon, (mean, std) = _torchvision(weights), OF_PYTORCH, IMAGENET
    elif "conv_stem.weight" in weights:
        names, (epsilon, mean, std) = _timm(weights), _said(reference, config)
    else:
        raise ValueError(
            f"{reference} has other names than timm's, torchvision's MobileNetV2 or "
            f"efficientnet-lite-pytorch, {min(weights, default='none')!r} for instance: how it "
            "normalises is not known"
        )
    pairs, used = [], set[str]()
    for conv, norm in names:
        parts = [f"{conv}.weight", *(f"{norm}.{part}" for part in NORM)]
        if lacking := [part for part in parts if part not in weights]:
            raise ValueError(f"{reference} lacks {lacking[0]}")
        weight, gamma, beta, running, var = (weights[part].float() for part in parts)
        factor = gamma / (var + epsilon).sqrt()
        pairs.append((weight * factor[:, None, None, None], beta - running * factor))
        used |= {*parts, f"{norm}.num_batches_tracked"}
    if others := sorted(name for name in weights.keys() - used if not HEAD.match(name)):
        raise ValueError(f"{reference} has {others[0]}, and a mobile encoder has no such part")
    return MobileFile(pairs, mean, std)


def _said(
    reference: str, config: Path | None
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """Epsilon, mean and standard deviation of a network of timm's, from its `config.json`."""
    if config is None:
        raise ValueError(
            f"{reference} has timm's names, and no config.json beside it: whether it normalises "
            "as TensorFlow's networks or as PyTorch's is not known"
        )
    said: Any = json.loads(config.read_text(encoding="utf-8"))
    name = str(said.get("architecture"))
    found = [epsilon for begin, epsilon in TIMM.items() if name.startswith(begin)]
    if not found:
        raise ValueError(
            f"{reference} is timm's {name}; a mobile encoder starts from {', '.join(TIMM)}"
        )
    pixels = said.get("pretrained_cfg", {})
    mean, std = (tuple(map(float, pixels.get(key, ()))) for key in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3:
        raise ValueError(f"{reference}: its config.json does not say mean and std of its pixels")
    return found[0], mean, std


def _package(weights: dict[str, torch.Tensor]) -> Iterator[tuple[str, str]]:
    """Names of the convolutions and of the normalisation behind each, in the network's order."""
    yield "_conv_stem", "_bn0"
    for block in _blocks(weights, r"_blocks\.\d+\."):
        if f"{block}_expand_conv.weight" in weights:
            yield f"{block}_expand_conv", f"{block}_bn0"
        yield f"{block}_depthwise_conv", f"{block}_bn1"
        yield f"{block}_project_conv", f"{block}_bn2"
    if "_conv_head.weight" in weights:
        yield "_conv_head", "_bn1"


def _torchvision(weights: dict[str, torch.Tensor]) -> Iterator[tuple[str, str]]:
    yield "features.0.0", "features.0.1"
    for block in _blocks(weights, r"features\.\d+\.conv\."):
        yield f"{block}0.0", f"{block}0.1"
        if f"{block}1.0.weight" in weights:
            yield f"{block}1.0", f"{block}1.1"
            yield f"{block}2", f"{block}3"
        else:
            yield f"{block}1", f"{block}2"
    for last in _blocks(weights, r"features\.[1-9]\d*\.(?=0\.)"):
        yield f"{last}0", f"{last}1"


def _timm(weights: dict[str, torch.Tensor]) -> Iterator[tuple[str, str]]:
    yield "conv_stem", "bn1"
    for block in _blocks(weights, r"blocks\.\d+\.\d+\."):
        if f"{block}conv_pwl.weight" in weights:
            parts = [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
        else:
            parts = [("conv_dw", "bn1"), ("conv_pw", "bn2")]
        for conv, norm in parts:
            yield block + conv, block + norm
    if "conv_head.weight" in weights:
        yield "conv_head", "bn2"


def _blocks(weights: dict[str, torch.Tensor], pattern: str) -> list[str]:
    """Beginnings of names that match, by their numbers."""
    found = {match[0] for name in weights if (match := re.match(pattern, name))}
    return sorted(found, key=lambda name: [int(n) for n in re.findall(r"\d+", name)])


def _found(reference: str) -> tuple[Path, Path | None]:
    """The file of weights, and the `config.json` beside it, None where there is none."""
    place = Path(reference)
    if place.is_dir():
        place = place / "model.safetensors"
    elif not place.is_file():
        from huggingface_hub import hf_hub_download

        try:
            place, config = (
                Path(hf_hub_download(reference, name))
                for name in ("model.safetensors", "config.json")
            )
        except Exception as error:  # the hub's library has many, httpx's too
            raise FileNotFoundError(f"no mobile network {reference!r}: {error}") from error
        return place, config
    config = place.parent / "config.json"
    return place, config if config.is_file() else None


def _weights(place: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    if place.suffix == ".safetensors":
        return load_file(place)
    loaded: dict[str, torch.Tensor] = torch.load(place, map_location="cpu", weights_only=True)
    return loaded
