"""pixels -> picture files -> pixels: JPEG, WebP, AVIF, JPEG XL and PNG before the uncut models.

The picture that is coded is the one that the model would see, at its full size or made smaller
first (`ladder`); a smaller one is brought back to the model's size by the filter of the model's own
processor.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pillow_jxl  # noqa: F401  registers JPEG XL with Pillow
import torch
from PIL import Image
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.cost import Cost
from eval.methods.method import DecodeError
from training.data.images import normalise


class Format(NamedTuple):
    """PIL's name of a format, the qualities that are swept (None for a lossless one), and fixed
    options. Chroma is 4:2:0, PIL's default.
    """

    pil: str
    qualities: tuple[int | None, ...]
    options: dict[str, Any]

    @property
    def lossless(self) -> bool:
        """Whether the pixels come back as they were."""
        return self.qualities == (None,)


FORMATS = {
    "jpeg": Format("JPEG", (5, 10, 20, 30, 50, 70, 85, 95), {"optimize": True}),
    "webp": Format("WEBP", (1, 5, 20, 50, 80, 95), {"method": 6}),
    "avif": Format("AVIF", (10, 30, 50, 60, 70, 80, 90), {"speed": 6}),
    "jxl": Format("JXL", (10, 30, 50, 70, 90, 95), {}),
    "png": Format("PNG", (None,), {"optimize": True}),
    "webp-lossless": Format("WEBP", (None,), {"lossless": True, "method": 6, "quality": 100}),
}


def ladder(size: int) -> tuple[int, ...]:
    """The sides at which a picture of side `size` is coded: all of it, 3/4 and 1/2; of photographs,
    from 128 pixels on, all of it, 5/7, 1/2, 5/14 and 1/4.
    """
    if size < 128:
        return size, 3 * size // 4, size // 2
    return size, 5 * size // 7, size // 2, 5 * size // 14, size // 4


class PictureCodec:
    """A format of PIL in front of the uncut models; a blob is the file as it would lie on a disk.

    Args:
        name: of `FORMATS`.
        quality: of PIL; None for a lossless format.
        models: the uncut models, by task.
        preprocess: of the uncut models.
        side: in pixels, of the picture that is coded; None for the size that the models take. The
            method is then called `name@side`.
    """

    def __init__(
        self,
        name: str,
        quality: int | None,
        models: Mapping[str, nn.Module],
        preprocess: Preprocess,
        side: int | None = None,
    ) -> None:
        self.side = preprocess.size if side is None else side
        self.name = name if self.side == preprocess.size else f"{name}@{self.side}"
        self.quality, self.cost = quality, Cost(0, 0)
        self.models, self.preprocess = models, preprocess
        self.format = FORMATS[name]
        self.options = self.format.options | ({} if quality is None else {"quality": quality})

    def encode(self, pixels: torch.Tensor) -> list[bytes]:
        blobs = []
        for values in pixels.permute(0, 2, 3, 1).contiguous().numpy():
            image = _resized(Image.fromarray(values), self.side, Image.Resampling.LANCZOS)
            file = io.BytesIO()
            image.save(file, self.format.pil, **self.options)
            blobs.append(file.getvalue())
        return blobs

    def pixels(self, blobs: list[bytes]) -> torch.Tensor:
        """Files -> pixels (B, 3, S, S) uint8."""
        images = [Image.open(io.BytesIO(blob)).convert("RGB") for blob in blobs]
        size, resample = self.preprocess.size, Image.Resampling(self.preprocess.resample)
        values = np.stack([np.asarray(_resized(image, size, resample)) for image in images])
        return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()

    def decode(self, blobs: list[bytes]) -> torch.Tensor:
        return normalise(self.pixels(blobs), self.preprocess)

    def check(self, pixels: torch.Tensor, blobs: list[bytes]) -> float | None:
        if self.format.lossless and not torch.equal(self.pixels(blobs), pixels):
            raise DecodeError(
                f"{self.name}: a lossless file does not hold the picture that was encoded"
            )
        return None


def _resized(image: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    return image if image.size == (side, side) else image.resize((side, side), resample)


def picture_methods(
    baselines: Sequence[str], models: Mapping[str, nn.Module], preprocess: Preprocess
) -> Iterator[PictureCodec]:
    """The picture codecs among `baselines`, at each quality; lossy ones at each side of the
    ladder.
    """
    for name, form in FORMATS.items():
        if name in baselines:
            for side in ladder(preprocess.size)[: 1 if form.lossless else None]:
                for quality in form.qualities:
                    yield PictureCodec(name, quality, models, preprocess, side)
