"""methods x images -> measured rows.

Every blob is really written and really decoded, in batches of 64, and every task is answered from
what came out of the same blob. Times are wall-clock sums over these batches, divided by the number
of images, after a warm-up on a few images: `encode_ms` is pixels -> blob (normalisation, network on
the device, entropy coding, or the picture codec), `decode_ms` is blob -> the task's answers
(entropy decoding and synthesis, or the picture codec; then tail or uncut model, for all questions
of a picture). Preparing the pictures is in neither.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

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

from eval.measuring.evaluators import Evaluator
from eval.measuring.rows import Row
from eval.methods.method import Method
from eval.methods.server_cost import server_macs
from training.data.images import Images
from training.data.texts import TextImages

BATCH_SIZE = 64
WARM_UP = 2


class Tally:
    """What one method did on the images so far, and its answers to each task."""

    def __init__(self, method: Method, evaluators: Sequence[Evaluator]) -> None:
        self.method, self.evaluators = method, evaluators
        self.n_bytes: list[int] = []
        self.answers: dict[str, list[Any]] = {e.task: [] for e in evaluators}
        self.bits: float | None = 0.0
        self.encode_s = self.decode_s = 0.0
        self.server_macs: int | None = None
        self.answer_s = dict.fromkeys(self.answers, 0.0)

    def add(self, pixels: torch.Tensor, places: range) -> None:
        """Encode, decode, answer and check a batch: pixels (B, 3, S, S) uint8 of the pictures at
        `places`.
        """
        start = time.perf_counter()
        blobs = self.method.encode(pixels)
        middle = time.perf_counter()
        inputs = self.method.decode(blobs)
        end = time.perf_counter()
        self.encode_s, self.decode_s = self.encode_s + middle - start, self.decode_s + end - middle
        for evaluator in self.evaluators:
            task = evaluator.task
            start = time.perf_counter()
            self.answers[task] += evaluator.answer(self.method.models[task], inputs, places)
            self.answer_s[task] += time.perf_counter() - start
        bits = self.method.check(pixels, blobs)
        self.bits = None if bits is None or self.bits is None else self.bits + bits
        self.n_bytes += [len(blob) for blob in blobs]

    def warm_up(self, pixels: torch.Tensor) -> None:
        """Run everything that is timed once, on the first pictures; count what the server does."""
        inputs = self.method.decode(self.method.encode(pixels))
        for evaluator in self.evaluators:
            evaluator.answer(self.method.models[evaluator.task], inputs, range(len(pixels)))
        self.server_macs = server_macs(self.method, pixels[:1])

    def row(self, evaluator: Evaluator, uncut: Sequence[Any], data: str) -> Row:
        """The row of one task over the whole split; `uncut` are the uncut model's answers."""
        method, n = self.method, len(self.n_bytes)
        task = evaluator.task
        scored = evaluator.score(self.answers[task], uncut)
        return Row(
            codec=method.name,
            quality=method.quality,
            task=task,
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
            decode_ms=1000 * (self.decode_s + self.answer_s[task]) / n,
            device_params=method.cost.params,
            device_macs=method.cost.macs,
            drop_margin=scored.margin,
            n_answers=scored.n,
            server_macs=self.server_macs,
        )


@torch.inference_mode()
def measure(
    methods: Sequence[Method],
    images: Images | TextImages,
    evaluators: Sequence[Evaluator],
    data: str,
    console: Console,
) -> list[Row]:
    """Measure every method on every image; the first method is the uncut model. Rows come task by
    task.

    Raises:
        DecodeError: something did not decode to what was encoded.
    """
    tallies = [Tally(method, evaluators) for method in methods]
    n = len(images)
    with Progress(
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
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
        tally.row(evaluator, tallies[0].answers[evaluator.task], data)
        for evaluator in evaluators
        for tally in tallies
    ]
