"""python -m eval.zoo [--out docs/zoo.md]: the shipped codecs and the sweeps beside them -> the page
that lists them, a line each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from codec.files import sha256, whole_file
from codec.model import checkpoint
from codec.model.facts import summary
from codec.tasks import CAPTIONS, LABELS, QUESTIONS
from eval.measuring.failing import failed
from eval.measuring.rates import Rate, least, rate_at, value_at
from eval.measuring.rows import by_task, read_rows
from eval.methods.method import baseline_of

DROP = 0.2
"""Points of score at which the page compares bytes."""
LICENCE = "Apache-2.0"
IMAGES = {
    "jpeg": "JPEG",
    "webp": "WebP",
    "avif": "AVIF",
    "jxl": "JPEG XL",
    "png": "PNG",
    "webp-lossless": "WebP",
}
"""Image files by the names that rows have; the last two are lossless."""
SERVES = {LABELS: "labels", CAPTIONS: "captions", QUESTIONS: "answers"}
SCORES = {LABELS: "{:.2f}%", CAPTIONS: "BLEU-4 {:.2f}", QUESTIONS: "{:.2f}%"}

HEAD = f"""# Zoo

The codecs that ship with the library, a line each. `python -m eval.zoo --out docs/zoo.md` writes
this page from `pretrained/`; a test says whether it is up to date.

Bytes are those of real blobs, header included, at a drop of {DROP:g} points against the uncut
model, on the test split that the column `data` names. A codec for several tasks keeps to that drop
in all of them. Encoder MACs are the multiply-accumulates of the device for one image. Sizes are
those of the weights: of the codec, and of the backbone, which the server needs too. The SHA-256 is
that of `codec.safetensors`.

"""


class Line(NamedTuple):
    """What there is to say of a codec that ships.

    Attributes:
        ours: bytes at a drop of `DROP` points, in all of its tasks.
        image, image_as_alike: the smallest image files that lose no more, and that agree with
            the uncut model as often, with the name of their format.
    """

    name: str
    tasks: tuple[str, ...]
    data: str
    n_images: int
    scores: tuple[float, ...]
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
    own = {task: _of(rows, name) for task, rows in tasks.items()}
    ours = _worst(rate_at(_curve(rows, "drop"), DROP) for rows in own.values())
    apart = {
        task: 100 - value_at(_curve(rows, "agreement"), ours.n_bytes) for task, rows in own.items()
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
        ours,
        _best_image(tasks, "drop", dict.fromkeys(tasks, DROP)),
        _best_image(tasks, "disagreement", apart),
        first["device_macs"],
        weights.stat().st_size,
        sum(file.stat().st_size for file in backbone.rglob("*.safetensors")),
        sha256(weights),
    )


def page(lines: Sequence[Line]) -> str:
    """The page, as markdown."""
    headings = ["codec", "task", "data", "uncut score", f"bytes at {DROP:g} points", "encoder MACs"]
    headings += ["size, MB: codec + backbone", "licence", "SHA-256"]
    table = ["| " + " | ".join(headings) + " |", "|---" * 4 + "|--:" * 3 + "|---" * 2 + "|"]
    for line in lines:
        scores = (SCORES[t].format(s) for t, s in zip(line.tasks, line.scores, strict=True))
        cells = (
            f"`{line.name}`",
            ", ".join(SERVES[task] for task in line.tasks),
            f"{line.data}, {line.n_images:,} images",
            ", ".join(scores),
            tenths(line.ours),
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


Rows = Sequence[dict[str, Any]]


def _of(rows: Rows, name: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["codec"] == name]


def _curve(rows: Rows, key: str) -> list[tuple[float, float]]:
    if key == "disagreement":
        return [(row["bytes_mean"], 100 - row["agreement"]) for row in rows]
    return [(row["bytes_mean"], row[key]) for row in rows]


def _worst(rates: Iterable[Rate]) -> Rate:
    """The most bytes of several tasks' rates: with so many, each of them is reached."""
    return max(rates)


def _best_image(
    tasks: dict[str, list[dict[str, Any]]], loss: str, limits: dict[str, float]
) -> tuple[Rate, str]:
    """The image file with the fewest bytes that keeps to the limit of each task, and its format."""
    names = {row["codec"] for rows in tasks.values() for row in rows}
    found = {}
    for name in sorted(names):
        if baseline_of(name) in IMAGES:
            rates = [rate_at(_curve(_of(tasks[t], name), loss), limits[t]) for t in tasks]
            # a rate that is not reached in one task is not reached
            missed = [rate for rate in rates if rate.bound == ">"]
            found[_worst(missed or rates)] = IMAGES[str(baseline_of(name))]
    best = least(list(found))
    return best, found[best]


def tenths(rate: Rate) -> str:
    """A rate as text, to a tenth of a byte."""
    return {"": "", ">": "more than ", "<=": "at most "}[rate.bound] + f"{rate.n_bytes:.1f}"


if __name__ == "__main__":
    sys.exit(main())
