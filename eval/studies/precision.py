"""python -m eval.studies.precision --data PATH: symbols and score of a codec whose encoder computes
in float16 or int8, emulated on a CPU.

float16: inputs, weights and results of convolutions and linear maps are rounded to float16, sums
are float32, as on tensor cores. int8: the same with inputs (a scale for each tensor, the largest
magnitude on 256 training pictures) and weights (a scale for each output channel) rounded to
-127..127, symmetric, as a graph of QuantizeLinear and DequantizeLinear has it. Normalisation,
projection and quantiser stay in float32, as `build_engine.py` has it. "everything float16" also
runs normalisation's results through float16.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import nn

from codec.model import FeatureCodec
from codec.show.console import add_row, make_table
from eval.measuring.asked import Asked
from eval.measuring.measure import BATCH_SIZE
from eval.measuring.pictures import fit_pixels, open_images
from eval.sweep import load_uncut, what_to_ask
from training.data.images import Images, normalise
from training.data.texts import TextImages

Rounding = Callable[[torch.Tensor], torch.Tensor]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="eval.studies.precision",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--codec", default="vit-tiny-cifar10", help="default: %(default)s")
    parser.add_argument(
        "--data",
        required=True,
        help="scenes, or folder or hub id of a data set of images with labels or words",
    )
    parser.add_argument(
        "--split", default="test", help="slices allowed: test[:500]; default: %(default)s"
    )
    parser.add_argument(
        "--fit-split",
        default="train[:256]",
        help="images that int8's scales are from; default: %(default)s",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=2000,
        help="the first so many images only; default: %(default)d",
    )
    args = parser.parse_args(argv)
    console = Console()
    try:
        codec = FeatureCodec.from_pretrained(args.codec)
        preprocess, tasks = codec.config.preprocess, codec.config.tasks
        images = open_images(args.data, args.split, preprocess, args.limit, tasks)
        fit = fit_pixels(args.data, args.fit_split, images, preprocess, tasks, console)
        asked = what_to_ask(images, load_uncut(codec), codec)
        kept = compare(codec, variants(codec, normalise(fit, preprocess)), images, asked)
    except (ValueError, OSError) as error:
        print(
            f"eval.studies.precision: {(str(error).splitlines() or [type(error).__name__])[0]}",
            file=sys.stderr,
        )
        return 2
    for what in asked:
        ends = [f"at quality {q}" for q in asked_qualities(codec)]
        scores = [
            column
            for end in ends
            for column in (f">score {end}, points", f">answers changed {end}, %")
        ]
        table = make_table("encoder", ">symbols kept, %", ">at the worst quality, %", *scores)
        for name, row in kept.items():
            add_row(
                table,
                name,
                *(
                    f"{value:.3f}"
                    for value in (row.symbols, row.worst, *sum(row.answers[what.task], ()))
                ),
            )
        console.print(f"{what.task}, {len(images)} images", table)
    return 0


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
        of_input, of_weight, of_result = functions
        with torch.no_grad():
            module.get_parameter("weight").copy_(of_weight(module.get_parameter("weight")))
        module.register_forward_pre_hook(lambda module, inputs, f=of_input: (f(inputs[0]),))  # type: ignore[misc]
        module.register_forward_hook(lambda module, inputs, output, f=of_result: f(output))  # type: ignore[misc]
    for module in made.modules() if norms else ():
        if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            module.register_forward_hook(lambda module, inputs, output: half(output))
    return made


class Kept(NamedTuple):
    """What is left of a codec's symbols and answers.

    Attributes:
        symbols, worst: symbols that are as the codec's own, in percent, at all qualities and at the
            worst.
        answers: for each task and each of the qualities that are asked, the change of the score in
            points, and the answers that change in percent.
    """

    symbols: float
    worst: float
    answers: dict[str, list[tuple[float, float]]]


def asked_qualities(codec: FeatureCodec) -> tuple[int, int]:
    """The default quality and the finest."""
    return codec.config.default_quality, codec.config.n_qualities - 1


@torch.inference_mode()
def compare(
    codec: FeatureCodec,
    encoders: Mapping[str, nn.Module],
    images: Images | TextImages,
    asked: Sequence[Asked],
) -> dict[str, Kept]:
    """What other encoders leave of the symbols of all pictures, and of the answers at
    `asked_qualities`, by their names.
    """
    chosen, n_symbols = asked_qualities(codec), 0
    same = {name: torch.zeros(codec.config.n_qualities) for name in encoders}
    answers: dict[tuple[str | None, str, int], list[Any]] = defaultdict(list)
    for start in range(0, len(images), BATCH_SIZE):
        places = range(start, min(start + BATCH_SIZE, len(images)))
        pixel_values = normalise(
            torch.stack([images[i][0] for i in places]), codec.config.preprocess
        )
        latents: dict[str | None, torch.Tensor] = {None: codec.latent(pixel_values)} | {
            name: e(pixel_values) for name, e in encoders.items()
        }
        n_symbols += latents[None].numel()
        for q in codec.qualities:
            symbols = {
                name: torch.from_numpy(codec.quantise(latent, q))
                for name, latent in latents.items()
            }
            for name, count in same.items():
                count[q] += (symbols[name] == symbols[None]).sum()
            if q in chosen:
                for of, values in symbols.items():
                    tokens = codec.synthesise(values.float(), torch.full((len(places),), q))
                    for what in asked:
                        answers[of, what.task, q] += what.ask(
                            codec.tails[what.task], tokens, places
                        )
    found = {}
    for name, count in same.items():
        share = 100 * count / n_symbols
        scored = {
            what.task: [
                what.score(answers[name, what.task, q], answers[None, what.task, q]) for q in chosen
            ]
            for what in asked
        }
        changes = {
            task: [(s.score - s.score_uncut, 100 - s.agreement) for s in scores]
            for task, scores in scored.items()
        }
        found[name] = Kept(float(share.mean()), float(share.min()), changes)
    return found


if __name__ == "__main__":
    sys.exit(main())
