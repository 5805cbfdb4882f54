"""python -m eval.studies.ablation: bytes that a codec needs for a drop of 0.2 points, with each of
its steps removed.

Without arguments it prints the shipped measurements and draws them. `--train RECIPE key=value ...`
makes them anew: it trains the recipe once as it is and once for each step without it, measures real
blobs (`eval.studies.counting`), and writes the rows.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from codec.coding.container import HEADER_BYTES
from codec.model import FeatureCodec
from codec.show.console import failed
from codec.show.plot import save_figure
from eval.studies.compare import (
    Compared,
    arguments,
    compare,
    print_curves,
)
from eval.studies.counting import Counted, command_of, count, images_of, kept, trained
from eval.studies.kept_rows import read_rows, write_rows
from eval.studies.static_tables import static_bytes
from training.codecs.recipe import CodecRecipe
from training.data.images import Images
from training.engine.recipe import read_recipe

SHIPPED = Path(__file__).parent.parent.parent / "docs" / "ablation.jsonl"
FULL = "as it is"
STATIC = "without contexts: a static table a channel and quality"
TRUNCATED = "truncated from its finest quality, not encoded anew"
PLAIN = "without dead zones: plain rounding"


def alone(quality: int) -> tuple[str, ...]:
    """A training for the rate of one quality of the recipe, from that quality's gains; its `start`
    has as many qualities as the recipe.
    """
    return (
        f"rate_weights=[{{rate_weights[{quality}]}}]",
        f"start_quality={quality}",
        "shares=[]",
        "even_from=null",
    )


STEPS: dict[str, tuple[str, ...]] = {
    FULL: (),
    STATIC: (),
    TRUNCATED: (),
    PLAIN: ("dead_zone_limit=0",),
    "trained for the rate of quality 0 alone": alone(0),
    "trained for the rate of quality 1 alone": alone(1),
    "trained for the rate of quality 3 alone": alone(3),
    "without labels in the target": ("label_weight=0",),
    "without adapters in the tail": ("adapter_rank=0",),
    "without soft rounding before the noise": ("sharpness=0",),
    "trained for the rate of quality 6 alone": alone(6),
}
"""What is removed, and how the recipe says so (`{...}` is a field of the recipe as it is)."""
NO_TRAINING = 4
"""The first so many steps are measured on the codec as it is; for `PLAIN` it is only frozen
anew.
"""


def train_and_compare(
    recipe: str,
    overrides: Sequence[str],
    runs: Path,
    split: str,
    limit: int | None,
    drop: float,
    n_steps: int | None = None,
) -> list[Compared]:
    """Train what is not yet trained under `runs`, measure it on `split`."""
    base = read_recipe(CodecRecipe, recipe, overrides)
    images = images_of(recipe, overrides, split, limit)
    counted: dict[str, Counted] = {}
    commands: dict[str, str] = {}
    for i, (name, changes) in enumerate(list(STEPS.items())[:n_steps]):
        changed = [*overrides, *(change.format(**vars(base)) for change in changes)]
        commands[name] = command_of(recipe, changed)
        full, folder = runs / "0", runs / f"{i}"
        if name == PLAIN and not folder.exists():
            shutil.copytree(full, folder, ignore=shutil.ignore_patterns("final", "counted-*"))
        codec = (
            trained(recipe, overrides, full)
            if name in (STATIC, TRUNCATED)
            else trained(recipe, changed, folder)
        )
        make = (
            partial(_static, counted[FULL], codec, base, images)
            if name == STATIC
            else partial(count, codec, images, name == TRUNCATED)
        )
        counted[name] = kept(
            folder, f"{name} {codec.fingerprint.hex()} {base.data} {split} {limit}", make
        )
    return compare(counted, commands, drop)


def _static(full: Counted, codec: FeatureCodec, base: CodecRecipe, images: Images) -> Counted:
    """The same symbols, so the same answers, in other bytes."""
    fit = Images(base.data, base.train_split, base.preprocess(), base.count_limit)
    return full._replace(n_bytes=static_bytes(codec, fit, images))


def markdown(steps: Sequence[Compared]) -> str:
    """Rows as the table of the documentation."""
    lines = [
        "| the codec | drop, points | bytes | 95% | times as many | 95% |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for s in steps:
        interval, ratio = f"{s.low:.1f} to {s.high:.1f}", f"{s.ratio_low:.2f} to {s.ratio_high:.2f}"
        lines.append(
            f"| {s.name} | {s.drop:.2f} | {s.bound}{s.n_bytes:.1f} | {interval} | {s.ratio:.2f} | "
            f"{ratio} |"
        )
    return "\n".join(lines)


def context_savings(steps: Sequence[Compared]) -> list[float]:
    """Percent of the payload that contexts save over static tables, by quality."""
    full, static = (next(s.curve for s in steps if s.name == name) for name in (FULL, STATIC))
    return [
        100 * (1 - (ours - HEADER_BYTES) / (theirs - HEADER_BYTES))
        for (ours, _), (theirs, _) in zip(full, static, strict=True)
    ]


def draw(steps: Sequence[Compared], out: Path) -> None:
    """Draw how many times as many bytes each row takes, with its interval; one that goes far beyond
    the rows ends in an arrow.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(11, 0.6 * len(steps) + 1.6), layout="constrained")
    most = 1.5 * max(s.ratio for s in steps)
    for place, s in enumerate(reversed(steps)):
        high = min(s.ratio_high, most)
        ax.barh(place, s.ratio, color="#d1495b" if s.name == FULL else "#8d99ae", height=0.62)
        ax.plot((s.ratio_low, high), (place, place), color="#222222", linewidth=1.6)
        if high < s.ratio_high:
            ax.plot(high, place, ">", color="#222222", markersize=7)
        ax.text(high, place, f"   {s.bound}{s.n_bytes:.1f} bytes", va="center", fontsize=12)
    ax.set_yticks(range(len(steps)), [s.name for s in reversed(steps)], fontsize=12)
    ax.set_xlabel(
        f"bytes per image at a drop of {steps[0].drop:g} points, over those of the codec as it is",
        fontsize=12,
    )
    ax.set_xlim(0, 1.2 * most)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    save_figure(figure, out, dpi=130)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("eval.studies.ablation", __doc__, "every training", 0.2, SHIPPED)
    parser.add_argument(
        "--first",
        type=int,
        metavar="N",
        help=f"make the first so many rows only; the first {NO_TRAINING} share one training",
    )
    args = parser.parse_intermixed_args(argv)
    try:
        if args.train:
            write_rows(
                train_and_compare(
                    args.train,
                    args.overrides,
                    args.runs,
                    args.split,
                    args.limit,
                    args.drop,
                    args.first,
                ),
                args.rows,
            )
        steps = read_rows(Compared, args.rows)
        print(f"{steps[0].n_images:,} images\n", markdown(steps), sep="\n")
        if {FULL, STATIC} <= {s.name for s in steps}:
            print(
                "\nContexts save of the payload, by quality: "
                + ", ".join(f"{saved:.1f}%" for saved in context_savings(steps))
            )
        print()
        print_curves(steps)
        draw(steps, args.out)
    except (ValueError, OSError) as error:
        return failed(parser.prog, error)
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
