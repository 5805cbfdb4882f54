"""python -m eval.report FILE.jsonl: the rows of a sweep as a markdown table, and how many more
bytes others need for the same drop, and for the same agreement with the uncut model.

A file with rows of several tasks gets a table for each. A picture codec is compared at the size of
pictures at which it needs the fewest bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from codec.show.console import failed
from eval.measuring.report import section
from eval.measuring.rows import by_task, read_rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="eval.report", description=__doc__)
    parser.add_argument("rows", type=Path, help="file of eval.sweep")
    parser.add_argument(
        "--drop",
        type=float,
        default=0.5,
        help="points below the uncut score at which codecs are compared; default: %(default)g",
    )
    args = parser.parse_args(argv)
    try:
        print(
            *(section(rows, args.drop) for rows in by_task(read_rows(args.rows)).values()),
            sep="\n\n\n",
        )
    except (ValueError, KeyError, TypeError) as error:
        return failed(parser.prog, error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
