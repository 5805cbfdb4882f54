"""trained weights -> a folder one can ship: safetensors, checksums, and a model card that says how
they were made.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from transformers import PreTrainedModel

from codec.device.preprocess import Preprocess
from codec.model.checkpoint import write_manifest

if TYPE_CHECKING:
    from codec.model import FeatureCodec


def write_backbone(
    model: PreTrainedModel,
    preprocess: Preprocess,
    recipe: Any,
    scores: dict[str, float],
    n_test: int,
    out: Path,
) -> None:
    """Save a backbone in float16 with its image processor's configuration and a model card."""
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    model.float()
    size = {"height": preprocess.size, "width": preprocess.size}
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": size,
        "resample": preprocess.resample,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }
    (out / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")
    n_params = sum(p.numel() for p in model.parameters())
    rows = "\n".join(f"| {name} | {score:.2f} |" for name, score in scores.items())
    text = f"""# {recipe.name}: a small ViT, the backbone of shipped codecs

`{type(model).__name__}`, {n_params:,} parameters, float16, trained from scratch by `python -m training.backbone {recipe.name}`.

| accuracy on `{recipe.test_split}` ({n_test:,} images), float32 | % |
|---|---|
{rows}

Trained on `{recipe.train_split}`, seed {recipe.schedule.seed}; nothing was chosen on the test images. {recipe.note}
"""
    (out / "README.md").write_text(text + _recipe_text(recipe))
    write_manifest(out)


def write_codec_card(codec: FeatureCodec, recipe: Any, out: Path) -> None:
    """Write the model card of a codec, with its calibration."""
    c = codec.config
    n_device = sum(p.numel() for p in codec.encoder.parameters())
    table = "\n".join(
        f"| {q} | {r.bytes_mean:.1f} | {r.drop:.2f} | {r.agreement:.2f} |"
        for q, r in enumerate(c.calibration)
    )
    text = f"""# {c.name}: a task-oriented codec

Cuts `{_name(c.backbone)}` after block {c.k}; `{c.encoder}` encoder with {n_device:,} parameters on the device;
latent {c.side} x {c.side} x {c.n_channels}; {c.n_qualities} qualities, default {c.default_quality}. {recipe.note}
Trained by `python -m training.train` with the recipe below.

The default quality was chosen on `{recipe.validation_split}`. Calibration: real blobs of the {c.calibration[0].n_images:,} images of
`{recipe.calibration_split}`, which nothing was trained or chosen on:

| quality | bytes, mean | drop against the uncut model, points | agreement with it, % |
|---|---|---|---|
{table}
"""
    (out / "README.md").write_text(text + _recipe_text(recipe))


def _recipe_text(recipe: Any) -> str:
    values = dataclasses.asdict(recipe)
    for key in ("data", "backbone", "start"):
        values[key] = _name(values.get(key))
    shown = yaml.safe_dump(
        _plain({k: v for k, v in values.items() if v is not None}), sort_keys=False, width=120
    )
    return f"\n## Recipe\n\n```yaml\n{shown}```\n"


def _name(reference: str | None) -> str | None:
    """A hub id, a shipped name or a folder among the runs as it is, another folder by its last
    part: a card holds nobody's paths.
    """
    local = reference and Path(reference).is_dir() and Path(reference).parts[0] != "runs"
    return Path(reference).name if reference and local else reference


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def write_blip(
    models: dict[str, Any],
    tokenizer: Any,
    preprocess: Preprocess,
    recipe: Any,
    scores: dict[str, float],
    n_test: int,
    out: Path,
) -> None:
    """Save BLIP models in float16 with their processor and a model card; several of them in folders
    named by task.
    """
    from transformers import BlipImageProcessorPil, BlipProcessor

    size = {"height": preprocess.size, "width": preprocess.size}
    pixels = BlipImageProcessorPil(
        size=size,
        resample=preprocess.resample,
        image_mean=preprocess.mean,
        image_std=preprocess.std,
    )
    rows = "\n".join(f"| {name} | {score:.2f} |" for name, score in scores.items())
    for task, model in models.items():
        place = out / task if len(models) > 1 else out
        model.half().save_pretrained(place)
        BlipProcessor(pixels, tokenizer).save_pretrained(place)
        n_params = sum(p.numel() for p in model.parameters())
        text = f"""# {recipe.name}: a small BLIP for {task}, the backbone of shipped codecs

`{type(model).__name__}`, {n_params:,} parameters, float16, trained from scratch by `python -m training.blip {recipe.name}`.

| score on `{recipe.test_split}` ({n_test:,} images), float32 | % |
|---|---|
{rows}

Trained on `{recipe.train_split}`, seed {recipe.schedule.seed}; nothing was chosen on the test images. {recipe.note}
"""
        (place / "README.md").write_text(text + _recipe_text(recipe))
        write_manifest(place)
    for model in models.values():
        model.float()
