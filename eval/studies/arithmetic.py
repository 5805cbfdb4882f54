"""an encoder -> copies that round as float16, bfloat16 or int8 arithmetic would, emulated on a CPU.

float16: inputs, weights and results of convolutions and linear maps are rounded to float16, sums
are float32, as on tensor cores. int8: the same with inputs (a scale for each tensor, the largest
magnitude on some training pictures) and weights (a scale for each output channel) rounded to
-127..127, symmetric, as a graph of QuantizeLinear and DequantizeLinear has it. Normalisation,
projection and quantiser stay in float32, as `build_engine.py` has it. "everything float16" also
runs normalisation's results through float16.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from codec.model import FeatureCodec

Rounding = Callable[[torch.Tensor], torch.Tensor]


def variants(codec: FeatureCodec, calibration: torch.Tensor) -> dict[str, nn.Module]:
    """Copies of a codec's encoder that round as other arithmetic would; `calibration` (B, 3, S, S)
    float32 sets int8's scales.
    """
    return {
        "products float16": _rounded(codec.encoder, lambda name, module: (half, half, half)),
        "everything float16": _rounded(
            codec.encoder, lambda name, module: (half, half, half), norms=True
        ),
        "products bfloat16": _rounded(codec.encoder, lambda name, module: (bfloat, bfloat, bfloat)),
        "products int8": int8(codec.encoder, calibration),
        "products int8, but the first": int8(codec.encoder, calibration, skip_first=True),
    }


def half(values: torch.Tensor) -> torch.Tensor:
    return values.half().float()


def bfloat(values: torch.Tensor) -> torch.Tensor:
    return values.bfloat16().float()


def int8(encoder: nn.Module, calibration: torch.Tensor, skip_first: bool = False) -> nn.Module:
    """A copy of an encoder with int8 products."""
    largest: dict[str, float] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: largest.__setitem__(
            name, float(inputs[0].abs().max())
        )

    hooks = [module.register_forward_hook(keep(name)) for name, module in _products(encoder)]
    with torch.inference_mode():
        encoder(calibration)
    for hook in hooks:
        hook.remove()
    first = next(name for name, _ in _products(encoder))

    def choose(name: str, module: nn.Module) -> tuple[Rounding, Rounding, Rounding] | None:
        if skip_first and name == first:
            return None
        weight = module.get_parameter("weight").detach()
        others = tuple(range(1, weight.ndim))  # all but the output channels
        scale = weight.abs().amax(others, keepdim=True).clamp(min=1e-12) / 127
        step = largest[name] / 127
        return (
            lambda x: (x / step).round().clamp(-127, 127) * step,
            lambda w: (w / scale).round() * scale,
            lambda y: y,
        )

    return _rounded(encoder, choose)


def _products(encoder: nn.Module) -> list[tuple[str, nn.Module]]:
    """Convolutions and linear maps, the projection aside."""
    kinds = (nn.Conv2d, nn.Linear)
    return [
        (name, module)
        for name, module in encoder.named_modules()
        if isinstance(module, kinds) and name != "project"
    ]


def _rounded(
    encoder: nn.Module,
    choose: Callable[[str, nn.Module], tuple[Rounding, Rounding, Rounding] | None],
    norms: bool = False,
) -> nn.Module:
    """A copy whose products' inputs, weights and results go through three functions."""
    made = copy.deepcopy(encoder)
    for name, module in _products(made):
        functions = choose(name, module)
        if functions is None:
            continue
        round_input, round_weight, round_result = functions
        with torch.no_grad():
            module.get_parameter("weight").copy_(round_weight(module.get_parameter("weight")))
        module.register_forward_pre_hook(_on_input(round_input))
        module.register_forward_hook(_on_result(round_result))
    for module in made.modules() if norms else ():
        if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            module.register_forward_hook(_on_result(half))
    return made


def _on_input(rounding: Rounding) -> Callable[..., Any]:
    return lambda module, inputs: (rounding(inputs[0]),)


def _on_result(rounding: Rounding) -> Callable[..., Any]:
    return lambda module, inputs, output: rounding(output)
