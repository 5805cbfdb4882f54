"""an array or a tensor, as people have pictures -> pixels (H, W), (H, W, 3) or (H, W, 4) uint8.

Part of the one file for devices: Python 3.6, numpy. Tensors are recognised by their methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS = (1, 3, 4)
"""Grey, RGB, and RGB with transparency, which is dropped."""
MAX_PIXELS = 89478485
"""Above it Pillow warns of a decompression bomb: a file of 300 kB that takes 2 s and 1 GB."""


def is_array(image: Any) -> bool:
    """Whether it is a numpy array or a torch tensor."""
    return isinstance(image, np.ndarray) or (hasattr(image, "detach") and hasattr(image, "numpy"))


def array_pixels(image: Any) -> NDArray[np.uint8]:
    """An array or tensor (H, W), (H, W, C) or (C, H, W), uint8 or float in 0..1 -> pixels (H, W),
    (H, W, 3) or (H, W, 4) uint8. A float is rounded to the nearest of 256 levels.

    Raises:
        ValueError: another shape or dtype, a shape that can be read in two ways, values outside of
            0..1, or an empty or enormous picture.
    """
    array = image if isinstance(image, np.ndarray) else _of_tensor(image)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ValueError(
            f"an image array has dtype uint8, or float with values 0..1, not {array.dtype}"
        )
    array = _channels_last(array)
    check_extent(array.shape[:2], "the array")
    return array if array.dtype == np.uint8 else _levels(array)


def check_extent(size: tuple[int, ...], name: str) -> None:
    """Raises ValueError where a picture of this width and height is empty or enormous."""
    if not 0 < size[0] * size[1] <= MAX_PIXELS:
        raise ValueError(f"{name} has {size[0]} x {size[1]} pixels; 1 to {MAX_PIXELS} are taken")


def _of_tensor(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    if "bfloat16" in str(tensor.dtype):  # numpy has no such dtype
        tensor = tensor.float()
    return np.asarray(tensor.numpy())


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """The channel axis, found by its length, at the end; none where there is one channel."""
    if array.ndim == 2:
        return array
    first, last = (array.ndim == 3 and array.shape[axis] in CHANNELS for axis in (0, 2))
    if not (first or last):
        raise ValueError(
            "an image array has shape (H, W), (H, W, C) or (C, H, W), of 1, 3 or 4 channels, not "
            f"{array.shape}"
        )
    if first and last:
        raise ValueError(
            f"an image array of shape {array.shape} is ambiguous: it may be (H, W, C) or "
            "(C, H, W); give a PIL image"
        )
    if first:
        array = np.moveaxis(array, 0, 2)
    return np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array)


def _levels(array: NDArray[Any]) -> NDArray[np.uint8]:
    lowest, highest = array.min(), array.max()
    if not (lowest >= 0 and highest <= 1):  # NaN too
        raise ValueError(
            f"an image array of floats has values 0..1, not {lowest:.4g}..{highest:.4g}; "
            "pixel_values, as an image processor gives them, are for codec.encode"
        )
    levels: NDArray[np.uint8] = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    return levels
