"""trained codecs -> bytes each needs for the same drop: counted image by image, resampled together,
kept as rows.

Bytes are interpolated on each codec's rate-drop curve (`eval.report.rate_at`). Intervals are 95%,
from 1,000 resamplings of the test images, paired: every codec answers the same resampled images,
and so does the uncut model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from codec.files import whole_file
from codec.model import FeatureCodec
from eval.methods.method import device_cost
from eval.report import rate_at
from training.codecs.recipe import CodecRecipe
from training.data.images import Images, batches, normalise
from training.engine.recipe import read_recipe
from training.train import run

N_RESAMPLINGS = 1000


@dataclass(frozen=True)
class Compared:
    """A row: what a codec needs, beside the first one of its table.

    Attributes:
        name: what is different about it.
        command: the training that made it.
        n_images: test images.
        device_macs: multiply-accumulates of the network on the device, for one image.
        drop: the points at which bytes are compared.
        n_bytes, low, high: mean bytes of a blob at that drop, and their 95% interval.
        ratio, ratio_low, ratio_high: these over the bytes of the first codec at the same drop,
            resampled together.
        bound: "<=" or ">" where all its qualities lie on one side of that drop.
        curve: (mean bytes, drop) of each quality.
    """

    name: str
    command: str
    n_images: int
    device_macs: int
    drop: float
    n_bytes: float
    low: float
    high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    bound: str
    curve: list[tuple[float, float]]


class Counted(NamedTuple):
    """By quality and image: bytes of the blob, and whether the codec answered right, (Q, n); and
    the uncut model, (n,).
    """

    n_bytes: NDArray[np.float64]
    right: NDArray[np.float64]
    uncut: NDArray[np.float64]
    device_macs: int


class Point(NamedTuple):
    """Mean bytes and drop of a quality."""

    bytes_mean: float
    drop: float


@torch.inference_mode()
def count(codec: FeatureCodec, images: Images, truncated: bool = False) -> Counted:
    """Real blobs of every image at every quality, or truncated to it from the finest one, and the
    answers that come out of them.
    """
    uncut, preprocess = codec.load_uncut(), codec.config.preprocess
    n_bytes: list[list[int]] = [[] for _ in codec.qualities]
    right: list[list[bool]] = [[] for _ in codec.qualities]
    reference: list[bool] = []
    for pixels, labels in track(list(batches(images)), description="measuring"):
        x = normalise(pixels, preprocess)
        reference += (uncut(x).logits.argmax(-1) == labels).tolist()
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
            right[q] += (codec.tail(codec.decode(blobs)).logits.argmax(-1) == labels).tolist()
    macs = device_cost(codec.encoder, preprocess.size).macs
    return Counted(
        np.array(n_bytes, dtype=float),
        np.array(right, dtype=float),
        np.array(reference, dtype=float),
        macs,
    )


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


def compare(
    counted: dict[str, Counted], commands: dict[str, str], drop: float, seed: int = 0
) -> list[Compared]:
    """Rows of what was counted; the first codec is the one that the others are held against.

    A codec of a single quality has no curve: the two are compared at its own drop.
    """
    first = next(iter(counted.values()))
    n = len(first.uncut)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLINGS) / n
    weights = np.vstack([np.full(n, 1 / n), weights])
    firsts = _curves(first, weights)
    made = []
    for name, some in counted.items():
        curves = _curves(some, weights)
        at = [drop if len(curve) > 1 else curve[0].drop for curve in curves]
        needed, full = (
            np.array([_bytes(c, d) for c, d in zip(own, at, strict=True)])
            for own in (curves, firsts)
        )
        row = Compared(
            name=name,
            command=commands[name],
            n_images=n,
            device_macs=some.device_macs,
            drop=at[0],
            n_bytes=float(needed[0]),
            low=float(np.percentile(needed[1:], 2.5)),
            high=float(np.percentile(needed[1:], 97.5)),
            ratio=float(needed[0] / full[0]),
            ratio_low=float(np.percentile(needed[1:] / full[1:], 2.5)),
            ratio_high=float(np.percentile(needed[1:] / full[1:], 97.5)),
            bound=rate_at([point._asdict() for point in curves[0]], at[0]).bound
            if len(curves[0]) > 1
            else "",
            curve=[(point.bytes_mean, point.drop) for point in curves[0]],
        )
        made.append(row)
    return made


def _curves(counted: Counted, weights: NDArray[np.float64]) -> list[list[Point]]:
    """The curve of a codec with images weighted (R, n), in each of the R ways."""
    drops = 100 * (weights @ counted.uncut[:, None] - weights @ counted.right.T)
    n_bytes = weights @ counted.n_bytes.T
    return [
        [Point(float(b), float(d)) for b, d in zip(*rows, strict=True)]
        for rows in zip(n_bytes, drops, strict=True)
    ]


def _bytes(curve: Sequence[Point], drop: float) -> float:
    return rate_at([point._asdict() for point in curve], drop).n_bytes


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


def arguments(
    prog: str, doc: str | None, overrides: str, drop: float, shipped: Path
) -> argparse.ArgumentParser:
    """The command line that comparisons share; `shipped` is their file of rows, `overrides` says
    what the recipe's are put over.
    """
    name = prog.rpartition(".")[2]
    parser = argparse.ArgumentParser(
        prog=prog, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help=f"put over the recipe in {overrides}"
    )
    parser.add_argument(
        "--train", metavar="RECIPE", help="train and measure anew, instead of reading --rows"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs") / name,
        help="folder of the trainings; default: %(default)s",
    )
    parser.add_argument(
        "--split", default="test", help="images that are measured; default: %(default)s"
    )
    parser.add_argument("--limit", type=int, help="the first so many of them only")
    parser.add_argument(
        "--drop",
        type=float,
        default=drop,
        help="points at which bytes are compared; default: %(default)g",
    )
    parser.add_argument(
        "--rows",
        type=Path,
        default=shipped,
        help="file of JSON lines, written with --train; default: the shipped one",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(f"{name}.png"),
        help="picture to draw; default: %(default)s",
    )
    return parser


def write_compared(rows: Sequence[Compared], path: Path) -> None:
    """Write rows as JSON lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def read_compared(path: Path) -> list[Compared]:
    """The inverse of `write_compared`.

    Raises:
        ValueError: no such file, or it holds no such rows.
    """
    try:
        rows = [
            Compared(**json.loads(line)) for line in path.read_text().splitlines() if line.strip()
        ]
    except (OSError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds no codecs that were compared: {error}") from error
    if not rows:
        raise ValueError(f"{path} holds no codecs that were compared: it is empty")
    return rows
