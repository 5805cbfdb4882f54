"""where pictures are -> pictures: the paths of those in a folder or of a pattern, and the picture
behind a web address.

Nothing else reads a web address: a path that looks like one is refused.
"""

from __future__ import annotations

import glob
import os
from pathlib import Path
from urllib.request import Request

from PIL import Image

from codec.device.pictures import to_rgb
from codec.device.post import reply_to

SUFFIXES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Of the files in a folder that are taken for pictures, in any case of letters."""


def pictures_in(place: str | os.PathLike[str]) -> list[Path]:
    """The paths of pictures, sorted.

    Args:
        place: a folder, of which those files are taken that have one of `SUFFIXES`, none of its
            folders' and none hidden; or a pattern, `photos/**/*.jpg`, of which all files are.

    Raises:
        FileNotFoundError: there is none.
    """
    folder = Path(place)
    if folder.is_dir():
        found = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "."]
    else:
        found = [Path(name) for name in glob.glob(str(place), recursive=True)]
    paths = sorted(path for path in found if path.is_file())
    if not paths:
        raise FileNotFoundError(f"no pictures in {place}")
    return paths


def open_url(url: str, *, timeout_s: float = 10.0, max_bytes: int = 1 << 25) -> Image.Image:
    """The picture behind a web address, as an RGB PIL image.

    Whoever names the address has this machine ask for it, inside its own network too: do not give
    it what strangers send.

    Args:
        timeout_s: seconds until all of it must be there.
        max_bytes: the most that is read.

    Raises:
        ValueError: not an http or https address, no reply in time, one of more bytes, or what comes
            is not a picture.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url} is not an http or https address")
    try:
        return to_rgb(reply_to(Request(url), timeout_s, max_bytes))
    except ValueError as error:
        raise error if url in str(error) else ValueError(f"{url}: {error}") from error
