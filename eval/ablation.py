"""python -m eval.ablation: bytes that a codec needs for a drop of 0.2 points, with each of its steps removed.

Without arguments it prints the shipped measurements and draws them. `--train RECIPE key=value ...` makes them anew: it trains the
recipe once as it is and once for each step without it, measures real blobs, and writes the rows. Bytes are interpolated on each
rate-drop curve (`eval.report.rate_at`); intervals are 95%, from 1,000 resamplings of the test images, paired: every codec answers the
same resampled images, and so does the uncut model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from codec.bitstream import HEADER_BYTES
from codec.checkpoint import whole_file
from codec.context import LIMIT
from codec.model import FeatureCodec
from codec.rangecoder import Tables, encoder
from eval.report import rate_at
from training.codec_recipe import CodecRecipe
from training.data import Images, batches, normalise
from training.recipe import read_recipe
from training.train import run

DROP = 0.2
SHIPPED = Path(__file__).parent.parent / "docs" / "ablation.jsonl"
FULL = "as it is"
STATIC = "without contexts: a static table a channel and quality"
TRUNCATED = "truncated from its finest quality, not encoded anew"
STEPS: dict[str, tuple[str, ...] | None] = {
    FULL: (),
    STATIC: None,
    TRUNCATED: None,
    "without labels in the target": ("label_weight=0",),
    "without adapters in the tail": ("adapter_rank=0",),
    "without the synthesis' block": ("synthesis_depth=0",),
    "without matching tokens first": ("match.epochs=0", "answer.epochs={epochs}"),
}
"""What is removed, and how the recipe says so (`{epochs}` are those of both stages); None for what is measured on the codec as it is."""
N_RESAMPLINGS = 1000


@dataclass(frozen=True)
class Step:
    """A row: the codec without one step.

    Attributes:
        name: what was removed.
        command: the training that made it.
        n_images: test images.
        n_bytes, low, high: mean bytes of a blob at a drop of 0.2 points, and their 95% interval.
        ratio, ratio_low, ratio_high: these over the bytes of the codec as it is, resampled together.
        bound: "<=" or ">" where all qualities lie on one side of that drop.
        curve: (mean bytes, drop) of each quality.
    """

    name: str
    command: str
    n_images: int
    n_bytes: float
    low: float
    high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    bound: str
    curve: list[tuple[float, float]]


class Counted(NamedTuple):
    """By quality and image: bytes of the blob, and whether the codec answered right, (Q, n); and the uncut model, (n,)."""

    n_bytes: NDArray[np.float64]
    right: NDArray[np.float64]
    uncut: NDArray[np.float64]


@torch.inference_mode()
def count(codec: FeatureCodec, images: Images, truncated: bool = False) -> Counted:
    """Real blobs of every image at every quality, or truncated to it from the finest one, and the answers that come out of them."""
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
            symbols = codec.requantise(codec.quantise(latent, finest), finest, q) if truncated else codec.quantise(latent, q)
            blobs = codec.code(symbols, q)
            n_bytes[q] += [len(blob) for blob in blobs]
            right[q] += (codec.tail(codec.decode(blobs)).logits.argmax(-1) == labels).tolist()
    return Counted(np.array(n_bytes, dtype=float), np.array(right, dtype=float), np.array(reference, dtype=float))


@torch.inference_mode()
def static_bytes(codec: FeatureCodec, fit: Images, images: Images) -> NDArray[np.float64]:
    """Bytes (Q, n) of blobs whose symbols are coded with static tables, one a channel and quality, counted on `fit`."""
    preprocess = codec.config.preprocess
    rows = []
    fit_latents, latents = ([codec.latent(normalise(x, preprocess)) for x, _ in batches(some)] for some in (fit, images))
    for q in track(codec.qualities, description="static tables"):
        counts = np.zeros((codec.config.n_channels, 2 * LIMIT + 1))
        for latent in fit_latents:
            symbols = codec.quantise(latent, q) + LIMIT
            counts += np.stack([np.bincount(symbols[..., c].ravel(), minlength=2 * LIMIT + 1) for c in range(len(counts))])
        tables = Tables.from_mass(counts + 1e-3)
        sizes = []
        for latent in latents:
            for image in codec.quantise(latent, q) + LIMIT:
                coder = encoder(tables)
                for channel, row in enumerate(np.ascontiguousarray(image.T)):
                    coder.write(row, channel)
                sizes.append(HEADER_BYTES + len(coder.finish()))
        rows.append(sizes)
    return np.array(rows, dtype=float)


def steps_of(counted: dict[str, Counted], commands: dict[str, str], seed: int = 0) -> list[Step]:
    """Rows of what was counted, the codec as it is among it."""
    n = len(counted[FULL].uncut)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLINGS) / n
    whole = np.full((1, n), 1 / n)
    resampled = {name: (_bytes(some, whole)[0], _bytes(some, weights)) for name, some in counted.items()}
    full, fulls = resampled[FULL]
    made = []
    for name, (value, values) in resampled.items():
        some = counted[name]
        curve = [(float(b), float(d)) for b, d in zip(some.n_bytes.mean(1), _drops(some, whole)[0], strict=True)]
        bound = rate_at([{"bytes_mean": b, "drop": d} for b, d in curve], DROP).bound
        low, high = np.percentile(values, (2.5, 97.5)).tolist()
        ratio_low, ratio_high = np.percentile(values / fulls, (2.5, 97.5)).tolist()
        made.append(Step(name, commands[name], n, float(value), low, high, float(value / full), ratio_low, ratio_high, bound, curve))
    return made


def _drops(counted: Counted, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points lost in each resampling, (R, Q)."""
    return 100 * (weights @ counted.uncut[:, None] - weights @ counted.right.T)


