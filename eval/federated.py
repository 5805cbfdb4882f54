"""python -m eval.federated RUN [RUN ...] --out FILE.png: what learning together reached for its
bytes and seconds, as curves and as a table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from codec.show.console import failed
from eval.measuring.rounds import draw_rounds, read_run, table


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="eval.federated", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of training.federated")
    parser.add_argument(
        "--out", type=Path, required=True, help="picture to write: .png, .svg or .pdf"
    )
    parser.add_argument(
        "--goal",
        type=float,
        default=70.0,
        help="accuracy in percent whose bytes and seconds are listed; default: %(default)g",
    )
    args = parser.parse_args(argv)
    try:
        runs = [read_run(folder) for folder in args.runs]
        draw_rounds(runs, args.out, args.goal)
        print(table(runs, args.goal))
    except (ValueError, OSError, ImportError) as error:
        return failed(parser.prog, error)
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
