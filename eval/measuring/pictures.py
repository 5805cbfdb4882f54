"""data set -> pictures as pixels, one by one: labelled ones, or ones with words; and those that
baselines are fitted to.
"""

from __future__ import annotations

import torch
from rich.console import Console

from codec.device.preprocess import Preprocess
from codec.tasks import LABELS
from training.data.images import Images
from training.data.texts import TextImages, open_source

FIT_LIMIT = 2000
"""Images compressai's priors are fitted to."""


def open_images(
    data: str, split: str, preprocess: Preprocess, limit: int | None, tasks: tuple[str, ...]
) -> Images | TextImages:
    """The pictures of a split with what `tasks` are asked by: labels for classification, else
    words.

    Raises:
        ValueError: no such data or split, no pictures in it, or no words.
    """
    if tasks == (LABELS,):
        return Images(data, split, preprocess, limit)
    return TextImages(open_source(data, split, limit), preprocess)


def fit_pixels(
    data: str,
    split: str,
    measured: Images | TextImages,
    preprocess: Preprocess,
    tasks: tuple[str, ...],
    console: Console,
) -> torch.Tensor:
    """Pixels (n, 3, S, S) uint8 to fit baselines to: of `split` where there is one, else of the
    first half of the measured pictures.
    """
    try:
        source = open_images(data, split, preprocess, FIT_LIMIT, tasks)
        n = len(source)
    except (ValueError, OSError):
        source, n = measured, min((len(measured) + 1) // 2, FIT_LIMIT)
        console.print(
            f"note: no split {split!r} to fit compressai's priors to; they get {n} of the measured "
            "images",
            markup=False,
        )
    return torch.stack([source[i][0] for i in range(n)])
