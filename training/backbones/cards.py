"""a trained backbone -> a folder one can ship: weights, checksums, a card of how it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import BlipImageProcessorPil, BlipProcessor, PreTrainedModel

from codec.device.preprocess import Preprocess
from codec.model.checkpoint import write_manifest
from training.backbones.shared_tower import save_apart
from training.engine.card import command_line, recipe_text, score_table


def write_vit(
    model: PreTrainedModel,
    preprocess: Preprocess,
    recipe: Any,
    scores: dict[str, float],
    n_test: int,
    out: Path,
    what: str = "a small ViT",
    how: str = "trained from scratch",
) -> None:
    """Save a backbone in float16 with its image processor's configuration and a model card.

    Args:
        what: it is, and `how` it was trained: parts of sentences in the card.
    """
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    model.float()
    (out / "preprocessor_config.json").write_text(
        json.dumps(_processor(preprocess), indent=2) + "\n"
    )
    table = score_table("accuracy", recipe.test_split, n_test, scores)
    _write_card(model, what, how, "backbone", table, recipe, out)


def _processor(preprocess: Preprocess) -> dict[str, Any]:
    """The image processor of transformers that does what a preprocessing does."""
    side, resize = preprocess.size, preprocess.resize
    square = {"height": side, "width": side}
    return {
        "image_processor_type": "ViTImageProcessor" if resize is None else "BitImageProcessor",
        "do_resize": True,
        "size": square if resize is None else {"shortest_edge": resize},
        **({} if resize is None else {"do_center_crop": True, "crop_size": square}),
        "resample": preprocess.resample,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }


def write_blip(
    models: dict[str, Any],
    tokenizer: Any,
    preprocess: Preprocess,
    recipe: Any,
    scores: dict[str, float],
    n_test: int,
    out: Path,
    how: str = "trained from scratch",
) -> None:
    """Save BLIP models in float16 with their processor and a model card; several of them in folders
    named by task, their vision tower once. `how` they were trained is a part of a sentence in the
    card.
    """
    size = {"height": preprocess.size, "width": preprocess.size}
    pixels = BlipImageProcessorPil(
        size=size,
        resample=preprocess.resample,
        image_mean=preprocess.mean,
        image_std=preprocess.std,
    )
    table = score_table("score", recipe.test_split, n_test, scores)
    places = {task: out / task if len(models) > 1 else out for task in models}
    for model in models.values():
        model.half()
    if len(models) > 1:
        save_apart({places[task]: model for task, model in models.items()})
    else:
        next(iter(models.values())).save_pretrained(out)
    for task, model in models.items():
        place = places[task]
        BlipProcessor(pixels, tokenizer).save_pretrained(place)
        what = f"a small BLIP for {task}"
        _write_card(model, what, how, "blip", table, recipe, place)
    for model in models.values():
        model.float()


def _write_card(
    model: Any, what: str, how: str, command: str, table: str, recipe: Any, folder: Path
) -> None:
    """Write the model card of a backbone and, last, the manifest of its folder."""
    n_params = sum(p.numel() for p in model.parameters())
    validation = getattr(recipe, "validation_split", None)
    chosen = f" The epoch that was kept was chosen on `{validation}`." if validation else ""
    text = f"""# {recipe.name}: {what}

`{type(model).__name__}`, {n_params:,} parameters, float16, {how} by
`{command_line(command, recipe)}`.

{table}
Trained on `{recipe.train_split}`, seed {recipe.schedule.seed}.{chosen} {recipe.note}
"""
    (folder / "README.md").write_text(text + recipe_text(recipe))
    write_manifest(folder)
