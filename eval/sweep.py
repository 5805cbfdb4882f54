"""python -m eval.sweep: codecs and baselines on the same images -> bytes, score, drop and time, as
JSON lines.

Classification takes labelled images, captioning and question answering a data set with captions, or
questions and answers, or `scenes`; a codec that serves several tasks gets a row for each, from the
same blobs. What is counted and timed is said in `eval.measuring.tally`, how each task is scored in
`eval.measuring.evaluators`, what the keys mean in `eval.measuring.rows.Row`. Exit code 2: codec,
data or split is not there; 1: something did not decode, or real payloads take over 1% + 2 bytes
more than the ideal code length.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from codec.coding.container import BitstreamError
from codec.show.console import complain, failed, one_line
from codec.tasks import LABELS
from eval.measuring.choosing import without_worse_pictures
from eval.measuring.evaluators import evaluators_of
from eval.measuring.opening import data_name, fit_pixels, load_codecs, load_uncut, open_images
from eval.measuring.rows import write_rows
from eval.measuring.source import source_sizes, with_source_rows
from eval.measuring.table import interval, overspent, overspent_text, table_of
from eval.measuring.tally import measure
from eval.methods.alone import alone_methods
from eval.methods.bottleneck import bottleneck_methods
from eval.methods.collection import collect_methods, read_baselines
from eval.methods.method import ALONE, BASELINES, FACTORISED, SOURCE, DecodeError


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
    _check_writable(args.out)
    with console.status("loading the codecs"):
        codecs = load_codecs(names)
        uncut = load_uncut(codecs[0])
    config = codecs[0].config
    labels = uncut[LABELS].config.id2label if LABELS in uncut else None
    with console.status("reading the pictures"):
        images = open_images(
            args.data, args.split, config.preprocess, args.limit, config.tasks, labels
        )
        try:
            evaluators = evaluators_of(images, uncut, codecs[0])
        except ValueError as error:
            raise ValueError(f"split {args.split!r} of {args.data!r}: {error}") from error
        fit = None
        if FACTORISED in baselines or args.bottleneck is not None:
            fit = fit_pixels(
                args.data, args.fit_split, images, config.preprocess, config.tasks, console
            )
    methods = collect_methods(codecs, uncut, baselines, fit, console)
    if ALONE in baselines and config.tasks == (LABELS,):
        n_labels = int(uncut[LABELS].config.num_labels)
        methods += alone_methods(config.name, args.alone, config.preprocess, n_labels)
    if args.bottleneck is not None and fit is not None:
        with console.status("fitting the bottleneck's prior"):
            methods += bottleneck_methods(args.bottleneck, fit, config)
    data = data_name(args.data, args.split)
    try:
        if args.choose_on is not None:
            others = open_images(
                args.data, args.choose_on, config.preprocess, None, config.tasks, labels
            )
            methods = without_worse_pictures(
                methods,
                others,
                evaluators_of(others, uncut, codecs[0]),
                data_name(args.data, args.choose_on),
                console,
            )
        rows = measure(methods, images, evaluators, data, console)
    except (DecodeError, BitstreamError) as error:
        complain(one_line(error), "eval.sweep")
        return 1
    if SOURCE in baselines:
        rows = with_source_rows(rows, source_sizes(images))
    write_rows(rows, args.out)
    tasks = [evaluator.task for evaluator in evaluators]
    for task in tasks:
        console.print(table_of([row for row in rows if row.task == task]))
    called = {codec.config.name for codec in codecs}
    own = [row for row in rows if row.codec in called]
    for row in own:
        print(
            f"{row.codec} quality {row.quality}, {row.task}: {row.bytes_mean:.1f} bytes, drop "
            f"{row.drop:+.2f} points ({interval(row)})"
        )
    # the answers to all tasks come from the same blobs
    over = [row for row in own if row.task == tasks[0] and overspent(row)]
    for row in over:
        complain(overspent_text(row), "eval.sweep")
    return 1 if over else 0


def _check_writable(out: Path) -> None:
    """
    Raises:
        ValueError: a file of this name cannot be written.
    """
    if out.is_dir():
        raise ValueError(f"{out} is a folder; --out is a file")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise ValueError(f"{out.parent} cannot be written to")


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
        help="folder of a bottleneck that eval.studies.bottleneck trained, to be measured too",
    )
    parser.add_argument(
        "--alone",
        type=Path,
        help="folder of a classifier for the device alone, as training.alone writes it; default: "
        "the one that ships for the codec, if there is one",
    )
    parser.add_argument(
        "--fit-split",
        default="train[:2000]",
        help="images compressai's priors are fitted to; default: %(default)s",
    )
    parser.add_argument(
        "--choose-on",
        metavar="SPLIT",
        help="of lossy picture codecs, only the sizes and qualities are measured that are better "
        "than all smaller ones on these images; default: all are measured",
    )
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines")
    args = parser.parse_args(argv)
    console = Console()
    if not console.is_terminal:
        console = Console(width=180)
    try:
        return run(args, console)
    except (ValueError, OSError, ImportError) as error:
        return failed(parser.prog, error)


if __name__ == "__main__":
    sys.exit(main())
