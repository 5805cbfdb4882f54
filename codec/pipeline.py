"""image -> blob and blob -> answer: Device and Server, the two halves a user puts at the ends of a
link.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from codec.coding.container import BitstreamError, is_of
from codec.device.pictures import ImageLike
from codec.model import FeatureCodec, checkpoint
from codec.model.encoding import FeatureEncoder
from codec.model.loading import load_encoder
from codec.model.opened import Opened, Tails
from codec.tasks import CAPTIONS, LABELS, QUESTIONS


class Device:
    """Device side: pictures -> blobs.

    Args:
        codec: a loaded codec, or the encoder's half of one; `Device.from_pretrained(name)` loads
            that.
    """

    def __init__(self, codec: FeatureEncoder) -> None:
        self.codec = codec

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> Device:
        """Load the device side of a codec, and nothing of the server's. Errors as
        `FeatureCodec.from_pretrained`.
        """
        # a checkpoint without fingerprint, of an earlier version, takes the whole codec
        return cls(load_encoder(name) or FeatureCodec.from_pretrained(name))

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        images: ImageLike,
        quality: int | None = None,
        *,
        max_bytes: int | None = None,
        target_drop: float | None = None,
    ) -> bytes: ...

    @overload
    def __call__(
        self,
        images: Sequence[ImageLike],
        quality: int | None = None,
        *,
        max_bytes: int | None = None,
        target_drop: float | None = None,
    ) -> list[bytes]: ...

    def __call__(
        self,
        images: Any,
        quality: int | None = None,
        *,
        max_bytes: int | None = None,
        target_drop: float | None = None,
    ) -> bytes | list[bytes]:
        """One picture -> its blob; a batch of pictures -> a list of blobs.

        Args:
            images: a PIL image, a path, an array (H, W), (H, W, 3) or (H, W, 4) uint8, a list of
                these, or an array (B, H, W, 3). Pictures of another mode or size are converted as
                the backbone's image processor would.
            quality: rate index, 0 = smallest; None for the codec's default.
            max_bytes: instead of a quality, the most bytes a blob may take; each picture gets the
                best quality that fits.
            target_drop: instead of a quality, the points of score that may be lost, by the codec's
                calibration.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a picture, an empty batch, a quality the codec lacks, or a budget or
                drop that none keeps to.
        """
        batch, single = _as_batch(images)
        blobs = self.codec.encode(
            self.preprocess(batch), quality, max_bytes=max_bytes, target_drop=target_drop
        )
        return blobs[0] if single else blobs

    def preprocess(self, images: Sequence[ImageLike]) -> torch.Tensor:
        """Pictures -> `pixel_values` (B, 3, S, S) float32."""
        if not len(images):
            raise ValueError("an empty batch of pictures")
        return torch.from_numpy(self.codec.config.preprocess(list(images)))


class Server:
    """Server side: blobs -> labels, captions, answers to questions; whichever of these the codec
    serves.

    `open` decodes once and answers as often as asked. The other methods open and ask once.

    Args:
        codec: a loaded codec; `Server.from_pretrained(name)` loads one.
    """

    def __init__(self, codec: FeatureCodec) -> None:
        self.codec = codec
        self._tails = Tails(codec)
        checkpoint.shipped_fingerprints()  # read now, so that a foreign blob is refused at once

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> Server:
        """Load the server side of a codec; errors as `FeatureCodec.from_pretrained`."""
        return cls(FeatureCodec.from_pretrained(name))

    @property
    def labels(self) -> dict[int, str]:
        """What a classification codec answers, by index; of another codec, none."""
        return self._tails.labels

    def open(self, blobs: bytes | Sequence[bytes]) -> Opened:
        """A blob, or a list of blobs in any mix of qualities -> what can be asked of them.

        Raises:
            BitstreamError: a blob is damaged or of another codec; where that ships, the message
                says what it serves.
            ValueError: no blobs.
        """
        single = isinstance(blobs, (bytes, bytearray, memoryview))
        many: Any = [blobs] if single else list(blobs)
        if not many:
            raise ValueError("no blobs to decode")
        try:
            symbols, qualities = self.codec.read(many)
        except BitstreamError as error:
            raise _naming_writer(error, many, self.codec.fingerprint) from error
        tokens = self.codec.decode_symbols(symbols, qualities)
        return Opened(self._tails, tokens, qualities, single)

    @overload
    def __call__(self, blobs: bytes, top_k: int = 5) -> list[dict[str, Any]]: ...

    @overload
    def __call__(self, blobs: Sequence[bytes], top_k: int = 5) -> list[list[dict[str, Any]]]: ...

    def __call__(self, blobs: Any, top_k: int = 5) -> Any:
        """One blob -> its labels; a list of blobs -> a list of these: see `Opened.labels`. Errors
        as that and `open`.
        """
        self._tails.rest(LABELS)
        return self.open(blobs).labels(top_k)

    def probabilities(self, blobs: Sequence[bytes]) -> NDArray[np.float32]:
        """Blobs -> probability of each label (B, n_labels) float32."""
        self._tails.rest(LABELS)
        return self.open(blobs).probabilities()

    @overload
    def caption(
        self, blobs: bytes, *, max_new_tokens: int | None = None, num_beams: int = 1
    ) -> str: ...

    @overload
    def caption(
        self, blobs: Sequence[bytes], *, max_new_tokens: int | None = None, num_beams: int = 1
    ) -> list[str]: ...

    def caption(self, blobs: Any, **limits: Any) -> Any:
        """One blob -> its caption; a list of blobs -> a list of captions: see `Opened.caption`.
        Errors as that and `open`.
        """
        self._tails.rest(CAPTIONS)
        return self.open(blobs).caption(**limits)

    @overload
    def answer(  # type: ignore[overload-overlap]
        self, blobs: bytes, questions: str, *, max_new_tokens: int | None = None, num_beams: int = 1
    ) -> str: ...

    @overload
    def answer(
        self,
        blobs: bytes | Sequence[bytes],
        questions: str | Sequence[str],
        *,
        max_new_tokens: int | None = None,
        num_beams: int = 1,
    ) -> list[str]: ...

    def answer(self, blobs: Any, questions: Any, **limits: Any) -> Any:
        """A blob and a question -> the answer; lists of them as `Opened.answer` pairs them. Errors
        as that and `open`.
        """
        self._tails.rest(QUESTIONS)
        return self.open(blobs).answer(questions, **limits)


def _as_batch(images: Any) -> tuple[list[ImageLike], bool]:
    """A picture or several -> a list of pictures, and whether it was one."""
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return list(images), False
    if isinstance(images, (list, tuple)):
        return list(images), False
    return [images], True


def _naming_writer(
    error: BitstreamError, blobs: Sequence[bytes], fingerprint: bytes
) -> BitstreamError:
    """The error about one of several blobs, with the name of the shipped codec that wrote it."""
    refused = next((blob for blob in blobs if not is_of(blob, fingerprint)), None)
    name = None if refused is None else checkpoint.named_by(refused)
    if name is None:
        return error
    task = _task_of(checkpoint.shipped_root() / name)
    return BitstreamError(f"{error}; it is of {name}, which serves {task}")


@functools.cache
def _task_of(folder: Path) -> str:
    """What a shipped codec serves, from its configuration."""
    return str(json.loads((folder / checkpoint.CONFIG).read_text())["task"])
