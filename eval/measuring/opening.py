"""names of codecs and of a data set -> codecs, uncut models, and pictures as pixels: what a sweep
or a study begins with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from codec.device.preprocess import Preprocess
from codec.model import FeatureCodec
from codec.model.split import share_tower
from codec.tasks import LABELS
from training.data.images import Images
from training.data.texts import TextImages, open_source, set_names

FIT_LIMIT = 2000
"""Images compressai's priors are fitted to."""


def load_codecs(names: Sequence[str]) -> list[FeatureCodec]:
    """Codecs that can share a table: of different names, made for one backbone and one
    preprocessing.

    Raises:
        FileNotFoundError, ValueError: one cannot be loaded, or they cannot share a table.
    """
    codecs = [FeatureCodec.from_pretrained(name) for name in names]
    called = [codec.config.name for codec in codecs]
    if len(set(called)) < len(called):
        raise ValueError(
            f"two of the codecs have the same name ({', '.join(called)}): their rows could not be "
            "told apart"
        )
    made_for = {(c.backbone_digest, c.config.preprocess, c.config.task) for c in codecs}
    if len(made_for) > 1:
        raise ValueError(
            "the codecs belong to different backbones: sweep each backbone's codecs on their own"
        )
    return codecs


def load_uncut(codec: FeatureCodec) -> dict[str, Any]:
    """The uncut models of a codec, by task, with one vision tower."""
    models = {task: codec.load_uncut(task) for task in codec.config.tasks}
    share_tower(list(models.values()))
    return models


def open_images(
    data: str,
    split: str,
    preprocess: Preprocess,
    limit: int | None,
    tasks: tuple[str, ...],
    model_labels: Mapping[int, str] | None = None,
) -> Images | TextImages:
    """The pictures of a split with what `tasks` need: labels for classification, which are matched
    with the model's, else words.

    Raises:
        ValueError: no such data or split, no pictures in it, or no words.
    """
    if tasks == (LABELS,):
        return Images(data, split, preprocess, limit, model_labels=model_labels)
    return TextImages(open_source(data, split, limit), preprocess)


def data_name(data: str, split: str) -> str:
    """What tables call a split: the last part of a folder's path; of several data sets each one's,
    "flickr8k, daquar:test".
    """
    return f"{', '.join(Path(name).resolve().name for name in set_names(data))}:{split}"


def fit_pixels(
    data: str,
    split: str,
    measured: Images | TextImages,
    preprocess: Preprocess,
    tasks: tuple[str, ...],
    console: Console,
) -> torch.Tensor:
    """Pixels (n, 3, S, S) uint8 to fit compressai's priors to: of `split` where there is one, else
    of the first half of the measured pictures.
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
