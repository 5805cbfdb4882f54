"""python -m eval.link.answers: the sweeps that ship and link profiles -> how many answers a day
each link carries, as a markdown table.

A codec is taken at the smallest quality that loses at most `--drop` points in all of its tasks, and
counted with the frame that 95% of its blobs keep to; image files with the mean bytes of the best
format and size for the same drop. So the comparison favours the image files.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

from codec.link.frames import SPARED_BYTES
from codec.link.profiles import Profile, profile, sending
from codec.model import checkpoint
from codec.show.console import failed
from eval.measuring.best import best_image, rows_of
from eval.measuring.published import PUBLISHED
from eval.measuring.rows import by_task, read_rows
from eval.methods.method import ALONE

SHOWN = ("lorawan-eu868-sf12", "lorawan-eu868-sf9", "lorawan-eu868-sf7", "sigfox", "iridium-sbd")
"""Links that the table has by default."""


class Sent(NamedTuple):
    """Something that can be sent; `least` says that it takes at least so many bytes."""

    what: str
    n_bytes: int
    least: bool = False


class NoQualityError(ValueError):
    """A codec loses more than is asked for at all of its qualities."""


OTHERS = tuple(
    Sent(f"{one.name} at {one.points[0][1]:g}% (published)", one.points[0][0]) for one in PUBLISHED
)
"""The smallest messages of other systems: other data, other models."""


def codec_sent(name: str, drop: float) -> list[Sent]:
    """A shipped codec, the device alone where it was measured, and the best image files, each at
    most `drop` points below the uncut model.

    Raises:
        NoQualityError: no quality of the codec keeps to the drop.
        ValueError: its sweep cannot be read.
    """
    tasks = by_task(read_rows(checkpoint.shipped_root() / name / "sweep.jsonl"))
    own = [rows_of(rows, name) for rows in tasks.values()]
    for same in zip(*own, strict=True):  # the rows of one quality, a task each
        if all(row["drop"] <= drop for row in same):
            n_bytes = math.ceil(same[0]["bytes_p95"]) - SPARED_BYTES
            quality = same[0]["quality"]
            break
    else:
        raise NoQualityError(f"no quality of {name} loses at most {drop:g} points")
    rate, form = best_image(tasks, "drop", dict.fromkeys(tasks, drop))
    alone = [row for rows in tasks.values() for row in rows_of(rows, ALONE) if row["drop"] <= drop]
    return [
        Sent(f"**{name}, quality {quality}**", n_bytes),
        *(Sent("the device alone, its label", round(row["bytes_mean"])) for row in alone),
        Sent(f"best image file for it: {form}", math.ceil(rate.n_bytes), rate.bound == ">"),
    ]


def table(sent: Sequence[Sent], links: Sequence[Profile]) -> str:
    """The table, as markdown."""
    headings = ["what is sent", "bytes", *(link.title for link in links)]
    lines = ["| " + " | ".join(headings) + " |", "|---" + "|--:" * (len(headings) - 1) + "|"]
    for one in sent:
        cells = [one.what, f"{'over ' if one.least else ''}{one.n_bytes:,}"]
        cells += [_cell(one.n_bytes, link) for link in links]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(n_bytes: int, link: Profile) -> str:
    """Answers a day, or bytes that are billed; and the messages of an answer, if several."""
    found = sending(link, n_bytes)
    several = f" ({found.n_frames} messages)" if found.n_frames > 1 else ""
    if found.answers_a_day is not None:
        a_day = found.answers_a_day
        return (f"{int(a_day):,}" if a_day >= 1 else f"{a_day:.1f}") + several
    billed = "no limit" if found.n_billed_bytes is None else f"{found.n_billed_bytes:,} B billed"
    return billed + several


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="eval.link.answers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--drop", type=float, default=0.5, help="points below the uncut score; default: %(default)g"
    )
    parser.add_argument(
        "--profile", action="append", help=f"a link; repeated; default: {', '.join(SHOWN)}"
    )
    args = parser.parse_args(argv)
    try:
        links = [profile(name) for name in args.profile or SHOWN]
        names = checkpoint.shipped_names()
        sent, lossier = [], []
        for name in names:
            try:
                sent += codec_sent(name, args.drop)
            except NoQualityError as error:
                lossier.append(str(error))
        print(table([*sent, *OTHERS], links))
        for line in lossier:
            print(line)
    except (ValueError, OSError) as error:
        return failed(parser.prog, error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
