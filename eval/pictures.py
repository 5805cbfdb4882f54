"""data set -> pictures as pixels, one by one: labelled ones, or ones with words; and those that baselines are fitted to."""

from __future__ import annotations

from typing import Protocol

import torch
from rich.console import Console

from codec.preprocess import Preprocess
from eval.asked import LABELS
from training.data import Images
from training.text_data import Source, open_source

FIT_LIMIT = 2000
"""Images compressai's priors are fitted to."""


class Pictures(Protocol):
    """Pictures by index; the first of what an index gives are the pixels (3, S, S) uint8."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[torch.Tensor, int, int] | tuple[torch.Tensor]: ...


class WordImages:
    """Pictures with words, of the size the backbone takes; each is read or drawn when it is asked for, and not kept."""

    def __init__(self, source: Source, preprocess: Preprocess) -> None:
        self.source, self.preprocess = source, preprocess
        self.words = [source.words(i) for i in range(len(source))]

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: int) -> tuple[torch.Tensor]:
        return (torch.tensor(self.preprocess.pixels(self.source.picture(index))).permute(2, 0, 1).contiguous(),)


def open_images(data: str, split: str, preprocess: Preprocess, limit: int | None, tasks: tuple[str, ...]) -> Images | WordImages:
    """The pictures of a split with what `tasks` are asked by: labels for classification, else words.

    Raises:
        ValueError: no such data or split, no pictures in it, or no words.
    """
    if tasks == (LABELS,):
        return Images(data, split, preprocess, limit)
    return WordImages(open_source(data, split, limit), preprocess)


def fit_pixels(data: str, split: str, measured: Pictures, preprocess: Preprocess, tasks: tuple[str, ...], console: Console) -> torch.Tensor:
    """Pixels (n, 3, S, S) uint8 to fit baselines to: of `split` where there is one, else of the first half of the measured pictures."""
    source: Pictures
    try:
        source = open_images(data, split, preprocess, FIT_LIMIT, tasks)
        n = len(source)
    except (ValueError, OSError):
        source, n = measured, min((len(measured) + 1) // 2, FIT_LIMIT)
        console.print(f"note: no split {split!r} to fit compressai's priors to; they get {n} of the measured images", markup=False)
    return torch.stack([source[i][0] for i in range(n)])
