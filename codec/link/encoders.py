"""name of a codec or folder of a bundle -> its encoder; picture -> a picture file, for when that is
what is sent.
"""

from __future__ import annotations

import io
import os
from typing import Any

from PIL import Image

from codec.device.encoder import DeviceEncoder
from codec.device.preprocess import Preprocess
from codec.device.taking import Taking


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
