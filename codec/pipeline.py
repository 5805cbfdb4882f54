"""The two halves a user drops into a split pipeline: Device (picture -> blob) and Server (blob -> answer)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from codec.model import FeatureCodec
from codec.preprocess import ImageLike


class Device:
    """Device side: pictures -> blobs.

    Args:
        codec: a loaded codec; `Device.from_pretrained(name)` loads one.
    """

    def __init__(self, codec: FeatureCodec) -> None:
        self.codec = codec

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> Device:
        """Load the device side of a codec; errors as `FeatureCodec.from_pretrained`."""
        return cls(FeatureCodec.from_pretrained(name))

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, images: ImageLike, quality: int | None = None, *, max_bytes: int | None = None, target_drop: float | None = None
    ) -> bytes: ...

    @overload
    def __call__(
        self, images: Sequence[ImageLike], quality: int | None = None, *, max_bytes: int | None = None, target_drop: float | None = None
    ) -> list[bytes]: ...

    def __call__(
        self, images: Any, quality: int | None = None, *, max_bytes: int | None = None, target_drop: float | None = None
    ) -> bytes | list[bytes]:
        """One picture -> its blob; a batch of pictures -> a list of blobs.

        Args:
            images: a PIL image, a path, an array (H, W), (H, W, 3) or (H, W, 4) uint8, a list of these, or an array (B, H, W, 3).
                Pictures of another mode or size are converted as the backbone's image processor would.
            quality: rate index, 0 = smallest; None for the codec's default.
            max_bytes: instead of a quality, the most bytes a blob may take; each picture gets the best quality that fits.
            target_drop: instead of a quality, the points of score that may be lost, by the codec's calibration.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a picture, an empty batch, a quality the codec lacks, or a budget or drop that none keeps to.
        """
        batch, single = _as_batch(images)
        blobs = self.codec.encode(self.preprocess(batch), quality, max_bytes=max_bytes, target_drop=target_drop)
        return blobs[0] if single else blobs

    def preprocess(self, images: Sequence[ImageLike]) -> torch.Tensor:
        """Pictures -> `pixel_values` (B, 3, S, S) float32."""
        if not len(images):
            raise ValueError("an empty batch of pictures")
        return torch.from_numpy(self.codec.config.preprocess(list(images)))


class Server:
    """Server side: blobs -> answers.

    Args:
        codec: a loaded codec; `Server.from_pretrained(name)` loads one.
    """

    def __init__(self, codec: FeatureCodec) -> None:
        self.codec = codec
        self.labels: dict[int, str] = codec.tail.config.id2label  # type: ignore[union-attr,assignment]

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> Server:
        """Load the server side of a codec; errors as `FeatureCodec.from_pretrained`."""
        return cls(FeatureCodec.from_pretrained(name))

    @overload
    def __call__(self, blobs: bytes, top_k: int = 5) -> list[dict[str, Any]]: ...

    @overload
    def __call__(self, blobs: Sequence[bytes], top_k: int = 5) -> list[list[dict[str, Any]]]: ...

    def __call__(self, blobs: Any, top_k: int = 5) -> Any:
        """One blob -> [{"label": ..., "score": ...}], best first, as transformers' pipelines; a list of blobs -> a list of these.

        Raises:
            BitstreamError: a blob is damaged or of another codec.
            ValueError: no blobs, or `top_k` is below 1.
        """
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f"top_k is an integer of at least 1, not {top_k!r}")
        single = isinstance(blobs, (bytes, bytearray, memoryview))
        probabilities = self.probabilities([blobs] if single else blobs)
        answers = [self._ranked(row, top_k) for row in probabilities]
        return answers[0] if single else answers

    @torch.inference_mode()
    def probabilities(self, blobs: Sequence[bytes]) -> NDArray[np.float32]:
        """Blobs -> probability of each label (B, n_labels) float32."""
        logits = self.codec.tail(self.codec.decode(blobs)).logits
        return np.asarray(logits.float().softmax(-1).cpu().numpy())

    def _ranked(self, row: NDArray[np.float32], top_k: int) -> list[dict[str, Any]]:
        best = np.argsort(-row, kind="stable")[:top_k]
        return [{"label": self.labels[int(i)], "score": float(row[i])} for i in best]


def _as_batch(images: Any) -> tuple[list[ImageLike], bool]:
    """A picture or several -> a list of pictures, and whether it was one."""
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return list(images), False
    if isinstance(images, (list, tuple)):
        return list(images), False
    return [images], True
