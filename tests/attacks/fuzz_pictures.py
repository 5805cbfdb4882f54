"""Picture files of all formats that Pillow writes, damaged: each is pixels of the wanted size, or
refused with a reason.

Input: a byte for the preprocessing, then the file.
"""

from __future__ import annotations

import io
import random
import tempfile
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, features

from codec.device.preprocess import Preprocess
from tests.attacks.mutate import some_bytes, some_png

SETTINGS = (Preprocess(size=32), Preprocess(size=224, resize=256, resample=3))
FORMATS = (
    *("PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "DDS", "PCX", "SGI", "IM", "MSP"),
    *("JPEG2000", "WEBP", "AVIF", "EPS", "MPO", "SPIDER", "BLP", "QOI"),
)
MODES = ("RGB", "P", "L", "1", "I;16", "F", "CMYK", "RGBA", "LA", "I", "YCbCr", "LAB")


def some_picture(mode: str = "RGB", size: tuple[int, int] = (24, 17)) -> Image.Image:
    """A picture of noise, in a mode."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    if mode == "LAB":
        return Image.frombytes("LAB", size, noise.tobytes())
    if mode == "I;16":
        return Image.frombytes("I;16", size, noise[..., :2].tobytes())
    return picture.convert(mode)


def seeds() -> list[bytes]:
    """A file of each format and mode that Pillow writes here, with EXIF, ICC and frames."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    extras: tuple[dict[str, object], ...] = (
        {},
        {"exif": exif.tobytes(), "icc_profile": b"\0" * 200, "dpi": (72, 72)},
        {"save_all": True, "append_images": [some_picture()] * 3, "duration": 9},
        {"compression": "tiff_lzw"},
        {"compression": "jpeg"},
        {"lossless": True},
    )
    made = []
    for name in FORMATS:
        for mode in MODES:
            for extra in extras if mode in ("RGB", "P", "RGBA", "CMYK") else extras[:1]:
                stream = io.BytesIO()
                try:
                    some_picture(mode).save(stream, name, **extra)
                except Exception:  # not with this mode, or not here
                    continue
                made.append(stream.getvalue())
    return sorted(set(made))


class Pictures:
    """The target."""

    def __init__(self) -> None:
        warnings.simplefilter("ignore")
        self._seeds = seeds()
        self._pngs = [data for data in self._seeds if data.startswith(b"\x89PNG")]
        self._folder = Path(tempfile.mkdtemp())
        have = [name for name in ("avif", "webp", "jpg_2000", "libtiff") if features.check(name)]
        self.note = f"{len(self._seeds)} files to begin with; Pillow has {', '.join(have)}"

    def make(self, rng: random.Random) -> bytes:
        setting = bytes([rng.randrange(len(SETTINGS))])
        if rng.random() < 0.3:
            return setting + some_png(rng, rng.choice(self._pngs))
        return setting + some_bytes(rng, rng.choice(self._seeds), rng.choices(self._seeds, k=3))

    def check(self, data: bytes) -> None:
        file, preprocess = self._folder / "picture", SETTINGS[data[0] % len(SETTINGS)]
        file.write_bytes(data[1:])
        pixels = preprocess.pixels(file)
        assert pixels.shape == (preprocess.size, preprocess.size, 3)
        assert pixels.dtype == np.uint8
