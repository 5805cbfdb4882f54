"""python -m eval.plot FILE.jsonl --out FILE.png: the rows of a sweep as one figure of score against
bytes, a panel for each task.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from codec.show.console import failed
from eval.measuring.figure import draw
from eval.measuring.rows import read_rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="eval.plot", description=__doc__)
    parser.add_argument("rows", type=Path, help="file of eval.sweep")
    parser.add_argument(
        "--out", type=Path, required=True, help="picture to write: .png, .svg or .pdf"
    )
    parser.add_argument(
        "--max-drop",
        type=float,
        default=12.0,
        help="points below the uncut score that are shown; default: %(default)g",
    )
    args = parser.parse_args(argv)
    try:
        if args.max_drop <= 0:
            raise ValueError("--max-drop is above 0")
        draw(read_rows(args.rows), args.out, args.max_drop)
    except (ValueError, OSError, ImportError) as error:
        return failed(parser.prog, error)
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
