"""methods x images -> measured rows, and the table people read.

Every blob is really written and really decoded, in batches of 64. Times are wall-clock sums over these batches, divided by
the number of images, after a warm-up on a few images: `encode_ms` is pixels -> blob (normalisation, network on the device,
entropy coding, or the picture codec), `decode_ms` is blob -> logits (entropy decoding and synthesis, or the picture codec;
then tail or uncut model). Preparing the pictures is in neither.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from codec.bitstream import HEADER_BYTES
from eval.methods import Method
from eval.rows import Row
from training.data import Images

BATCH_SIZE = 64
WARM_UP = 2


class Measured(NamedTuple):
    """A row and what the table says beyond it: half the 95% interval of the drop, in points.

    The interval is the paired one: normal approximation over the images' differences (uncut right - codec right).
    """

    row: Row
    drop_margin: float


class Tally:
    """What one method did on the images so far."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self.n_bytes: list[int] = []
        self.answers: list[torch.Tensor] = []
        self.bits: float | None = 0.0
        self.encode_s = self.decode_s = 0.0

    def add(self, pixels: torch.Tensor) -> None:
        """Encode, decode and check a batch."""
        start = time.perf_counter()
        blobs = self.method.encode(pixels)
        middle = time.perf_counter()
        logits = self.method.decode(blobs)
        self.encode_s, self.decode_s = self.encode_s + middle - start, self.decode_s + time.perf_counter() - middle
        bits = self.method.check(pixels, blobs)
        self.bits = None if bits is None or self.bits is None else self.bits + bits
        self.n_bytes += [len(blob) for blob in blobs]
        self.answers.append(logits.argmax(-1))

    def measured(self, labels: torch.Tensor, uncut: torch.Tensor, task: str, data: str) -> Measured:
        """The row of the whole split; `labels` and `uncut` (the uncut model's answers) are (n,) int64."""
        method, n, answers = self.method, len(labels), torch.cat(self.answers)
        lost = (uncut == labels).double() - (answers == labels).double()
        score, score_uncut = (100 * float((a == labels).double().mean()) for a in (answers, uncut))
        row = Row(
            codec=method.name,
            quality=method.quality,
            task=task,
            data=data,
            n_images=n,
            bytes_mean=float(np.mean(self.n_bytes)),
            bytes_p50=float(np.percentile(self.n_bytes, 50)),
            bytes_p95=float(np.percentile(self.n_bytes, 95)),
            bits_estimated=None if self.bits is None else self.bits / n,
            score=score,
            score_uncut=score_uncut,
            drop=score_uncut - score,
            agreement=100 * float((answers == uncut).double().mean()),
            encode_ms=1000 * self.encode_s / n,
            decode_ms=1000 * self.decode_s / n,
            device_params=method.cost.params,
            device_macs=method.cost.macs,
        )
        return Measured(row, 196 * float(lost.std(correction=0)) / n**0.5)


@torch.inference_mode()
def sweep(methods: Sequence[Method], images: Images, task: str, data: str, console: Console) -> list[Measured]:
    """Measure every method on every image; the first method is the uncut model.

    Raises:
        DecodeError: something did not decode to what was encoded.
    """
    tallies = [Tally(method) for method in methods]
    n, columns = len(images), (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("images x methods", total=n * len(methods))
        for start in range(0, n, BATCH_SIZE):
            pixels = torch.stack([images[i][0] for i in range(start, min(start + BATCH_SIZE, n))])
            for tally in tallies:
                name, quality = tally.method.name, tally.method.quality
                progress.update(bar, description=name if quality is None else f"{name} {quality}")
                if start == 0:
                    tally.method.decode(tally.method.encode(pixels[:WARM_UP]))
                tally.add(pixels)
                progress.advance(bar, len(pixels))
    labels, uncut = torch.tensor(images.labels), torch.cat(tallies[0].answers)
    return [tally.measured(labels, uncut, task, data) for tally in tallies]


def overspent(row: Row) -> bool:
    """Whether real payloads take more than 1% + 2 bytes above the ideal code length, in the mean."""
    return row.bits_estimated is not None and row.bytes_mean - HEADER_BYTES > 1.01 * row.bits_estimated / 8 + 2


def table_of(measured: Sequence[Measured]) -> Table:
    """Rows as a table for people."""
    first = measured[0].row
    table = Table(title=f"{first.task}, {first.data}, {first.n_images} images, uncut score {first.score_uncut:.2f}")
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
    for row, margin in measured:
        ideal = "" if row.bits_estimated is None else f"{row.bits_estimated / 8:.1f}"
        cells = [row.codec, "" if row.quality is None else str(row.quality)]
        cells += [f"{row.bytes_mean:.1f}", f"{row.bytes_p50:.0f}", f"{row.bytes_p95:.0f}", ideal, f"{row.score:.2f}"]
        cells += [f"{row.drop:+.2f} ± {margin:.2f}", f"{row.agreement:.2f}", f"{row.encode_ms:.2f}", f"{row.decode_ms:.2f}"]
        table.add_row(*cells, f"{row.device_params:,}", f"{row.device_macs:,}")
    return table
