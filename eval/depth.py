"""python -m eval.depth: how deep to cut: bytes for the same drop against the device's work, one codec for each number of blocks.

Without arguments it prints the shipped measurements and draws them. `--train RECIPE key=value ...` makes them anew: for each k it trains
the recipe from random weights with the backbone's own first k blocks as encoder (`encoder: blocks`) and the overrides over it, and
beside them the recipe as it is; then it measures real blobs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from eval.compare import Compared, arguments, command_of, compare, count, images_of, kept, read_compared, trained, write_compared
from training.codec_recipe import CodecRecipe
from training.recipe import read_recipe

SHIPPED = Path(__file__).parent.parent / "docs" / "depth.jsonl"
DEPTHS = (1, 2, 3, 4)
STUDENT = "student"


def train_and_compare(recipe: str, overrides: Sequence[str], runs: Path, split: str, limit: int | None, drop: float) -> list[Compared]:
    """Train what is not yet trained under `runs`, measure it on `split`: a row for each of `DEPTHS`, and one for the recipe as it is."""
    images = images_of(recipe, overrides, split, limit)
    changes = {f"blocks, k = {k}": [*overrides, "start=null", "encoder=blocks", f"k={k}"] for k in DEPTHS}
    changes[STUDENT] = [override for override in overrides if override.startswith(("data=", "backbone="))]
    counted, data = {}, read_recipe(CodecRecipe, recipe, overrides).data
    for name, changed in changes.items():
        folder = runs / name.replace(", k = ", "-")
        codec = trained(recipe, changed, folder)
        counted[name] = kept(folder, f"{codec.fingerprint.hex()} {data} {split} {limit}", partial(count, codec, images))
    return compare(counted, {name: command_of(recipe, changed) for name, changed in changes.items()}, drop)


def markdown(rows: Sequence[Compared]) -> str:
    """Rows as the table of the documentation."""
    lines = ["| encoder | device MACs | bytes | 95% |", "|---|--:|--:|--:|"]
    for r in rows:
        lines.append(f"| {r.name} | {r.device_macs / 1e6:.1f} M | {r.bound}{r.n_bytes:.1f} | {r.low:.1f} to {r.high:.1f} |")
    return "\n".join(lines)


def draw(rows: Sequence[Compared], out: Path) -> None:
    """Draw bytes at equal drop against the device's multiply-accumulates, and each codec's whole curve beside it; triangles are bounds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.4), layout="constrained")
    colours = ["#8ecae6", "#219ebc", "#126782", "#023047", "#d1495b"]
    for r, colour in zip(rows, colours, strict=False):
        macs = r.device_macs / 1e6
        left.plot((macs, macs), (r.low, r.high), color=colour, linewidth=2)
        left.plot(macs, r.n_bytes, {"": "o", ">": "^", "<=": "v"}[r.bound], color=colour, markersize=10)
        text = f"{r.name}\n{r.bound} {r.n_bytes:.0f} bytes"
        left.annotate(text, (macs, r.n_bytes), xytext=(0, 12), textcoords="offset points", fontsize=10, ha="center")
        right.plot(*zip(*r.curve, strict=True), "o-", color=colour, label=r.name)
    left.set_xlabel("multiply-accumulates on the device, millions", fontsize=12)
    left.set_ylabel(f"bytes per image at a drop of {rows[0].drop:g} points", fontsize=12)
    left.set_ylim(0, 1.25 * max(r.high for r in rows))
    left.set_xlim(0, 1.25 * max(r.device_macs for r in rows) / 1e6)
    right.set_xscale("log")
    right.set_xlabel("bytes per image, header included", fontsize=12)
    right.set_ylabel("drop, points", fontsize=12)
    right.axhline(rows[0].drop, color="#b0b8c4", linewidth=1)
    right.legend(frameon=False, fontsize=11, loc="upper right")
    for ax in (left, right):
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("eval.depth", __doc__, "the trainings with blocks", 1.0, SHIPPED)
    args = parser.parse_args(argv)
    try:
        if args.train:
            write_compared(train_and_compare(args.train, args.overrides, args.runs, args.split, args.limit, args.drop), args.rows)
        rows = read_compared(args.rows)
        print(f"{rows[0].n_images:,} images, drop {rows[0].drop:g} points\n", markdown(rows), "", sep="\n")
        for r in rows:
            print(f"{r.name}: {r.command}")
        draw(rows, args.out)
    except (ValueError, OSError) as error:
        print(f"eval.depth: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
