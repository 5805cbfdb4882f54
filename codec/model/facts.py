"""checkpoint folder -> what there is to know about a codec, from its files' headers alone: nothing
is loaded, torch is not needed.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codec.model import checkpoint
from codec.model.config import CodecConfig


def summary(folder: Path) -> dict[str, Any]:
    """What `codec list` says of a codec.

    Raises:
        ValueError, OSError: a file of the checkpoint cannot be read.
    """
    config = _config(folder)
    return {
        "name": config.name,
        "task": config.task,
        "backbone": config.backbone,
        "k": config.k,
        "encoder": config.encoder,
        "latent": [config.side, config.side, config.n_channels],
        "n_qualities": config.n_qualities,
        "default_quality": config.default_quality,
        "device_params": _n_device_params(config, folder),
        "n_bytes": sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()),
    }


def details(folder: Path) -> dict[str, Any]:
    """What `codec info` says beyond the summary: calibration, sizes, the model card's path,
    configuration. Errors as `summary`.
    """
    card = folder / "README.md"
    config = asdict(_config(folder))
    return {
        "calibration": [{"quality": q} | row for q, row in enumerate(config.pop("calibration"))],
        "prior": _prior_sizes(folder),
        "model_card": str(card) if card.is_file() else None,
        "config": config,
    }


def _config(folder: Path) -> CodecConfig:
    return CodecConfig.from_dict(json.loads((folder / "config.json").read_text()))


def _n_device_params(config: CodecConfig, folder: Path) -> int | None:
    """Parameters of the encoder, from the headers of the checkpoint's files; None where the
    backbone is on the hub.
    """
    shapes = _shapes(folder / "codec.safetensors")
    n_params = sum(
        math.prod(shape) for name, shape in shapes.items() if name.startswith("encoder.")
    )
    if config.encoder != "blocks":
        return n_params
    backbone = Path(checkpoint.find_backbone(config.backbones[config.tasks[0]], folder))
    files = sorted(backbone.glob("model*.safetensors"))  # the weights may lie in several
    if not files:
        return None
    for name, shape in (item for file in files for item in _shapes(file).items()):
        # BLIP's text encoder and decoder have embeddings and layers too
        if name.startswith("text_"):
            continue
        block = re.search(r"\.layers?\.(\d+)\.", name)
        if int(block[1]) < config.k if block else ".embeddings." in name:
            n_params += math.prod(shape)
    return n_params


def _prior_sizes(folder: Path) -> dict[str, int]:
    shapes = _shapes(folder / "codec.safetensors")
    width = {
        name: 1 if name in ("prior.hidden", "prior.out") else 4
        for name in shapes
        if name.startswith("prior.")
    }
    sizes = {name: width[name] * math.prod(shapes[name]) for name in width}
    if len(shapes.get("prior.cdf", ())) != 2:
        raise ValueError(f"{folder / 'codec.safetensors'} has no tables of a prior")
    tables = sizes.pop("prior.cdf")
    return {
        "n_tables": shapes["prior.cdf"][0],
        "tables_n_bytes": tables,
        "network_n_bytes": sum(sizes.values()),
    }


def _shapes(file: Path) -> dict[str, list[int]]:
    """Shapes of the tensors in a safetensors file, from its header alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            names = opened.keys()
            return {name: opened.get_slice(name).get_shape() for name in names}
    except SafetensorError as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
