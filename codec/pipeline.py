"""image -> blob and blob -> answer: Device and Server, the two halves a user puts at the ends of a
link.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from codec.coding.budget import Rate
from codec.device.pictures import ImageLike
from codec.device.taking import Taking
from codec.model import FeatureCodec
from codec.model.encoding import FeatureEncoder
from codec.model.hub import Hub
from codec.model.loading import load_encoder, on_device
from codec.model.opened import check_questions
from codec.model.reading import ONE, Reader, check_loaded
from codec.tasks import CAPTIONS, LABELS, QUESTIONS
from codec.tasks.labels import Label


class Device(Taking):
    """Device side: pictures -> blobs.

    A call takes one picture, a list or a stream of pictures; `each` gives a result for each of
    them; `session` shortens headers.

    Args:
        codec: a loaded codec, or the encoder's half of one; `Device.from_pretrained(name)` loads
            that.

    Raises:
        TypeError: it is a name.
    """

    def __init__(self, codec: FeatureEncoder) -> None:
        check_loaded(codec, type(self).__name__)
        self.codec = codec

    @property
    def fingerprint(self) -> bytes:  # type: ignore[override]
        """32 bytes that name the codec."""
        return self.codec.fingerprint

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        device: str | torch.device = "cpu",
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
    ) -> Device:
        """Load the device side of a codec, and nothing of the server's; always in float32.
        Arguments and errors as `FeatureCodec.from_pretrained`.
        """
        place, hub = on_device(device), Hub(revision, cache_dir, token)
        # a checkpoint without fingerprint, of an earlier version, takes the whole codec
        codec = load_encoder(name, hub) or FeatureCodec.from_pretrained(name, **hub._asdict())
        return cls(codec.to(place))

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

    @overload
    def __call__(
        self,
        images: Iterator[ImageLike],
        quality: int | None = None,
        *,
        max_bytes: int | None = None,
        target_drop: float | None = None,
    ) -> Iterator[bytes]: ...

    @functools.wraps(Taking.__call__)
    def __call__(
        self,
        images: Any,
        quality: int | None = None,
        *,
        max_bytes: int | None = None,
        target_drop: float | None = None,
    ) -> Any:
        return super().__call__(images, quality, max_bytes=max_bytes, target_drop=target_drop)

    def preprocess(self, images: Sequence[ImageLike]) -> torch.Tensor:
        """Pictures -> `pixel_values` (B, 3, S, S) float32."""
        return torch.from_numpy(self.codec.config.preprocess(list(images)))

    def chosen_rate(self, quality: Any, max_bytes: Any, target_drop: Any) -> Rate:
        """The rate that is asked for. Arguments and errors as for a call."""
        return self.codec.chosen_rate(quality, max_bytes, target_drop)

    def _pixels(self, image: Any) -> Any:
        return self.codec.config.preprocess.pixels(image)

    def _rows(self, pixels: list[Any]) -> list[Any]:
        values = self.codec.config.preprocess.normalise(np.stack(pixels))
        return list(self.codec.latent(torch.from_numpy(values)))

    def _blobs(self, rows: list[Any], rate: Rate) -> list[bytes]:
        return self.codec.encode_latent(torch.stack(rows), rate)


class Server(Reader):
    """Server side: blobs -> labels, captions, answers to questions; whichever of these the codec
    serves.

    `open` decodes once and answers as often as asked; `each` opens many, of which some may be
    damaged; `session` takes shortened ones. The other methods open and ask once.

    Args:
        codec: a loaded codec; `Server.from_pretrained(name)` loads one.

    Raises:
        TypeError: it is a name.
    """

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
    ) -> Server:
        """Load the server side of a codec. Arguments and errors as
        `FeatureCodec.from_pretrained`.
        """
        return cls(
            FeatureCodec.from_pretrained(
                name,
                device=device,
                dtype=dtype,
                revision=revision,
                cache_dir=cache_dir,
                token=token,
            )
        )

    @property
    def labels(self) -> dict[int, str]:
        """What a classification codec answers, by index; of another codec, none."""
        return self._tails.labels

    @overload
    def __call__(self, blobs: bytes, top_k: int = 5) -> list[Label]: ...

    @overload
    def __call__(self, blobs: Sequence[bytes], top_k: int = 5) -> list[list[Label]]: ...

    def __call__(self, blobs: Any, top_k: int = 5) -> Any:
        """One blob -> its labels; a list of blobs -> a list of these: see `Opened.labels`. Errors
        as that and `open`.
        """
        self._tails.rest(LABELS)
        return self.ask(blobs, lambda opened, _: opened.labels(top_k))

    def probabilities(self, blobs: Sequence[bytes]) -> NDArray[np.float32]:
        """Blobs -> probability of each label (B, n_labels) float32."""
        self._tails.rest(LABELS)
        return np.stack(self.ask(blobs, lambda opened, _: opened.probabilities()))

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
        return self.ask(blobs, lambda opened, _: opened.caption(**limits))

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
        one = isinstance(questions, str) or not isinstance(questions, Sequence)
        if one or isinstance(blobs, ONE):
            return self.ask(blobs, lambda opened, _: opened.answer(questions, **limits))
        many = list(blobs)
        if many:
            check_questions(len(many), len(questions))
        return self.ask(many, lambda opened, some: opened.answer(questions[some], **limits))
