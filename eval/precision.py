"""python -m eval.precision --data PATH: symbols and score of a codec whose encoder computes in float16 or int8, emulated on a CPU.

float16: inputs, weights and results of convolutions and linear maps are rounded to float16, sums are float32, as on tensor cores. int8: the
same with inputs (a scale for each tensor, the largest magnitude on 256 training pictures) and weights (a scale for each output channel)
rounded to -127..127, symmetric, as a graph of QuantizeLinear and DequantizeLinear has it. Normalisation, projection and quantiser stay in
float32, as `build_engine.py` has it. "everything float16" also runs normalisation's results through float16.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from torch import nn

from codec.console import add_row, make_table
from codec.model import FeatureCodec
from training.data import Images, batches, normalise

Rounding = Callable[[torch.Tensor], torch.Tensor]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m eval.precision", description="Emulated float16 and int8 encoders.")
    parser.add_argument("--codec", default="vit-tiny-cifar10")
    parser.add_argument("--data", required=True, help="data set with splits train and test")
    parser.add_argument("--limit", type=int, default=2000, help="test pictures")
    options = parser.parse_args(arguments)
    codec = FeatureCodec.from_pretrained(options.codec)
    preprocess = codec.config.preprocess
    test = Images(options.data, "test", preprocess, options.limit)
    calibration = next(batches(Images(options.data, "train", preprocess, 256), 256))[0]
    ends = [f"at quality {q}" for q in (codec.config.default_quality, codec.config.n_qualities - 1)]
    scores = [column for end in ends for column in (f">score {end}, points", f">answers changed {end}, %")]
    table = make_table("encoder", ">symbols kept, %", ">at the worst quality, %", *scores)
    for name, encoder in variants(codec, normalise(calibration, preprocess)).items():
        add_row(table, name, *(f"{value:.3f}" for value in compare(codec, encoder, test)))
    Console().print(table)


def variants(codec: FeatureCodec, calibration: torch.Tensor) -> dict[str, nn.Module]:
    """Copies of a codec's encoder that round as other arithmetic would; `calibration` (B, 3, S, S) float32 sets int8's scales."""
    return {
        "products float16": _rounded(codec.encoder, lambda name, module: (half, half, half)),
        "everything float16": _rounded(codec.encoder, lambda name, module: (half, half, half), norms=True),
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
        return lambda module, inputs, output: largest.__setitem__(name, float(inputs[0].abs().max()))

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
    return [(name, module) for name, module in encoder.named_modules() if isinstance(module, kinds) and name != "project"]


def _rounded(
    encoder: nn.Module, choose: Callable[[str, nn.Module], tuple[Rounding, Rounding, Rounding] | None], norms: bool = False
) -> nn.Module:
    """A copy whose products' inputs, weights and results go through three functions."""
    made = copy.deepcopy(encoder)
    for name, module in _products(made):
        functions = choose(name, module)
        if functions is None:
            continue
        of_input, of_weight, of_result = functions
        with torch.no_grad():
            module.get_parameter("weight").copy_(of_weight(module.get_parameter("weight")))
        module.register_forward_pre_hook(lambda module, inputs, f=of_input: (f(inputs[0]),))  # type: ignore[misc]
        module.register_forward_hook(lambda module, inputs, output, f=of_result: f(output))  # type: ignore[misc]
    for module in made.modules() if norms else ():
        if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            module.register_forward_hook(lambda module, inputs, output: half(output))
    return made


@torch.inference_mode()
def compare(codec: FeatureCodec, encoder: nn.Module, test: Images) -> list[float]:
    """Symbols that are as the codec's own in percent, at all qualities and at the worst; then for the default quality and the finest the
    change of the score in points and the answers that change, in percent."""
    n_qualities, scored = codec.config.n_qualities, (codec.config.default_quality, codec.config.n_qualities - 1)
    same, n_symbols = torch.zeros(n_qualities), 0
    gained, changed = dict.fromkeys(scored, 0), dict.fromkeys(scored, 0)
    for pixels, labels in batches(test, 100):
        pixel_values = normalise(pixels, codec.config.preprocess)
        theirs, ours = codec.latent(pixel_values), encoder(pixel_values)
        n_symbols += theirs.numel()
        for q in codec.qualities:
            expected, found = (torch.from_numpy(codec.quantise(latent, q)) for latent in (theirs, ours))
            same[q] += (expected == found).sum()
            differ = (expected != found).flatten(1).any(1)
            if q in scored and differ.any():
                quality = torch.full((int(differ.sum()),), q)
                before, after = (codec.tail(codec.synthesise(s[differ].float(), quality)).logits.argmax(-1) for s in (expected, found))
                gained[q] += int((after == labels[differ]).sum()) - int((before == labels[differ]).sum())
                changed[q] += int((after != before).sum())
    share = 100 * same / n_symbols
    points = [100 * value / len(test) for q in scored for value in (gained[q], changed[q])]
    return [float(share.mean()), float(share.min()), *points]


if __name__ == "__main__":
    main()
