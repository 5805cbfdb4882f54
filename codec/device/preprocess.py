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


_HALF = [0.5, 0.5, 0.5]
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_USUAL = {
    "size": 224,
    "crop_size": None,
    "do_resize": True,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": _HALF,
    "image_std": _HALF,
    "resample": 2,
}
_CROPPED = {"size": {"shortest_edge": 224}, "crop_size": 224, "do_center_crop": True, "resample": 3}
_OWN = {
    "ViT": {},
    "DeiT": {"size": 256, "crop_size": 224, "do_center_crop": True, "resample": 3},
    "Blip": {"size": 384, "resample": 3, **_CLIP},
    "Bit": {**_CROPPED, **_CLIP},
    "CLIP": {**_CROPPED, **_CLIP},
}  # type: dict[str, dict[str, Any]]
# what image processors of transformers do where their file does not say
_HARMLESS = ("do_resize", "do_rescale", "do_center_crop", "do_normalize", "do_convert_rgb")


@dataclass(frozen=True)
class Preprocess:
    """Constants of the preprocessing: resize to (size, size), then (pixel / 255 - mean) / std per
    channel.

    Attributes:
        size: side in pixels of the square the backbone takes.
        resample: PIL's number of the filter, 2 = bilinear, 3 = bicubic.
        resize: side in pixels the shorter edge is resized to before a centre crop of `size`; None
            resizes both edges to `size`.
        both_edges: both edges are resized to `resize`, not the shorter one in proportion.
    """

    size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    resample: int = 2
    resize: int | None = None
    both_edges: bool = False

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
        if self.resize is not None and self.both_edges:
            width, height = self.resize, self.resize
        elif self.resize is not None:
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
        values = _settings(Path(path))
        size, crop = values["size"], values["crop_size"] if values["do_center_crop"] else None
        shorter = isinstance(size, dict) and set(size) == {"shortest_edge"}
        edge = _edge("size", size["shortest_edge"] if shorter else size)
        if shorter and crop is None:
            raise ValueError(
                "a processor that resizes the shorter edge without a centre crop gives no fixed "
                "size"
            )
        side = edge if crop is None else _edge("crop_size", crop)
        if side > edge:
            raise ValueError(f"the processor's crop_size {side} is more than its size {edge}")
        plain = not values["do_normalize"]
        return cls(
            size=side,
            mean=(0.0,) * 3 if plain else _by_channel("image_mean", values["image_mean"]),
            std=(1.0,) * 3 if plain else _by_channel("image_std", values["image_std"]),
            resample=values["resample"],
            resize=edge if shorter or side < edge else None,
            both_edges=not shorter and side < edge,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON; `both_edges` is said where it holds: earlier files have no such key."""
        return {k: v for k, v in asdict(self).items() if k != "both_edges" or v}

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


def _settings(file: Path) -> dict[str, Any]:
    """The settings in an image processor's file or folder, with the defaults of its class.

    Raises:
        ValueError: the class is not known, or a setting would change the pixels in a way that is
            not reproduced.
    """
    if file.is_dir():
        own, joint = file / "preprocessor_config.json", file / "processor_config.json"
        file = joint if joint.is_file() and not own.is_file() else own
    given = json.loads(file.read_text())
    if isinstance(given, dict):
        given = given.get("image_processor", given)
    if not isinstance(given, dict):
        raise ValueError(f"{file} holds no settings of an image processor")
    called = str(given.get("image_processor_type") or given.get("feature_extractor_type") or "ViT")
    kind = called
    for end in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
        kind = kind[: -len(end)] if kind.endswith(end) else kind
    if kind not in _OWN:
        raise ValueError(f"the image processor {called} is not one of: {', '.join(_OWN)}")
    values = {**_USUAL, **_OWN[kind], **given}
    if kind in ("Bit", "CLIP") and isinstance(values["size"], int):
        values["size"] = {"shortest_edge": values["size"]}
    # others that change pixels: padding, flipped colours, crops by a share
    also = {name for name in values if name.startswith("do_")} - set(_HARMLESS)
    wrong = [name for name in ("do_resize", "do_rescale") if not values[name]]
    wrong += [name for name in sorted(also | {"crop_pct", "rescale_offset"}) if values.get(name)]
    if values["resample"] not in range(6) or isinstance(values["resample"], bool):
        wrong.append("resample")
    factor = values["rescale_factor"]
    if not isinstance(factor, (int, float)) or abs(factor * 255 - 1) > 1e-6:
        wrong.append("rescale_factor")
    for name in wrong:
        raise ValueError(f"the processor's {name} is {values.get(name)}: that is not reproduced")
    return values


def _edge(name: str, value: Any) -> int:
    """A size in pixels, alone or as the equal height and width of a square."""
    side = value
    if isinstance(value, dict) and set(value) == {"height", "width"}:
        if value["height"] != value["width"]:
            raise ValueError(f"the processor's {name} {value} is not square")
        side = value["height"]
    if not isinstance(side, int) or isinstance(side, bool) or side < 1:
        raise ValueError(f"the processor's {name} is {value!r}: that is not reproduced")
    return side


def _by_channel(name: str, value: Any) -> tuple[float, float, float]:
    """A number for each channel, or one for all."""
    values = [value] * 3 if isinstance(value, (int, float)) else value
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"the processor's {name} is {value!r}, not a number or three")
    return tuple(float(v) for v in values)  # type: ignore[return-value]
