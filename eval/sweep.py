"""python -m eval.sweep: codecs and baselines on the same images -> bytes, score, drop and time, as
JSON lines.

Classification takes labelled images, captioning and question answering a data set with captions, or
questions and answers, or `scenes`; a codec that serves several tasks gets a row for each, from the
same blobs. What is counted and timed is said in `eval.measuring.measure`, how each task is scored
in `eval.measuring.asked`, what the keys mean in `eval.measuring.rows.Row`. Exit code 2: codec, data
or split is not there; 1: something did not decode, or real payloads take over 1% + 2 bytes more
than the ideal code length.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn

from codec.coding.container import HEADER_BYTES, BitstreamError
from codec.model import FeatureCodec
from codec.model.split import share_tower, split
from codec.tasks import LABELS
from eval.measuring.asked import Asked, Labels, ask_words
from eval.measuring.measure import BATCH_SIZE, overspent, sweep, table_of
from eval.measuring.pictures import fit_pixels, open_images
from eval.measuring.rows import write_rows
from eval.methods.bottleneck import bottleneck_methods
from eval.methods.factorised import Factorised, fit_bottleneck
from eval.methods.method import BASELINES, Coded, Cost, DecodeError, Method, Uncut, device_cost
from eval.methods.untrained import PICTURES, Picture, QuantisedTokens, Tokens
from training.data.images import Images, normalise
from training.data.texts import TextImages


def load_codecs(names: Sequence[str]) -> list[FeatureCodec]:
    """Codecs that can share a table: of different names, made for one backbone and one
    preprocessing.

    Raises:
        FileNotFoundError, ValueError: one cannot be loaded, or they cannot share a table.
    """
    codecs = [FeatureCodec.from_pretrained(name) for name in names]
    called = [codec.config.name for codec in codecs]
    if len(set(called)) < len(called):
        raise ValueError(
            f"two of the codecs have the same name ({', '.join(called)}): their rows could not be "
            "told apart"
        )
    if (
        len(
            {
                (codec.backbone_digest, codec.config.preprocess, codec.config.task)
                for codec in codecs
            }
        )
        > 1
    ):
        raise ValueError(
            "the codecs belong to different backbones: sweep each backbone's codecs on their own"
        )
    return codecs


def load_uncut(codec: FeatureCodec) -> dict[str, Any]:
    """The uncut models of a codec, by task, with one vision tower."""
    models = {task: codec.load_uncut(task) for task in codec.config.tasks}
    share_tower(list(models.values()))
    return models


def what_to_ask(
    images: Images | TextImages, uncut: Mapping[str, Any], codec: FeatureCodec
) -> list[Asked]:
    """What the tasks of a codec ask of pictures, as far as the data tells the answers.

    Raises:
        ValueError: it tells none, or not in the model's words.
    """
    if isinstance(images, Images):
        return [Labels(images, uncut[LABELS].config.num_labels)]
    return ask_words(images.words, uncut, {task: codec.load_tokenizer(task) for task in uncut})


@torch.inference_mode()
def fitted(
    codec: FeatureCodec, pixels: torch.Tensor, cost: Cost, name: str, console: Console
) -> list[Method]:
    """The factorised baseline of a codec at every third quality, fitted to pixels (n, 3, S, S)."""
    methods: list[Method] = []
    with Progress(console=console, transient=True) as progress:
        for q in progress.track(
            codec.qualities[::3],
            description=f"fitting the factorised prior to {len(pixels)} images",
        ):
            batches = [
                codec.symbols(normalise(x, codec.config.preprocess), q)
                for x in torch.split(pixels, BATCH_SIZE)
            ]
            methods.append(
                Factorised(
                    codec, q, cost, fit_bottleneck(np.concatenate(batches).transpose(0, 2, 1)), name
                )
            )
    return methods


def collect(
    codecs: list[FeatureCodec],
    uncut: Mapping[str, nn.Module],
    baselines: Sequence[str],
    fit: torch.Tensor | None,
    console: Console,
) -> list[Method]:
    """Every method of a sweep, the uncut model first."""
    preprocess = codecs[0].config.preprocess
    costs = [device_cost(codec.encoder, preprocess.size) for codec in codecs]
    methods: list[Method] = [Uncut(uncut, preprocess)]
    for codec, cost in zip(codecs, costs, strict=True):
        methods += [Coded(codec, q, cost) for q in codec.qualities]
        if "factorised" in baselines and fit is not None:
            name = "factorised" if len(codecs) == 1 else f"factorised ({codec.config.name})"
            methods += fitted(codec, fit, cost, name, console)
    for name, tokens in (("tokens-fp16", Tokens), ("tokens-int8-zstd", QuantisedTokens)):
        for k in sorted({codec.config.k for codec in codecs}) if name in baselines else ():
            head = split(next(iter(uncut.values())), k).head
            methods.append(tokens(uncut, k, device_cost(head, preprocess.size), preprocess))
    for name, (_, qualities, _) in PICTURES.items():
        methods += [Picture(name, q, uncut, preprocess) for q in qualities if name in baselines]
    return methods


def read_baselines(text: str) -> tuple[str, ...]:
    """`all`, `none` or a comma-separated list -> names of baselines.

    Raises:
        ValueError: a name that is none.
    """
    if text in ("all", "none"):
        return BASELINES if text == "all" else ()
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if unknown := [name for name in names if name not in BASELINES]:
        raise ValueError(f"no baseline {unknown[0]!r}; there are: {', '.join(BASELINES)}")
    return names


def run(args: argparse.Namespace, console: Console) -> int:
    """The command's work; 1 where a check failed, else 0.

    Raises:
        ValueError, OSError, ImportError: a codec, the data or a baseline is not there.
    """
    names = [name for text in args.codec for name in text.split(",") if name]
    if not names:
        raise ValueError("--codec names no codec")
    baselines = read_baselines(args.baselines)
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit is at least 1, not {args.limit}")
    if args.out.is_dir():
        raise ValueError(f"{args.out} is a folder; --out is a file")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(args.out.parent, os.W_OK):
        raise ValueError(f"{args.out.parent} cannot be written to")
    with console.status("loading the codecs"):
        codecs = load_codecs(names)
        uncut = load_uncut(codecs[0])
    config = codecs[0].config
    with console.status("reading the pictures"):
        images = open_images(args.data, args.split, config.preprocess, args.limit, config.tasks)
        try:
            asked = what_to_ask(images, uncut, codecs[0])
        except ValueError as error:
            raise ValueError(f"split {args.split!r} of {args.data!r}: {error}") from error
        fit = None
        if "factorised" in baselines or args.bottleneck is not None:
            fit = fit_pixels(
                args.data, args.fit_split, images, config.preprocess, config.tasks, console
            )
    methods = collect(codecs, uncut, baselines, fit, console)
    if args.bottleneck is not None and fit is not None:
        with console.status("fitting the bottleneck's prior"):
            methods += bottleneck_methods(args.bottleneck, fit, config)
    data = f"{Path(args.data).resolve().name}:{args.split}"
    try:
        measured = sweep(methods, images, asked, data, console)
    except (DecodeError, BitstreamError) as error:
        print(f"eval.sweep: {error}", file=sys.stderr)
        return 1
    write_rows([m.row for m in measured], args.out)
    for what in asked:
        console.print(table_of([m for m in measured if m.row.task == what.task]))
    called = {codec.config.name for codec in codecs}
    own = [m for m in measured if m.row.codec in called]
    for row, margin, _ in own:
        interval = f"95% {row.drop - margin:+.2f} to {row.drop + margin:+.2f}"
        print(
            f"{row.codec} quality {row.quality}, {row.task}: {row.bytes_mean:.1f} bytes, drop "
            f"{row.drop:+.2f} points ({interval})"
        )
    # all tasks are asked of the same blobs
    failed = [m.row for m in own if m.row.task == asked[0].task and overspent(m.row)]
    for row in failed:
        ideal, real = (row.bits_estimated or 0) / 8, row.bytes_mean - HEADER_BYTES
        message = f"payloads of {real:.1f} bytes where {ideal:.1f} are ideal"
        print(
            f"eval.sweep: {row.codec} quality {row.quality}: {message}, over 1% + 2 bytes more",
            file=sys.stderr,
        )
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="eval.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--codec",
        action="append",
        required=True,
        help="shipped name, folder or hub id; repeated or comma-separated",
    )
    parser.add_argument(
        "--data",
        required=True,
        help="scenes, or folder or hub id of a data set of images with labels or words",
    )
    parser.add_argument(
        "--split", default="test", help="slices allowed: test[:1000]; default: %(default)s"
    )
    parser.add_argument("--limit", type=int, help="the first so many images only")
    parser.add_argument(
        "--baselines",
        default="all",
        help=f"all, none, or some of {','.join(BASELINES)}; default: %(default)s",
    )
    parser.add_argument(
        "--bottleneck",
        type=Path,
        help="folder of a bottleneck trained by eval.methods.bottleneck, to be measured too",
    )
    parser.add_argument(
        "--fit-split",
        default="train[:2000]",
        help="images compressai's priors are fitted to; default: %(default)s",
    )
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines")
    args = parser.parse_args(argv)
    console = Console()
    if not console.is_terminal:
        console = Console(width=180)
    try:
        return run(args, console)
    except (ValueError, OSError, ImportError) as error:
        text = str(error).splitlines()
        print(f"eval.sweep: {text[0] if text else type(error).__name__}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
