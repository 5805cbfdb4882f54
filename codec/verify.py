"""bundle, labelled pictures -> how far its symbols and its score are from the codec's in PyTorch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from codec.device import DeviceEncoder
from codec.model import FeatureCodec

LEAST_AGREEMENT, MOST_CHANGE = 99.99, 0.1
"""What a bundle must keep to: percent of symbols, points of score."""
BATCH = 50


class Verified(NamedTuple):
    """What was found.

    Attributes:
        n_images, n_symbols: how many were compared, symbols of all qualities.
        agreement: symbols that are PyTorch's, in percent.
        least_agreement: the same, of the quality where it is least.
        score, bundle_score: right answers at the default quality, in percent: PyTorch's symbols, the bundle's. None without labels.
        score_change: the largest change of the score at any quality, in points. None without labels.
    """

    n_images: int
    n_symbols: int
    agreement: float
    least_agreement: float
    score: float | None
    bundle_score: float | None
    score_change: float | None

    @property
    def holds(self) -> bool:
        """Whether the bundle keeps to the floors."""
        return self.agreement >= LEAST_AGREEMENT and abs(self.score_change or 0.0) <= MOST_CHANGE


def verify(
    bundle: Path, codec: FeatureCodec, data: str, split: str = "test", limit: int = 500, step: Callable[[], None] = lambda: None
) -> Verified:
    """Compare a bundle with its codec on the first `limit` pictures of a data set.

    Args:
        data: folder, parquet files or hub name, whatever `datasets.load_dataset` takes.
        step: called for each batch of 50.

    Raises:
        FileNotFoundError, ValueError: the bundle is not whole or of another codec, or there are no such pictures.
    """
    encoder = DeviceEncoder(str(bundle))
    if encoder.fingerprint != codec.fingerprint:
        raise ValueError(f"{bundle} is not of this {codec.config.name}: their fingerprints differ")
    q_range, labelled = codec.qualities, codec.config.task == "image-classification"
    same = np.zeros(len(q_range), dtype=np.int64)
    right, right_bundle, n_images, n_each = np.zeros(len(q_range)), np.zeros(len(q_range)), 0, 0
    for pictures, labels in _batches(data, split, limit):
        pixel_values = codec.config.preprocess(pictures)
        latent = codec.latent(torch.from_numpy(pixel_values))
        found = encoder.symbols(pixel_values)
        labelled = labelled and labels is not None
        for q in q_range:
            expected = codec.quantise(latent, q)
            same[q] += int((found[:, q] == expected).sum())
            n_each = expected[0].size
            differ = (found[:, q] != expected).any((1, 2))
            if labelled and (q == codec.config.default_quality or differ.any()):
                chosen = np.ones(len(differ), dtype=bool) if q == codec.config.default_quality else differ
                right[q] += int((_answers(codec, expected[chosen], q) == labels[chosen]).sum())
                right_bundle[q] += int((_answers(codec, found[chosen, q], q) == labels[chosen]).sum())
        n_images += len(pictures)
        step()
    share, default = 100 * same / (n_images * n_each), codec.config.default_quality
    points, points_bundle = 100 * right / n_images, 100 * right_bundle / n_images
    return Verified(
        n_images,
        n_images * n_each * len(q_range),
        float(share.mean()),
        float(share.min()),
        float(points[default]) if labelled else None,
        float(points_bundle[default]) if labelled else None,
        float(max(points_bundle - points, key=abs)) if labelled else None,
    )


@torch.inference_mode()
def _answers(codec: FeatureCodec, symbols: NDArray[np.int32], quality: int) -> NDArray[np.int64]:
    """Symbols (B, M, C) -> the labels the tail answers, (B,)."""
    tokens = codec.synthesise(torch.from_numpy(symbols).float(), torch.full((len(symbols),), quality))
    return np.asarray(codec.tail(tokens).logits.argmax(-1).numpy())


def _batches(data: str, split: str, limit: int) -> Iterator[tuple[list[Any], Any]]:
    """Pictures, and their labels (B,) int64 where the data set has any."""
    if importlib.util.find_spec("datasets") is None:
        raise ValueError("reading a data set takes the package datasets: pip install 'task-codec[train]'")
    import datasets

    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(data, split=split)
    except (FileNotFoundError, ConnectionError, ValueError, KeyError) as error:
        raise ValueError(f"cannot load split {split!r} of {data!r}: {str(error).splitlines()[0]}") from error
    image = next((name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)), None)
    label = next((name for name in ("label", "labels") if name in rows.features), None)
    if image is None or not len(rows):
        raise ValueError(f"split {split!r} of {data!r} holds no pictures")
    rows = rows.select(range(min(limit, len(rows))))
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        yield part[image], np.array(part[label]) if label else None
