"""python -m eval.studies.device: score against the device's work, of a codec and of the device
alone: from which cost down the split pays.

It prints and draws measurements. `--train RECIPE key=value ...` makes them first: for each of
`SIZES` of the recipe's kind of encoder it trains the codec and the classifier for the device alone,
with the overrides over the recipe, from the same start, on the same data, as long; and measures
real blobs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from codec.model.alone import DeviceAlone, load_alone
from codec.model.cost import device_cost
from codec.show.console import failed
from eval.studies.compare import arguments
from eval.studies.counting import Counted, command_of, count, images_of, kept, trained
from eval.studies.device_rows import (
    DeviceRow,
    draw,
    markdown,
    row_of,
    verdict,
)
from eval.studies.kept_rows import read_rows, write_rows
from training import alone
from training.codecs.recipe import CodecRecipe
from training.data.scoring import right
from training.engine.recipe import read_recipe

ALL = (
    "{width: 16, depth: 1, stride: 1, expansion: 1}",
    "{width: 24, depth: 2}",
    "{width: 40, depth: 2, kernel: 5}",
    "{width: 80, depth: 3}",
    "{width: 112, depth: 3, kernel: 5, stride: 1}",
    "{width: 192, depth: 4, kernel: 5}",
    "{width: 320, depth: 1, stride: 1}",
)
"""Stages of EfficientNet-Lite0, of which a recipe has most."""


def shrunk(times: int, *more: str) -> tuple[str, ...]:
    """The keys of a recipe for pictures of 1/times of the side."""
    return f"mobile.shrink={times}", "mobile.shrink_to=1", *more


def whole(times: int) -> tuple[str, ...]:
    """The keys of a recipe for all stages, on pictures of 1/times of the side."""
    return shrunk(times, f"mobile.stages=[{', '.join(ALL)}]")


SIZES: dict[str, dict[str, tuple[str, ...]]] = {
    "student": {
        "1/8 of the width": ("student_widths=[4,10,24]", "student_depths=[1,1,1]"),
        "1/4 of the width": ("student_widths=[8,20,48]", "student_depths=[1,1,1]"),
        "half the width": ("student_widths=[16,40,96]",),
        "as it is": (),
    },
    "mobile": {
        "28 pixels": shrunk(8, "side=1"),
        "56 pixels": shrunk(4, "side=2"),
        "112 pixels": shrunk(2, "side=4"),
        "as it is": (),
    },
}
"""What is on the device, and how the recipe says so, by the kind of encoder."""
WHOLE = {
    "mobile": {
        "EfficientNet-Lite0's stages, whole, 56 pixels": whole(4),
        "EfficientNet-Lite0's stages, whole, 112 pixels": whole(2),
        "EfficientNet-Lite0's stages, whole": whole(1),
    }
}
"""Networks that only the device alone has: no codec of that size is trained."""


def train_and_compare(
    recipe: str, overrides: Sequence[str], runs: Path, split: str, limit: int | None
) -> list[DeviceRow]:
    """Train what is not yet trained under `runs`, measure it on `split`: a row for each size."""
    base = read_recipe(CodecRecipe, recipe, overrides)
    if base.encoder not in SIZES:
        raise ValueError(f"the recipe's encoder is {base.encoder!r}; sizes are known of {[*SIZES]}")
    images = images_of(recipe, overrides, split, limit)
    rows = []
    sizes = SIZES[base.encoder] | WHOLE.get(base.encoder, {})
    for i, (name, changes) in enumerate(sizes.items()):
        options, folder = [*overrides, *changes], runs / f"{i}"
        counted: Counted | None = None
        if name in SIZES[base.encoder]:
            codec = trained(recipe, options, folder / "codec")
            about = f"{codec.fingerprint.hex()} {base.data} {split} {limit}"
            counted = kept(folder, about, partial(count, codec, images))
        classifier = trained_alone(recipe, options, folder / "alone")
        macs = device_cost(classifier, images.preprocess.size).macs
        answered = right(classifier, images, images.preprocess).double().numpy()
        rows.append(row_of(name, command_of(recipe, options), macs, answered, counted))
    return rows


def trained_alone(recipe: str, overrides: Sequence[str], folder: Path) -> DeviceAlone:
    """The classifier of a recipe with overrides, trained into `folder` unless it is there."""
    if not (folder / "final" / "config.json").is_file():
        alone.run(read_recipe(CodecRecipe, recipe, overrides), folder)
    return load_alone(folder / "final")


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("eval.studies.device", __doc__, "every training", 1.0, None)
    args = parser.parse_intermixed_args(argv)
    try:
        if args.train:
            made = train_and_compare(args.train, args.overrides, args.runs, args.split, args.limit)
            write_rows(made, args.rows)
        rows = read_rows(DeviceRow, args.rows)
        print(f"{rows[0].n_images:,} images, uncut {rows[0].uncut:.2f}%\n")
        print(markdown(rows), verdict(rows), sep="\n\n")
        draw(rows, args.out)
    except (ValueError, OSError) as error:
        return failed(parser.prog, error)
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
