"""data set -> the row of its own picture files: the uncut model's answers, in other bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from eval.measuring.rows import Row
from eval.methods.method import SOURCE, UNCUT
from training.data.images import Images
from training.data.texts import JoinedSource, RowSource, Source, TextImages


def source_sizes(images: Images | TextImages) -> list[int] | None:
    """Bytes of each picture's file as the data set holds it; None for pictures that are drawn."""
    holder = images if isinstance(images, Images) else images.source
    return _sizes(holder)


def _sizes(holder: Images | Source) -> list[int] | None:
    import datasets

    if isinstance(holder, JoinedSource):
        parts = [_sizes(part) for part in holder.parts]
        return None if None in parts else [size for part in parts for size in part or ()]
    if not isinstance(holder, (Images, RowSource)):
        return None
    name = holder.image_column
    files = holder.rows.cast_column(name, datasets.Image(decode=False))[name]
    return [
        len(file["bytes"]) if file["bytes"] is not None else os.path.getsize(file["path"])
        for file in files
    ]


def with_source_rows(rows: Sequence[Row], sizes: Sequence[int] | None) -> list[Row]:
    """Rows, and behind the uncut model's of each task that of the files; none without sizes."""
    found = []
    for row in rows:
        found.append(row)
        if row.codec == UNCUT and sizes:
            p50, p95 = np.percentile(sizes, (50, 95))
            files = replace(row, codec=SOURCE, encode_ms=0.0, bytes_mean=float(np.mean(sizes)))
            found.append(replace(files, bytes_p50=float(p50), bytes_p95=float(p95)))
    return found
