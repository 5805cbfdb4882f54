"""python -m training.calibrate CODEC RECIPE [key=value ...]: measures a codec anew on its recipe's
calibration split, and writes what each quality takes and loses into its folder.

Rewritten are the calibration in config.json, its table in the model card, and the checksums in
manifest.json. Weights and fingerprint stay as they are, so blobs do too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError

from codec.files import sha256, whole_file
from codec.model import FeatureCodec
from codec.model.checkpoint import MANIFEST, find_checkpoint
from codec.model.config import Calibration
from codec.show.console import failed
from training.codecs.building import load_models
from training.codecs.calibration import calibrate
from training.codecs.card import calibration_text, replace_calibration
from training.codecs.opening import open_objective
from training.codecs.recipe import CodecRecipe
from training.engine.recipe import read_recipe


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 after one line on stderr, where something is not there or does
    not fit.
    """
    parser = argparse.ArgumentParser(
        prog="training.calibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("codec", help="folder of a codec, or the name of a shipped one")
    parser.add_argument("recipe", help="YAML file, or the name of one in training/recipes")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="put over the recipe")
    args = parser.parse_args(argv)
    try:
        run(find_checkpoint(args.codec), read_recipe(CodecRecipe, args.recipe, args.overrides))
    except (ValueError, OSError, SafetensorError) as error:
        return failed(parser.prog, error)
    return 0


def run(folder: Path, recipe: CodecRecipe) -> tuple[Calibration, ...]:
    """Measure the codec in `folder` and write its calibration there.

    Raises:
        ValueError: the recipe is of another codec, or lacks data that it needs.
    """
    codec = FeatureCodec.from_pretrained(folder)
    wanted = recipe.config(recipe.preprocess())
    for name in ("name", "task", "k", "encoder", "side", "n_channels", "n_qualities"):
        own, other = getattr(codec.config, name), getattr(wanted, name)
        if own != other:
            raise ValueError(f"the recipe is of another codec: its {name} is {other}, not {own}")
    objective = open_objective(
        recipe, load_models(recipe), codec.config.preprocess, recipe.calibration_split
    )
    found = calibrate(codec, objective)
    write_calibration(folder, codec.fingerprint, recipe, found, known=bool(objective.truth()))
    return found


def write_calibration(
    folder: Path,
    fingerprint: bytes,
    recipe: CodecRecipe,
    found: tuple[Calibration, ...],
    known: bool,
) -> None:
    """Put a calibration in the place of the one in a codec's folder; `known` as in
    `calibration_text`, errors as `replace_calibration`.
    """
    card, config, manifest = (folder / name for name in ("README.md", "config.json", MANIFEST))
    new_card = replace_calibration(card.read_text(), calibration_text(recipe, found, known))
    values = json.loads(config.read_text())
    values["calibration"] = [asdict(row) for row in found]
    listed = json.loads(manifest.read_text())
    with whole_file(config) as file:
        file.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    listed["sha256"]["config.json"] = sha256(config)
    listed["fingerprint"] = fingerprint.hex()
    with whole_file(manifest) as file:
        file.write_text(json.dumps(listed, indent=2) + "\n")
    with whole_file(card) as file:
        file.write_text(new_card)


if __name__ == "__main__":
    sys.exit(main())
