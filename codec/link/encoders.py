"""name of a codec or folder of a bundle -> its encoder, the ways that are known of it and what its
device answers alone; picture -> a picture file, for when that is what is sent.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from codec.device.alone import OwnClassifier
from codec.device.bundle import WAYS_FILE
from codec.device.encoder import DeviceEncoder
from codec.device.preprocess import Preprocess
from codec.device.taking import Taking
from codec.link.choosing import swept_ways
from codec.link.policy import ALONE, Way
from codec.link.ways_file import read_ways


def open_encoder(codec: str | os.PathLike[str]) -> Taking:
    """A bundle's folder -> its encoder, without torch; a codec's name or folder -> its `Device`.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is not whole.
    """
    if os.path.isfile(os.path.join(codec, "manifest.json")) and not os.path.isfile(
        os.path.join(codec, "codec.safetensors")
    ):
        return DeviceEncoder(os.fspath(codec))
    try:
        from codec import Device
    except ImportError as error:
        raise ValueError(
            f"{codec} is no bundle's folder, and {error.name} is missing, which loading a codec "
            "takes: export a bundle of it"
        ) from error
    return Device.from_pretrained(codec)


def alone_of(encoder: Taking) -> Callable[[Any], Any] | None:
    """What a bundle's device makes of a picture by itself; None where the bundle has no classifier
    for that, or there is no ONNX Runtime here to run it, or the encoder is no bundle's.

    Raises:
        ValueError: the classifier is none of the bundle's labels.
    """
    if not isinstance(encoder, DeviceEncoder) or not encoder.labels:
        return None
    try:
        return OwnClassifier(encoder.folder, encoder.labels, encoder.preprocess)
    except ImportError:  # the encoder is an engine of TensorRT
        return None


def known_ways(encoder: Taking, alone: bool) -> Mapping[str, list[Way]]:
    """The ways of an encoder by what is asked: those of its bundle, or of the sweep in its codec's
    folder; none where it has neither.

    Args:
        alone: whether the device can answer by itself.

    Raises:
        ValueError: they cannot be read, or are not this codec's.
    """
    if isinstance(encoder, DeviceEncoder):
        if WAYS_FILE not in encoder.manifest["sha256"]:
            return {}
        found = read_ways(Path(encoder.folder) / WAYS_FILE, len(encoder.qualities))
        left = {v: [w for w in some if alone or w.name != ALONE] for v, some in found.items()}
        return {verb: some for verb, some in left.items() if some}
    own: Any = getattr(encoder, "codec", None)
    folder = None if own is None else getattr(own, "folder", None)
    return {} if folder is None else swept_ways(Path(folder), own.config.name, alone)


def preprocess_of(encoder: Any) -> Preprocess:
    """What an encoder does to a picture before its network."""
    own = isinstance(encoder, DeviceEncoder)
    found: Preprocess = encoder.preprocess if own else encoder.codec.config.preprocess
    return found


def as_picture_file(image: Any, preprocess: Preprocess, way: str) -> tuple[bytes, str]:
    """A picture -> the file that a way of `codec.link.ways` names, and its media type.

    What the model would see is coded, at the way's size: "picture:webp@24 q50" is 24 pixels wide.
    """
    name, _, quality = way.removeprefix("picture:").partition(" q")
    form, _, side = name.partition("@")
    seen = Image.fromarray(preprocess.pixels(image))
    if side and int(side) != seen.width:
        seen = seen.resize((int(side), int(side)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    options = {"webp": {"method": 6}, "avif": {"speed": 6}}[form]
    seen.save(file, form.upper(), quality=int(quality), **options)
    return file.getvalue(), f"image/{form}"
