"""recipe -> trained codec -> bytes and right answers, quality by quality and image by image: what
codecs of different trainings are compared by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from codec.files import whole_file
from codec.model import FeatureCodec
from codec.model.cost import device_cost
from codec.tasks import LABELS
from codec.tasks.judge import right
from training.codecs.recipe import CodecRecipe
from training.data.images import Images, batches, normalise
from training.engine.recipe import read_recipe
from training.train import run


class Counted(NamedTuple):
    """By quality and image: bytes of the blob, and whether the codec answered right, (Q, n); and
    the uncut model, (n,).
    """

    n_bytes: NDArray[np.float64]
    right: NDArray[np.float64]
    uncut: NDArray[np.float64]
    device_macs: int


def trained(recipe: str, overrides: Sequence[str], folder: Path) -> FeatureCodec:
    """The codec of a recipe with overrides, trained into `folder` unless it is there already."""
    if not (folder / "final" / "config.json").is_file():
        run(read_recipe(CodecRecipe, recipe, overrides), folder)
    return FeatureCodec.from_pretrained(folder / "final")


def command_of(recipe: str, overrides: Sequence[str]) -> str:
    """The training's command as it is shown: without places that are somebody's own."""
    return " ".join(
        [
            "python -m training.train",
            recipe,
            *(o for o in overrides if not o.startswith(("data=", "backbone="))),
        ]
    )


def images_of(recipe: str, overrides: Sequence[str], split: str, limit: int | None) -> Images:
    """The images that codecs of a recipe are compared on."""
    base = read_recipe(CodecRecipe, recipe, overrides)
    return Images(base.data, split, base.preprocess(), limit)


@torch.inference_mode()
def count(codec: FeatureCodec, images: Images, truncated: bool = False) -> Counted:
    """Real blobs of every image at every quality, or truncated to it from the finest one, and the
    answers that come out of them.
    """
    uncut, preprocess = codec.load_uncut(), codec.config.preprocess
    n_bytes: list[list[int]] = [[] for _ in codec.qualities]
    answered: list[list[float]] = [[] for _ in codec.qualities]
    reference: list[float] = []
    for pixels, labels in track(list(batches(images)), description="measuring"):
        x = normalise(pixels, preprocess)
        reference += _right(uncut, x, labels)
        latent = codec.latent(x)
        for q in codec.qualities:
            finest = codec.qualities[-1]
            symbols = (
                codec.requantise(codec.quantise(latent, finest), finest, q)
                if truncated
                else codec.quantise(latent, q)
            )
            blobs = codec.code(symbols, q)
            n_bytes[q] += [len(blob) for blob in blobs]
            answered[q] += _right(codec.tail, codec.decode(blobs), labels)
    macs = device_cost(codec.encoder, preprocess.size).macs
    return Counted(
        np.array(n_bytes, dtype=float),
        np.array(answered),
        np.array(reference),
        macs,
    )


def _right(model: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> list[float]:
    return right(LABELS, model(inputs).logits.argmax(-1).tolist(), labels.tolist())


def kept(folder: Path, about: str, make: Callable[[], Counted]) -> Counted:
    """What `make` counts, kept in a folder: it takes minutes, and a table is made again whenever a
    row is added.

    Args:
        about: all that it depends on.
    """
    path = folder / f"counted-{hashlib.sha256(about.encode()).hexdigest()[:16]}.npz"
    if not path.is_file():
        made = make()
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file, file.open("wb") as opened:
            np.savez_compressed(opened, **made._asdict())
    with np.load(path) as arrays:
        return Counted(
            arrays["n_bytes"], arrays["right"], arrays["uncut"], int(arrays["device_macs"])
        )
