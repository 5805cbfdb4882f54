"""a picture as people have it -> pixels in RGB, upright: a path, an opened picture, the bytes of a
file, an opened file, an array or a tensor.

What cannot be read is a ValueError, whatever Pillow raises. Part of the one file for devices:
Python 3.6, numpy, PIL.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from PIL import Image

from codec.device.arrays import array_pixels, check_extent, is_array

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO, Protocol

    from numpy.typing import NDArray

    class Tensor(Protocol):
        """A torch tensor."""

        def detach(self) -> Any: ...

        def numpy(self) -> Any: ...


ImageLike: TypeAlias = (
    "Image.Image | str | os.PathLike[str] | bytes | IO[bytes] | NDArray[Any] | Tensor"
)
"""A PIL image; the path of a file; the bytes of one; a file opened for reading bytes; an array or
torch tensor (H, W), (H, W, C) or (C, H, W), uint8 or float in 0..1.
"""

MAX_FILE_BYTES = 1 << 28
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
        ValueError: not a picture, an array of another shape, dtype or range, or an empty or
            enormous picture.
    """
    if isinstance(image, Image.Image):
        return _upright(image, "the picture")
    if isinstance(image, (str, os.PathLike)):
        return _of_path(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _of_file(io.BytesIO(image), "what the bytes hold")
    if is_array(image):
        return Image.fromarray(array_pixels(image)).convert("RGB")
    if hasattr(image, "read"):
        return _of_file(io.BytesIO(_content(image)), "what the file object holds")
    raise ValueError(
        "expected a picture: a path, a PIL image, bytes, a file object, an array or a tensor, not "
        f"{type(image).__name__}"
    )


def as_batch(images: Any) -> tuple[list[ImageLike], bool]:
    """A picture or several, as a list or an array or tensor of four axes -> a list of pictures, and
    whether it was one.
    """
    if isinstance(images, (list, tuple)) or (is_array(images) and images.ndim == 4):
        return list(images), False
    return [images], True


def one_by_one(images: Any) -> Iterable[ImageLike]:
    """Pictures to be taken one after another, of whatever holds them; one picture is one of one."""
    batch, single = as_batch(images)
    holds = hasattr(images, "__iter__") and not (
        isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image))
        or is_array(images)
        or hasattr(images, "read")
    )
    return images if single and holds else batch


def is_stream(images: Any) -> bool:
    """Whether pictures come one after another, as from a generator; an opened file is one
    picture.
    """
    return hasattr(images, "__next__") and not hasattr(images, "read")


def check_resizing(before: tuple[int, int], after: tuple[int, int]) -> None:
    """Check what Pillow would hold while it resizes: rows are resized before columns.

    To crop first is no way out: `Image.resize(box=...)` keeps the box in float32, and gave other
    pixels than the whole picture, cropped afterwards, in half of 8,188 cases.

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


def _of_path(name: str | os.PathLike[str]) -> Image.Image:
    path = Path(name)
    if str(name).startswith(("http://", "https://")):
        raise ValueError(f"{name} is an address, and not a path: codec.open_url reads it")
    if path.is_dir():
        raise FileNotFoundError(
            f"no picture at {path}: it is a folder; codec.pictures_in names the pictures in it"
        )
    if not path.is_file():
        raise FileNotFoundError(f"no picture at {path}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path} has more than {MAX_FILE_BYTES} bytes")
    # not the file itself: of that, Pillow asks for as many bytes as a chunk says that it has
    return _of_file(io.BytesIO(path.read_bytes()), str(path))


def _of_file(file: Any, name: str) -> Image.Image:
    """The picture in a file that is there; `name` is for messages."""
    try:
        opened = Image.open(file)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever a bad file leads them to
        raise ValueError(f"{name} is not a picture that can be read: {_said(error)}") from error
    with opened:
        return _upright(opened, name)


def _content(file: Any) -> bytes:
    """All that is left to read of an opened file; it need not be one that can be searched."""
    parts, left = [b""], MAX_FILE_BYTES + 1
    while left > 0:
        try:
            part = file.read(min(left, 1 << 20))
        except UnicodeDecodeError:
            part = ""
        if not isinstance(part, bytes):
            raise ValueError(
                "a file object gives bytes when it is read (open it with mode 'rb'), not "
                f"{type(part).__name__}"
            )
        if not part:
            break
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise ValueError(f"the file object holds more than {MAX_FILE_BYTES} bytes")
    return b"".join(parts)


def _said(error: Exception) -> str:
    """An error's message, without the address of the object that was read."""
    return re.sub(r" ?<_io[^>]*>", "", str(error))


def _upright(image: Image.Image, name: str) -> Image.Image:
    if image.format in RUN_BY_PROGRAMS:
        raise ValueError(f"{name} is of the format {image.format}, which another program would run")
    check_extent(image.size, name)
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
        raise ValueError(f"{name} is not a picture that can be read: {_said(error)}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; 1, upright, where there is none or EXIF is broken."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # struct.error, TypeError, SyntaxError and others
        return 1
    return value if isinstance(value, int) else 1
