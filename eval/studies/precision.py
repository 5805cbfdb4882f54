"""python -m eval.studies.precision --data PATH: symbols and score of a codec whose encoder computes
in float16, bfloat16 or int8 (`eval.studies.arithmetic`).
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import nn

from codec.model import FeatureCodec
from codec.show.console import add_row, failed, make_table, print_table
from eval.measuring.evaluators import Evaluator, evaluators_of
from eval.measuring.opening import fit_pixels, load_uncut, open_images
from eval.measuring.tally import BATCH_SIZE
from eval.studies.arithmetic import variants
from training.data.images import Images, normalise
from training.data.texts import TextImages


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
        evaluators = evaluators_of(images, load_uncut(codec), codec)
        kept = compare(codec, variants(codec, normalise(fit, preprocess)), images, evaluators)
    except (ValueError, OSError) as error:
        return failed(parser.prog, error)
    for task in [evaluator.task for evaluator in evaluators]:
        ends = [f"at quality {q}" for q in measured_qualities(codec)]
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
                    for value in (row.symbols, row.worst, *sum(row.answers[task], ()))
                ),
            )
        print(f"{task}, {len(images)} images")
        print_table(table)
    return 0


class Kept(NamedTuple):
    """What is left of a codec's symbols and answers.

    Attributes:
        symbols, worst: symbols that are as the codec's own, in percent, at all qualities and at the
            worst.
        answers: for each task and each of `measured_qualities`, the change of the score in
            points, and the answers that change in percent.
    """

    symbols: float
    worst: float
    answers: dict[str, list[tuple[float, float]]]


def measured_qualities(codec: FeatureCodec) -> tuple[int, int]:
    """The default quality and the finest."""
    return codec.config.default_quality, codec.config.n_qualities - 1


@torch.inference_mode()
def compare(
    codec: FeatureCodec,
    encoders: Mapping[str, nn.Module],
    images: Images | TextImages,
    evaluators: Sequence[Evaluator],
) -> dict[str, Kept]:
    """What other encoders leave of the symbols of all pictures, and of the answers at
    `measured_qualities`, by their names.
    """
    chosen, n_symbols = measured_qualities(codec), 0
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
                for encoder, values in symbols.items():
                    tokens = codec.synthesise(values.float(), torch.full((len(places),), q))
                    for evaluator in evaluators:
                        task = evaluator.task
                        answers[encoder, task, q] += evaluator.answer(
                            codec.tails[task], tokens, places
                        )
    found = {}
    for name, count in same.items():
        share = 100 * count / n_symbols
        changes = {}
        for evaluator in evaluators:
            task = evaluator.task
            scores = [
                evaluator.score(answers[name, task, q], answers[None, task, q]) for q in chosen
            ]
            changes[task] = [(s.score - s.score_uncut, 100 - s.agreement) for s in scores]
        found[name] = Kept(float(share.mean()), float(share.min()), changes)
    return found


if __name__ == "__main__":
    sys.exit(main())
