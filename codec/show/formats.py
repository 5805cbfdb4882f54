"""picture -> bytes of usual picture formats: what a blob is held against."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": ("PNG", {"optimize": True}),
    "WebP": ("WEBP", {"lossless": True, "method": 6, "quality": 100}),
    "JPEG": ("JPEG", {"quality": 75, "optimize": True}),
}
"""PIL's format and options. PNG and WebP are lossless."""


def n_bytes_in(picture: Image.Image, name: str) -> int:
    """Bytes of a picture in one of `FORMATS`."""
    pil_format, options = FORMATS[name]
    buffer = io.BytesIO()
    picture.save(buffer, pil_format, **options)
    return buffer.tell()


def n_bytes_as(picture: Image.Image) -> dict[str, int]:
    """Bytes of a picture in each of `FORMATS`."""
    return {name: n_bytes_in(picture, name) for name in FORMATS}
