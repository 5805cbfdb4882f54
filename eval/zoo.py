"""python -m eval.zoo [--out docs/zoo.md]: the shipped codecs and the sweeps beside them -> the page
that lists them, a line each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from codec.files import sha256, whole_file
from codec.model import checkpoint
from codec.model.facts import summary
from codec.show.console import failed
from codec.tasks import CAPTIONS, LABELS, QUESTIONS
from eval.measuring.best import best_image, curve, rows_of
from eval.measuring.rates import Rate, rate_at, value_at
from eval.measuring.rows import by_task, read_rows

DROPS = (0.2, 1.0, 3.0)
"""Points of score at which the page compares bytes: for each codec the first that it keeps to."""
LICENCE = "Apache-2.0"
SERVES = {LABELS: "labels", CAPTIONS: "captions", QUESTIONS: "answers"}
SCORES = {LABELS: "{:.2f}%", CAPTIONS: "BLEU-4 {:.2f}", QUESTIONS: "{:.2f}%"}

HEAD = f"""# Zoo

The codecs that ship with the library, a line each. `python -m eval.zoo --out docs/zoo.md` writes
this page from `pretrained/`; a test says whether it is up to date.

Bytes are those of real blobs, header included, at a drop against the uncut model that stands
beside them, on the test split that the column `data` names: {DROPS[0]:g} points, or the first of
{" and ".join(f"{drop:g}" for drop in DROPS[1:])} that the codec keeps to. A codec for several tasks
keeps to it in all of them. Encoder MACs are the multiply-accumulates of the device for one image.
Sizes are those of the weights: of the codec, and of the backbone, which the server needs too. The
SHA-256 is that of `codec.safetensors`.

"""


class Line(NamedTuple):
    """What there is to say of a codec that ships.

    Attributes:
        drop: points of score at which bytes are compared.
        ours: bytes at that drop, in all of its tasks.
        image, image_as_alike: the smallest image files that lose no more, and that agree with
            the uncut model as often, with the name of their format.
    """

    name: str
    tasks: tuple[str, ...]
    data: str
    n_images: int
    scores: tuple[float, ...]
    drop: float
    ours: Rate
    image: tuple[Rate, str]
    image_as_alike: tuple[Rate, str]
    device_macs: int
    n_bytes: int
    backbone_n_bytes: int
    digest: str


def read_line(name: str) -> Line:
    """What there is to say of a shipped codec, from its files and its sweep.

    Raises:
        ValueError, OSError: its files or its sweep cannot be read.
    """
    folder = checkpoint.shipped_root() / name
    tasks = by_task(read_rows(folder / "sweep.jsonl"))
    own = {task: rows_of(rows, name) for task, rows in tasks.items()}
    drop, ours = kept_to([curve(rows, "drop") for rows in own.values()])
    apart = {
        task: 100 - value_at(curve(rows, "agreement"), ours.n_bytes) for task, rows in own.items()
    }
    first = next(iter(own.values()))[0]
    backbone = checkpoint.shipped_root() / summary(folder)["backbone"]
    weights = folder / checkpoint.WEIGHTS
    return Line(
        name,
        tuple(tasks),
        first["data"],
        first["n_images"],
        tuple(rows[0]["score_uncut"] for rows in own.values()),
        drop,
        ours,
        best_image(tasks, "drop", dict.fromkeys(tasks, drop)),
        best_image(tasks, "disagreement", apart),
        first["device_macs"],
        weights.stat().st_size,
        sum(file.stat().st_size for file in backbone.rglob("*.safetensors")),
        sha256(weights),
    )


def kept_to(curves: Sequence[Sequence[tuple[float, float]]]) -> tuple[float, Rate]:
    """The first of `DROPS` that curves of bytes and drop all keep to, and the bytes for it."""
    for drop in DROPS:
        rates = [rate_at(points, drop) for points in curves]
        if drop == DROPS[-1] or not any(rate.bound == ">" for rate in rates):
            break
    return drop, max(rates)


def page(lines: Sequence[Line]) -> str:
    """The page, as markdown."""
    headings = ["codec", "task", "data", "uncut score", "bytes at a drop of", "encoder MACs"]
    headings += ["size, MB: codec + backbone", "licence", "SHA-256"]
    table = ["| " + " | ".join(headings) + " |", "|---" * 4 + "|--:" * 3 + "|---" * 2 + "|"]
    for line in lines:
        scores = (SCORES[t].format(s) for t, s in zip(line.tasks, line.scores, strict=True))
        cells = (
            f"`{line.name}`",
            ", ".join(SERVES[task] for task in line.tasks),
            f"{line.data}, {line.n_images:,} images",
            ", ".join(scores),
            f"{tenths(line.ours)} at {line.drop:g}",
            f"{line.device_macs / 1e6:.1f} M",
            f"{line.n_bytes / 1e6:.1f} + {line.backbone_n_bytes / 1e6:.1f}",
            LICENCE,
            f"`{line.digest}`",
        )
        table.append("| " + " | ".join(cells) + " |")
    return HEAD + "\n".join(table) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="eval.zoo", description=__doc__)
    parser.add_argument("--out", type=Path, help="file to write; default: print the page")
    args = parser.parse_args(argv)
    try:
        text = page([read_line(name) for name in checkpoint.shipped_names()])
        if args.out is None:
            print(text, end="")
        else:
            with whole_file(args.out) as file:
                file.write_text(text)
    except (ValueError, OSError) as error:
        return failed(parser.prog, error)
    return 0


def tenths(rate: Rate) -> str:
    """A rate as text, to a tenth of a byte."""
    return {"": "", ">": "more than ", "<=": "at most "}[rate.bound] + f"{rate.n_bytes:.1f}"


if __name__ == "__main__":
    sys.exit(main())
