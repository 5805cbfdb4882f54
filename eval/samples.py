"""python -m eval.samples CODEC_OR_BACKBONE --data scenes --split 'test[:2000]': what a captioner
and question answerer say, and how right.

Prints 40 pictures of the split: the caption, where the data are scenes with the words that are
wrong marked (`*word*`, in red), else with a reference below it; and some of the questions with the
answers, a wrong one marked and followed by the right one. Then the scores over the whole split. A
backbone is asked as it is, uncut; a codec through its blobs at `--quality`. Exit code 2: something
is not there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from safetensors import SafetensorError

from codec.show.console import failed, make_table
from eval.measuring.opening import data_name
from eval.measuring.samples import show
from eval.measuring.speaker import load_speaker
from eval.measuring.transcript import totals, transcribe
from training.data.texts import TextImages, open_source

N_SHOWN = 40


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="eval.samples",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="a codec or an uncut backbone: a folder or a shipped name")
    parser.add_argument(
        "--data",
        required=True,
        help="scenes, or folder or hub id of a data set with captions, or questions and answers",
    )
    parser.add_argument("--split", default="test[:2000]", help="default: %(default)s")
    parser.add_argument("--quality", type=int, help="of a codec; default: the codec's own")
    parser.add_argument(
        "--shown", type=int, default=N_SHOWN, help="pictures that are printed; default: %(default)d"
    )
    args = parser.parse_args(argv)
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    try:
        speaker = load_speaker(args.name, args.quality)
        images = TextImages(open_source(args.data, args.split), speaker.preprocess)
        transcript = transcribe(speaker, images)
        table = make_table(
            f"{speaker.name}; {data_name(args.data, args.split)}",
            ">",
            "of",
        )
        for total in totals(transcript, images):
            table.add_row(total.name, f"{total.value:.2f}", total.counted)
        if args.shown > 0:
            show(transcript, images, args.shown, console)
        console.print(table)
    except (ValueError, OSError, ImportError, SafetensorError) as error:
        return failed(parser.prog, error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