def _bytes(counted: Counted, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bytes at the drop in each resampling, (R,)."""
    curves = zip(weights @ counted.n_bytes.T, _drops(counted, weights), strict=True)
    return np.array([rate_at([{"bytes_mean": b, "drop": d} for b, d in zip(*curve, strict=True)], DROP).n_bytes for curve in curves])


def train_and_count(
    recipe: str, overrides: Sequence[str], runs: Path, test_split: str, limit: int | None, n_steps: int | None = None
) -> list[Step]:
    """Train what is not yet trained under `runs`, measure it on the test split."""
    base = read_recipe(CodecRecipe, recipe, overrides)
    images = Images(base.data, test_split, base.preprocess(), limit)
    counted: dict[str, Counted] = {}
    commands: dict[str, str] = {}
    for i, (name, changes) in enumerate(list(STEPS.items())[:n_steps]):
        folder = runs / f"{i}"
        epochs = base.match.epochs + base.answer.epochs
        changed = [change.format(epochs=epochs) for change in changes or ()]
        public = [item for item in (*overrides, *changed) if not item.startswith(("data=", "backbone="))]
        commands[name] = " ".join(["python -m training.train", recipe, *public])
        if name == STATIC:
            fit = Images(base.data, base.train_split, base.preprocess(), base.count_limit)
            n_bytes = static_bytes(FeatureCodec.from_pretrained(runs / "0" / "final"), fit, images)
            counted[name] = counted[FULL]._replace(n_bytes=n_bytes)
            continue
        if name == TRUNCATED:
            counted[name] = count(FeatureCodec.from_pretrained(runs / "0" / "final"), images, truncated=True)
            continue
        if not (folder / "final" / "config.json").is_file():
            run(read_recipe(CodecRecipe, recipe, [*overrides, *changed]), folder)
        counted[name] = count(FeatureCodec.from_pretrained(folder / "final"), images)
    return steps_of(counted, commands)


def markdown(steps: Sequence[Step]) -> str:
    """Rows as the table of the documentation."""
    lines = ["| the codec | bytes at a drop of 0.2 points | 95% | times as many | 95% |", "|---|--:|--:|--:|--:|"]
    for s in steps:
        interval, ratio = f"{s.low:.1f} to {s.high:.1f}", f"{s.ratio_low:.2f} to {s.ratio_high:.2f}"
        lines.append(f"| {s.name} | {s.bound}{s.n_bytes:.1f} | {interval} | {s.ratio:.2f} | {ratio} |")
    return "\n".join(lines)


def context_savings(steps: Sequence[Step]) -> list[float]:
    """Percent of the payload that contexts save over static tables, by quality."""
    full, static = (next(s.curve for s in steps if s.name == name) for name in (FULL, STATIC))
    return [100 * (1 - (ours - HEADER_BYTES) / (theirs - HEADER_BYTES)) for (ours, _), (theirs, _) in zip(full, static, strict=True)]


def draw(steps: Sequence[Step], out: Path) -> None:
    """Draw the bytes of each row, with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(10, 0.6 * len(steps) + 1.6), layout="constrained")
    for place, s in enumerate(reversed(steps)):
        ax.barh(place, s.n_bytes, color="#d1495b" if s.name == FULL else "#8d99ae", height=0.62)
        ax.plot((s.low, s.high), (place, place), color="#222222", linewidth=1.6)
        ax.text(s.high, place, f"  {s.bound}{s.n_bytes:.1f}", va="center", fontsize=12)
    ax.set_yticks(range(len(steps)), [s.name for s in reversed(steps)], fontsize=12)
    ax.set_xlabel("bytes per image at a drop of 0.2 points, header included", fontsize=12)
    ax.set_xlim(0, 1.15 * max(s.high for s in steps))
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)
    plt.close(figure)


def read_steps(path: Path) -> list[Step]:
    """
    Raises:
        ValueError: no such file, or it holds no steps.
    """
    try:
        return [Step(**json.loads(line)) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds no rows of an ablation: {error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="eval.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="put over the recipe in every training")
    parser.add_argument("--train", metavar="RECIPE", help="train and measure anew, instead of reading --rows")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"), help="folder of the trainings; default: %(default)s")
    parser.add_argument("--split", default="test", help="images that are measured; default: %(default)s")
    parser.add_argument("--limit", type=int, help="the first so many of them only")
    parser.add_argument("--first", type=int, metavar="N", help="make the first so many rows only; the first three need one training")
    parser.add_argument("--rows", type=Path, default=SHIPPED, help="file of JSON lines, written with --train; default: the shipped one")
    parser.add_argument("--out", type=Path, default=Path("ablation.png"), help="picture to draw; default: %(default)s")
    args = parser.parse_args(argv)
    try:
        if args.train:
            steps = train_and_count(args.train, args.overrides, args.runs, args.split, args.limit, args.first)
            args.rows.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(args.rows) as file:
                file.write_text("".join(json.dumps(asdict(s)) + "\n" for s in steps))
        steps = read_steps(args.rows)
        print(f"{steps[0].n_images:,} images\n", markdown(steps), sep="\n")
        print("\nContexts save of the payload, by quality: " + ", ".join(f"{saved:.1f}%" for saved in context_savings(steps)) + "\n")
        for s in steps:
            print(f"{s.name}: {s.command}")
        draw(steps, args.out)
    except (ValueError, OSError) as error:
        print(f"eval.ablation: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
