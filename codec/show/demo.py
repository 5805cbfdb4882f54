"""bundled pictures -> blobs -> labels, the whole way, beside the uncut model's labels and what the
pictures take as PNG, WebP and JPEG.

Each picture goes alone and as real bytes: preprocessing and encoding on the device's side, decoding
and tail on the server's side.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from codec.device.preprocess import to_rgb
from codec.model import checkpoint
from codec.pipeline import Device, Server
from codec.show.formats import n_bytes_as
from codec.tasks.labels import labels_of

if TYPE_CHECKING:
    from codec.model import FeatureCodec


class Sample(NamedTuple):
    """A bundled picture and its true label."""

    path: Path
    label: str


class Sent(NamedTuple):
    """What became of one picture.

    Attributes:
        uncut, coded: the label that the uncut model gives, and the one that comes out of the blob.
        n_bytes: bytes of the blob.
        picture_n_bytes: bytes of the picture in each of `FORMATS`.
        device_ms, server_ms: wall-clock times of the two sides.
    """

    sample: Sample
    uncut: str
    coded: str
    n_bytes: int
    picture_n_bytes: dict[str, int]
    device_ms: float
    server_ms: float


class RatePoint(NamedTuple):
    """One quality on the bundled pictures: mean bytes of a blob, accuracy in percent."""

    quality: int
    bytes_mean: float
    score: float


class Summary(NamedTuple):
    """All pictures together: accuracies and agreement in percent, and mean bytes of a blob."""

    uncut: float
    coded: float
    agreement: float
    bytes_mean: float


def label_samples(folder: Path, limit: int | None = None) -> list[Sample]:
    """The pictures of a folder, or the first `limit` of them; a file is named <number>_<label>."""
    paths = sorted(path for path in folder.glob("*_*") if path.suffix in (".png", ".jpg"))
    return [Sample(path, path.stem.partition("_")[2]) for path in paths[:limit]]


def bundled_samples(codec: FeatureCodec, limit: int | None = None) -> list[Sample]:
    """The bundled pictures whose labels a codec answers with, or the first `limit` of them.

    Raises:
        FileNotFoundError: there are none.
        ValueError: the codec answers with none of their labels.
    """
    root = checkpoint.shipped_root() / "samples"
    folders = [found for folder in sorted(root.glob("*")) if (found := label_samples(folder))]
    if not folders:
        raise FileNotFoundError(f"no pictures in {root}")
    known = set(labels_of(codec.tails))
    for found in folders:
        if {sample.label for sample in found} <= known:
            return found[:limit]
    raise ValueError(
        f"{codec.config.name} has none of the bundled pictures' labels "
        f"({', '.join(sorted(known)[:4])}, ...)"
    )


def send(
    codec: FeatureCodec, samples: Sequence[Sample], step: Callable[[], None] = lambda: None
) -> list[Sent]:
    """Send each picture alone at the codec's default quality, after one that warms up.

    Args:
        step: called after each picture.
    """
    device, server, uncut = Device(codec), Server(codec), codec.load_uncut()
    server(device(samples[0].path), top_k=1)
    sent = []
    for sample in samples:
        picture = to_rgb(sample.path)
        start = time.perf_counter()
        blob = device(picture)
        middle = time.perf_counter()
        coded = server(blob, top_k=1)[0]["label"]
        end = time.perf_counter()
        with torch.inference_mode():
            index = int(uncut(device.preprocess([picture])).logits.argmax())
        times = 1000 * (middle - start), 1000 * (end - middle)
        sent.append(
            Sent(sample, server.labels[index], coded, len(blob), n_bytes_as(picture), *times)
        )
        step()
    return sent


def summary(sent: Sequence[Sent]) -> Summary:
    """Accuracies, agreement and mean bytes of what was sent."""
    uncut = [row.uncut == row.sample.label for row in sent]
    coded = [row.coded == row.sample.label for row in sent]
    agree = [row.uncut == row.coded for row in sent]
    return Summary(
        100 * float(np.mean(uncut)),
        100 * float(np.mean(coded)),
        100 * float(np.mean(agree)),
        float(np.mean([row.n_bytes for row in sent])),
    )


def mean_bytes_as(sent: Sequence[Sent], name: str) -> float:
    """Mean bytes of the pictures in one of `FORMATS`."""
    return float(np.mean([row.picture_n_bytes[name] for row in sent]))


def rate_curve(codec: FeatureCodec, samples: Sequence[Sample]) -> list[RatePoint]:
    """Bytes and accuracy of the pictures at every quality of the codec."""
    device, server = Device(codec), Server(codec)
    pictures = [to_rgb(sample.path) for sample in samples]
    points = []
    for quality in codec.qualities:
        blobs = device(pictures, quality)
        right = [
            answer[0]["label"] == sample.label
            for answer, sample in zip(server(blobs, top_k=1), samples, strict=True)
        ]
        bytes_mean = float(np.mean([len(blob) for blob in blobs]))
        points.append(RatePoint(quality, bytes_mean, 100 * float(np.mean(right))))
    return points


def read_sweep(codec: FeatureCodec) -> list[dict[str, Any]]:
    """Rows of the sweep on the test split, from beside the codec's checkpoint; [] where there are
    none.

    Raises:
        ValueError: the file does not hold such rows.
    """
    file = codec.folder / "sweep.jsonl"
    if not file.is_file():
        return []
    try:
        rows = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not JSON lines: {error}") from error
    needed = {"codec", "bytes_mean", "score", "score_uncut"}
    if not all(isinstance(row, dict) and row.keys() >= needed for row in rows):
        raise ValueError(f"{file} does not hold rows of a sweep")
    return rows
