"""python -m eval.studies.depth: where to cut, and with what on the device: bytes for the same drop
against the device's work.

Without arguments it prints the shipped measurements and draws them. `--train RECIPE key=value ...`
makes them anew: it trains the recipe, with the overrides over it, once for each of `SHAPES`, all as
long, and measures real blobs. The shapes are those of a backbone with a token grid of 8 x 8, as
`vit-tiny-cifar10`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from codec.show.console import failed
from codec.show.plot import save_figure
from eval.studies.compare import (
    Compared,
    arguments,
    compare,
    print_curves,
)
from eval.studies.counting import command_of, count, images_of, kept, trained
from eval.studies.kept_rows import read_rows, write_rows
from training.codecs.recipe import CodecRecipe
from training.engine.recipe import read_recipe

SHIPPED = Path(__file__).parent.parent.parent / "docs" / "depth.jsonl"
FOUR = ("side=4", "student_widths=[32,80,192]", "student_depths=[2,2,1]")
SHAPES: dict[str, tuple[str, ...]] = {
    "student": (),
    "student, no block in the synthesis": ("synthesis_depth=0",),
    "student, 4 x 4 positions": FOUR,
    "student, 4 x 4 positions, half the width": (*FOUR, "student_widths=[16,40,96]"),
    "student, 4 x 4 positions, no block in the synthesis": (*FOUR, "synthesis_depth=0"),
    **{f"blocks, k = {k}": ("encoder=blocks", "side=8", f"k={k}") for k in (1, 2, 3, 4)},
}
"""What is on the device, and how the recipe says so: a student in the place of k blocks, or the
backbone's own first k blocks and a linear map, at every token. The first is what the others are
held against.
"""


def train_and_compare(
    recipe: str, overrides: Sequence[str], runs: Path, split: str, limit: int | None, drop: float
) -> list[Compared]:
    """Train what is not yet trained under `runs`, measure it on `split`: a row for each of
    `SHAPES`.
    """
    images, data = (
        images_of(recipe, overrides, split, limit),
        read_recipe(CodecRecipe, recipe, overrides).data,
    )
    counted, commands = {}, {}
    for i, (name, changes) in enumerate(SHAPES.items()):
        folder = runs / f"{i}"
        codec = trained(recipe, [*overrides, *changes], folder)
        counted[name] = kept(
            folder,
            f"{codec.fingerprint.hex()} {data} {split} {limit}",
            partial(count, codec, images),
        )
        commands[name] = command_of(recipe, [*overrides, *changes])
    return compare(counted, commands, drop)


def markdown(rows: Sequence[Compared]) -> str:
    """Rows as the table of the documentation."""
    lines = [
        "| encoder | device MACs | bytes | 95% | least drop of its qualities |",
        "|---|--:|--:|--:|--:|",
    ]
    for r in rows:
        least = min(drop for _, drop in r.curve)
        lines.append(
            f"| {r.name} | {r.device_macs / 1e6:.1f} M | {r.bound}{r.n_bytes:.1f} | {r.low:.1f} to "
            f"{r.high:.1f} | {least:.2f} |"
        )
    return "\n".join(lines)


def draw(rows: Sequence[Compared], out: Path) -> None:
    """Draw bytes at equal drop against the device's multiply-accumulates, and each codec's whole
    curve beside it; triangles are bounds.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 6.4), layout="constrained")
    students = ["#d1495b", "#9d4edd", "#e9c46a", "#f4a261", "#8d6e63"]
    blocks = ["#8ecae6", "#219ebc", "#126782", "#023047"]
    left.axhline(rows[0].n_bytes, color="#b0b8c4", linewidth=1)
    for r in rows:
        colour = (blocks if r.name.startswith("blocks") else students).pop(0)
        macs = r.device_macs / 1e6
        left.plot((macs, macs), (r.low, r.high), color=colour, linewidth=2)
        left.plot(
            macs, r.n_bytes, {"": "o", ">": "^", "<=": "v"}[r.bound], color=colour, markersize=10
        )
        left.annotate(
            f"{r.bound}{r.n_bytes:.0f}",
            (macs, r.n_bytes),
            xytext=(8, -4),
            textcoords="offset points",
            fontsize=11,
        )
        right.plot(*zip(*r.curve, strict=True), "o-", color=colour, label=r.name)
    left.set_xlabel("multiply-accumulates on the device, millions", fontsize=12)
    left.set_ylabel(f"bytes per image at a drop of {rows[0].drop:g} points", fontsize=12)
    left.set_yscale("log")
    left.set_xlim(0, 1.15 * max(r.device_macs for r in rows) / 1e6)
    right.set_xscale("log")
    right.set_xlabel("bytes per image, header included", fontsize=12)
    right.set_ylabel("drop, points", fontsize=12)
    right.axhline(rows[0].drop, color="#b0b8c4", linewidth=1)
    figure.legend(frameon=False, fontsize=11, loc="outside lower center", ncols=4)
    for ax in (left, right):
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    save_figure(figure, out, dpi=120)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("eval.studies.depth", __doc__, "every training", 1.0, SHIPPED)
    args = parser.parse_intermixed_args(argv)
    try:
        if args.train:
            write_rows(
                train_and_compare(
                    args.train, args.overrides, args.runs, args.split, args.limit, args.drop
                ),
                args.rows,
            )
        rows = read_rows(Compared, args.rows)
        print(
            f"{rows[0].n_images:,} images, drop {rows[0].drop:g} points\n",
            markdown(rows),
            "",
            sep="\n",
        )
        print_curves(rows)
        draw(rows, args.out)
    except (ValueError, OSError) as error:
        return failed(parser.prog, error)
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
