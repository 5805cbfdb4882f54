"""folder or hub id of a model -> the preprocessing of its pictures."""

from __future__ import annotations

from pathlib import Path

from codec.device.preprocess import Preprocess
from codec.model.backbone import place_of


def preprocess_of(reference: str) -> Preprocess:
    """What a model's image processor does.

    Args:
        reference: folder, shipped name or hub id.

    Raises:
        FileNotFoundError, ValueError: as `Preprocess.from_processor`; or the hub has no such model.
    """
    place = Path(place_of(reference, Path()))
    if place.is_dir():
        return Preprocess.from_processor(place)
    from huggingface_hub import hf_hub_download

    return Preprocess.from_processor(hf_hub_download(reference, "preprocessor_config.json"))
