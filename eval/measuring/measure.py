"""methods x images -> measured rows, and the table people read.

Every blob is really written and really decoded, in batches of 64, and each task is asked of what
came out of the same blob. Times are wall-clock sums over these batches, divided by the number of
images, after a warm-up on a few images: `encode_ms` is pixels -> blob (normalisation, network on
the device, entropy coding, or the picture codec), `decode_ms` is blob -> the task's answers
(entropy decoding and synthesis, or the picture codec; then tail or uncut model, for all questions
of a picture). Preparing the pictures is in neither.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from codec.coding.container import HEADER_BYTES
from eval.measuring.asked import Asked
from eval.measuring.rows import SCORES, Row
from eval.methods.method import Method
from training.data.images import Images
from training.data.texts import TextImages

BATCH_SIZE = 64
WARM_UP = 2


class Measured(NamedTuple):
    """A row and what the table says beyond it: half the 95% interval of the drop, in points, and
    how many answers the score is of.

    What the interval is, each task's class in `eval.measuring.asked` says.
    """

    row: Row
    drop_margin: float
    n_answers: int


class Tally:
    """What one method did on the images so far, and its answers to each task."""

    def __init__(self, method: Method, asked: Sequence[Asked]) -> None:
        self.method, self.asked = method, asked
        self.n_bytes: list[int] = []
        self.answers: dict[str, list[Any]] = {what.task: [] for what in asked}
        self.bits: float | None = 0.0
        self.encode_s = self.decode_s = 0.0
        self.answer_s = dict.fromkeys(self.answers, 0.0)

    def add(self, pixels: torch.Tensor, places: range) -> None:
        """Encode, decode, ask and check a batch: pixels (B, 3, S, S) uint8 of the pictures at
        `places`.
        """
        start = time.perf_counter()
        blobs = self.method.encode(pixels)
        middle = time.perf_counter()
        seen = self.method.decode(blobs)
        end = time.perf_counter()
        self.encode_s, self.decode_s = self.encode_s + middle - start, self.decode_s + end - middle
        for what in self.asked:
            start = time.perf_counter()
            self.answers[what.task] += what.ask(self.method.models[what.task], seen, places)
            self.answer_s[what.task] += time.perf_counter() - start
        bits = self.method.check(pixels, blobs)
        self.bits = None if bits is None or self.bits is None else self.bits + bits
        self.n_bytes += [len(blob) for blob in blobs]

    def warm_up(self, pixels: torch.Tensor) -> None:
        """Run everything that is timed once, on the first pictures."""
        seen = self.method.decode(self.method.encode(pixels))
        for what in self.asked:
            what.ask(self.method.models[what.task], seen, range(len(pixels)))

    def measured(self, what: Asked, uncut: Sequence[Any], data: str) -> Measured:
        """The row of one task over the whole split; `uncut` are the uncut model's answers."""
        method, n = self.method, len(self.n_bytes)
        scored = what.score(self.answers[what.task], uncut)
        row = Row(
            codec=method.name,
            quality=method.quality,
            task=what.task,
            data=data,
            n_images=n,
            bytes_mean=float(np.mean(self.n_bytes)),
            bytes_p50=float(np.percentile(self.n_bytes, 50)),
            bytes_p95=float(np.percentile(self.n_bytes, 95)),
            bits_estimated=None if self.bits is None else self.bits / n,
            score=scored.score,
            score_uncut=scored.score_uncut,
            drop=scored.score_uncut - scored.score,
            agreement=scored.agreement,
            encode_ms=1000 * self.encode_s / n,
            decode_ms=1000 * (self.decode_s + self.answer_s[what.task]) / n,
            device_params=method.cost.params,
            device_macs=method.cost.macs,
        )
        return Measured(row, scored.margin, scored.n)


@torch.inference_mode()
def sweep(
    methods: Sequence[Method],
    images: Images | TextImages,
    asked: Sequence[Asked],
    data: str,
    console: Console,
) -> list[Measured]:
    """Measure every method on every image; the first method is the uncut model. Rows come task by
    task.

    Raises:
        DecodeError: something did not decode to what was encoded.
    """
    tallies = [Tally(method, asked) for method in methods]
    n, columns = (
        len(images),
        (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn()),
    )
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console
    ) as progress:
        bar = progress.add_task("images x methods", total=n * len(methods))
        for start in range(0, n, BATCH_SIZE):
            places = range(start, min(start + BATCH_SIZE, n))
            pixels = torch.stack([images[i][0] for i in places])
            for tally in tallies:
                name, quality = tally.method.name, tally.method.quality
                progress.update(bar, description=name if quality is None else f"{name} {quality}")
                if start == 0:
                    tally.warm_up(pixels[:WARM_UP])
                tally.add(pixels, places)
                progress.advance(bar, len(pixels))
    return [
        tally.measured(what, tallies[0].answers[what.task], data)
        for what in asked
        for tally in tallies
    ]


def overspent(row: Row) -> bool:
    """Whether real payloads take more than 1% + 2 bytes above the ideal code length, in the
    mean.
    """
    return (
        row.bits_estimated is not None
        and row.bytes_mean - HEADER_BYTES > 1.01 * row.bits_estimated / 8 + 2
    )


def table_of(measured: Sequence[Measured]) -> Table:
    """Rows of one task as a table for people."""
    first, _, n_answers = measured[0]
    counted = f"{first.n_images} images" + (
        f", {n_answers} answers" if n_answers != first.n_images else ""
    )
    table = Table(
        title=f"{first.task}, {first.data}, {counted}, uncut score {first.score_uncut:.2f} ({SCORES[first.task]})"
    )
    for heading in (
        "codec",
        "quality",
        "bytes",
        "p50",
        "p95",
        "ideal",
        "score",
        "drop (95%)",
        "agreement",
        "encode ms",
        "decode ms",
    ):
        table.add_column(heading, justify="left" if heading == "codec" else "right")
    table.add_column("device params", justify="right")
    table.add_column("device MACs", justify="right")
    for row, margin, _ in measured:
        ideal = "" if row.bits_estimated is None else f"{row.bits_estimated / 8:.1f}"
        cells = [row.codec, "" if row.quality is None else str(row.quality)]
        cells += [
            f"{row.bytes_mean:.1f}",
            f"{row.bytes_p50:.0f}",
            f"{row.bytes_p95:.0f}",
            ideal,
            f"{row.score:.2f}",
        ]
        cells += [
            f"{row.drop:+.2f} ± {margin:.2f}",
            f"{row.agreement:.2f}",
            f"{row.encode_ms:.2f}",
            f"{row.decode_ms:.2f}",
        ]
        table.add_row(*cells, f"{row.device_params:,}", f"{row.device_macs:,}")
    return table
