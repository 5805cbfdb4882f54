"""picture -> pixel_values: what the Hugging Face image processor of a ViT or BLIP does, from PIL
and numpy alone.

Part of the one file for devices: Python 3.6, numpy, PIL.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from codec.device.pictures import check_resizing, to_rgb

if TYPE_CHECKING:
    from codec.device.pictures import ImageLike

MAX_SIDE = 1 << 12
"""Most pixels of a side that a picture is brought to."""


@dataclass(frozen=True)
class Preprocess:
    """Constants of the preprocessing: resize to (size, size), then (pixel / 255 - mean) / std per
    channel.

    Attributes:
        size: side in pixels of the square the backbone takes.
        resample: PIL's number of the filter, 2 = bilinear, 3 = bicubic.
        resize: side in pixels the shorter edge is resized to before a centre crop of `size`; None
            resizes both edges.
    """

    size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    resample: int = 2
    resize: int | None = None

    def __post_init__(self) -> None:
        sizes = [("size", self.size, 1, MAX_SIDE), ("resample", self.resample, 0, 5)]
        if self.resize is not None:
            sizes.append(("resize", self.resize, 1, MAX_SIDE))
        for name, value, least, most in sizes:
            if not _is_whole(value) or not least <= value <= most:
                raise ValueError(f"{name} of the preprocessing is in {least}..{most}, not {value}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(_is_finite(value) for value in values):
                raise ValueError(f"{name} of the preprocessing is three finite numbers")
        if min(self.std) <= 0:
            raise ValueError("std of the preprocessing is above 0")

    def affine(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(scale, shift), each (3,) float32: `pixel_values = pixels * scale - shift`."""
        std = np.asarray(self.std, dtype=np.float64)
        return (1 / (255 * std)).astype(np.float32), (np.asarray(self.mean) / std).astype(
            np.float32
        )

    def pixels(self, image: ImageLike) -> NDArray[np.uint8]:
        """One picture -> (size, size, 3) uint8.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a picture, an array of another shape, dtype or range, or a picture that
                is empty, enormous, or too long and thin to be resized.
        """
        picture = to_rgb(image)
        size = self.size
        width, height = size, size
        if self.resize is not None:
            short = min(picture.size)
            width, height = (max(int(self.resize * edge / short), 1) for edge in picture.size)
        if picture.size != (width, height):
            check_resizing(picture.size, (width, height))
            picture = picture.resize((width, height), self.resample)
        if (width, height) != (size, size):
            left, top = (width - size) // 2, (height - size) // 2
            picture = picture.crop((left, top, left + size, top + size))
        return np.asarray(picture, dtype=np.uint8)

    def __call__(self, images: list[ImageLike]) -> NDArray[np.float32]:
        """Pictures -> `pixel_values` (B, 3, size, size) float32.

        Raises:
            FileNotFoundError, ValueError: as `pixels`, or there are no pictures.
        """
        if not len(images):
            raise ValueError("an empty batch of pictures")
        return self.normalise(np.stack([self.pixels(image) for image in images]))

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, size, size, 3) uint8, as `pixels` gives them -> `pixel_values` (B, 3, size, size)
        float32.
        """
        scale, shift = self.affine()
        return np.ascontiguousarray((pixels * scale - shift).transpose(0, 3, 1, 2))

    @classmethod
    def from_processor(cls, path: str | Path) -> Preprocess:
        """Read the image processor's settings of a Hugging Face checkpoint.

        Args:
            path: `preprocessor_config.json`; `processor_config.json`, where transformers 5 writes
                them together with a text processor's; or a folder with one of them.

        Raises:
            FileNotFoundError: there is none.
            ValueError: a setting that this preprocessing does not reproduce; the message names it.
        """
        file = Path(path)
        if file.is_dir():
            own, joint = file / "preprocessor_config.json", file / "processor_config.json"
            file = joint if joint.is_file() and not own.is_file() else own
        values = json.loads(file.read_text())
        values = values.get("image_processor", values)
        size = values.get("size", 224)
        crop = values.get("crop_size") if values.get("do_center_crop") else None
        resize = None
        if isinstance(size, dict) and "shortest_edge" in size:
            if crop is None:
                raise ValueError(
                    "a processor that resizes the shorter edge without a centre crop gives no "
                    "fixed size"
                )
            resize = int(size["shortest_edge"])
        elif crop is not None:
            raise ValueError("a processor that resizes both edges and then crops is not supported")
        side = crop if crop is not None else size
        if isinstance(side, dict):
            if side.get("height") != side.get("width"):
                raise ValueError(f"the processor's size {side} is not square")
            side = side["height"]
        factor = values.get("rescale_factor", 1 / 255)
        if abs(factor * 255 - 1) > 1e-6:
            raise ValueError(f"the processor's rescale_factor {factor} is not 1/255")
        mean = (
            tuple(values.get("image_mean", (0.5,) * 3))
            if values.get("do_normalize", True)
            else (0.0,) * 3
        )
        std = (
            tuple(values.get("image_std", (0.5,) * 3))
            if values.get("do_normalize", True)
            else (1.0,) * 3
        )
        return cls(
            size=int(side),
            mean=mean,
            std=std,
            resample=int(values.get("resample", 2)),
            resize=resize,
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocess:
        """The inverse of `to_dict`, for parsed JSON.

        Raises:
            KeyError, TypeError, ValueError: a value is missing, unknown, or out of range.
        """
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
