"""a picture as people have it -> pixels in RGB, upright: a path, an opened picture or an array.

What cannot be read is a ValueError, whatever Pillow raises. Part of the one file for devices:
Python 3.6, numpy, PIL.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ImageLike: TypeAlias = Image.Image | str | Path | NDArray[Any]
"""A PIL image, the path of one, or an array (H, W), (H, W, 3) or (H, W, 4) uint8."""

MAX_PIXELS = 89478485
"""Above it Pillow warns of a decompression bomb: a file of 300 kB that takes 2 s and 1 GB."""
RUN_BY_PROGRAMS = ("EPS",)
"""Formats that Pillow hands to another program, here Ghostscript: such a picture is a program."""
MAX_RESIZED = 1 << 26
"""Pixels that resizing may hold at once. A long and thin picture whose short edge is made longer
would take gigabytes.
"""
_ORIENTATION = 0x0112
# by EXIF's orientation, in Pillow's numbers: flips left-right, half turn, top-bottom, transpose,
# three quarters counter-clockwise, transverse, a quarter
_TURNED = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


def to_rgb(image: ImageLike) -> Image.Image:
    """A picture of any mode, turned as its EXIF says -> an RGB PIL image.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, an array of another shape or dtype, or an empty or enormous
            picture.
    """
    if isinstance(image, (str, Path)):
        path = Path(image)
        if not path.is_file():
            raise FileNotFoundError(f"no picture at {path}")
        try:
            opened = Image.open(path)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's plugins raise whatever a bad file leads them to
            raise ValueError(f"{path} is not a picture that can be read: {error}") from error
        with opened:
            return _upright(opened, str(path))
    if isinstance(image, Image.Image):
        return _upright(image, "the picture")
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8:
            raise ValueError(
                f"an image array has dtype uint8, not {image.dtype}; use codec.encode for "
                "pixel_values"
            )
        if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
            raise ValueError(
                f"an image array has shape (H, W), (H, W, 3) or (H, W, 4), not {image.shape}"
            )
        _check_extent(image.shape[:2], "the array")
        return Image.fromarray(image).convert("RGB")
    raise ValueError(f"expected a PIL image, a path or an array, not {type(image).__name__}")


def as_batch(images: Any) -> tuple[list[ImageLike], bool]:
    """A picture or several, as a list or an array (B, H, W, 3) -> a list of pictures, and whether
    it was one.
    """
    if isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4):
        return list(images), False
    return [images], True


def check_resizing(before: tuple[int, int], after: tuple[int, int]) -> None:
    """Check what Pillow would hold while it resizes: rows are resized before columns.

    Args:
        before, after: width and height.

    Raises:
        ValueError: more than `MAX_RESIZED` pixels.
    """
    if after[0] * max(before[1], after[1]) > MAX_RESIZED:
        raise ValueError(
            f"a picture of {before[0]} x {before[1]} pixels is too long and thin: it would be "
            f"resized to {after[0]} x {after[1]}"
        )


def _upright(image: Image.Image, name: str) -> Image.Image:
    if image.format in RUN_BY_PROGRAMS:
        raise ValueError(f"{name} is of the format {image.format}, which another program would run")
    _check_extent(image.size, name)
    try:
        turned = _TURNED.get(_orientation(image))
        upright: Any = image
        if turned is not None:
            upright = upright.transpose(turned)
        rgb: Image.Image = upright.convert("RGB")
        return rgb
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{name} is not a picture that can be read: {error}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; 1, upright, where there is none or EXIF is broken."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # struct.error, TypeError, SyntaxError and others
        return 1
    return value if isinstance(value, int) else 1


def _check_extent(size: tuple[int, ...], name: str) -> None:
    if not 0 < size[0] * size[1] <= MAX_PIXELS:
        raise ValueError(f"{name} has {size[0]} x {size[1]} pixels; 1 to {MAX_PIXELS} are taken")
