"""The two halves a user drops into a split pipeline: Device (picture -> blob) and Server (blob ->
label, caption or answer).
"""

from __future__ import annotations

import contextlib
import functools
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
from codec.model.config import CodecConfig
from codec.tasks import generate as text


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

    Args:
        codec: a loaded codec; `Server.from_pretrained(name)` loads one.

    Attributes:
        labels: what a classification codec answers, by index; of another codec, none.
    """

    def __init__(self, codec: FeatureCodec) -> None:
        self.codec = codec
        classifier: Any = codec.tails.get("image-classification")
        self.labels: dict[int, str] = classifier.config.id2label if classifier is not None else {}
        self._tokenizers: dict[str, Any] = {}

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> Server:
        """Load the server side of a codec; errors as `FeatureCodec.from_pretrained`."""
        return cls(FeatureCodec.from_pretrained(name))

    @overload
    def __call__(self, blobs: bytes, top_k: int = 5) -> list[dict[str, Any]]: ...

    @overload
    def __call__(self, blobs: Sequence[bytes], top_k: int = 5) -> list[list[dict[str, Any]]]: ...

    def __call__(self, blobs: Any, top_k: int = 5) -> Any:
        """One blob -> [{"label": ..., "score": ...}], best first, as transformers' pipelines; a
        list of blobs -> a list of these.

        Raises:
            BitstreamError: a blob is damaged or of another codec.
            ValueError: no blobs, `top_k` is below 1, or the codec does not classify.
        """
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f"top_k is an integer of at least 1, not {top_k!r}")
        probabilities = self.probabilities([blobs] if _is_one(blobs) else blobs)
        answers = [self._ranked(row, top_k) for row in probabilities]
        return answers[0] if _is_one(blobs) else answers

    @torch.inference_mode()
    def probabilities(self, blobs: Sequence[bytes]) -> NDArray[np.float32]:
        """Blobs -> probability of each label (B, n_labels) float32."""
        logits = self._tail("image-classification")(self._decode(blobs)).logits
        return np.asarray(logits.float().softmax(-1).cpu().numpy())

    @overload
    def caption(
        self, blobs: bytes, *, max_new_tokens: int | None = None, num_beams: int = 1
    ) -> str: ...

    @overload
    def caption(
        self, blobs: Sequence[bytes], *, max_new_tokens: int | None = None, num_beams: int = 1
    ) -> list[str]: ...

    @torch.inference_mode()
    def caption(self, blobs: Any, *, max_new_tokens: int | None = None, num_beams: int = 1) -> Any:
        """One blob -> its caption; a list of blobs -> a list of captions.

        Args:
            max_new_tokens: where a caption is cut off, in tokens; None for 64, or fewer where the
                model writes no more.
            num_beams: hypotheses of beam search, 1 for greedy.

        Raises:
            BitstreamError: a blob is damaged or of another codec; where that ships, the message
                says what it serves.
            ValueError: no blobs, a limit out of range, or the codec has no captions; the message
                says what it serves.
        """
        task = "image-to-text"
        tail, tokenizer = self._tail(task), self._tokenizer(task)
        limits = text.checked_limits(tail, max_new_tokens, num_beams, text.CAPTION_TOKENS)
        captions = text.caption(
            tail, tokenizer, self._decode([blobs] if _is_one(blobs) else blobs), limits
        )
        return captions[0] if _is_one(blobs) else captions

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

    @torch.inference_mode()
    def answer(
        self, blobs: Any, questions: Any, *, max_new_tokens: int | None = None, num_beams: int = 1
    ) -> Any:
        """A blob and a question -> the answer.

        A blob and a list of questions -> their answers; a list of blobs and a question -> its
        answer for each; as many blobs as questions -> the answer to each blob's own.

        Args:
            max_new_tokens: where an answer is cut off, in tokens; None for 16, or fewer where the
                model writes no more.
            num_beams: hypotheses of beam search, 1 for greedy.

        Raises:
            BitstreamError: as `caption`.
            ValueError: no blobs or questions, or not as many; a question that is empty, too long,
                or has no word of the model's vocabulary; a limit out of range; or the codec answers
                no questions.
        """
        task = "visual-question-answering"
        tail, tokenizer = self._tail(task), self._tokenizer(task)
        limits = text.checked_limits(tail, max_new_tokens, num_beams, text.ANSWER_TOKENS)
        single = _is_one(blobs), isinstance(questions, str) or not isinstance(questions, Sequence)
        ids = [
            text.question_ids(tail, tokenizer, question)
            for question in ([questions] if single[1] else questions)
        ]
        if not ids:
            raise ValueError("no questions to answer")
        many = [blobs] if single[0] else list(blobs)
        if not any(single) and len(many) != len(ids):
            raise ValueError(
                f"{len(many)} blobs and {len(ids)} questions: give one question, or one for each "
                "blob"
            )
        tokens = self._decode(many)
        n = max(len(many), len(ids))
        answers = text.answer(
            tail, tokenizer, tokens.expand(n, -1, -1), ids * (n // len(ids)), limits
        )
        return answers[0] if all(single) else answers

    def _tail(self, task: str) -> Any:
        config = self.codec.config
        if task not in config.tasks:
            raise ValueError(f"{config.name} serves {config.task}, not {task}")
        return self.codec.tails[task]

    def _tokenizer(self, task: str) -> Any:
        if task not in self._tokenizers:
            self._tokenizers[task] = self.codec.load_tokenizer(task)
        return self._tokenizers[task]

    def _decode(self, blobs: Sequence[bytes]) -> torch.Tensor:
        """`codec.decode`, whose error for a blob of another shipped codec says which, and what that
        serves.
        """
        try:
            return self.codec.decode(blobs)
        except BitstreamError as error:
            refused = next((blob for blob in blobs if not is_of(blob, self.codec.fingerprint)), b"")
            written_by = _shipped_writer(refused)
            if written_by is None:
                raise
            raise BitstreamError(
                f"{error}; it is of {written_by.name}, which serves {written_by.task}"
            ) from error

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


def _shipped_writer(blob: bytes) -> CodecConfig | None:
    """The configuration of the shipped codec that wrote a blob, if one did."""
    for name in checkpoint.shipped_names():
        with contextlib.suppress(ValueError, OSError):  # one that cannot be loaded
            fingerprint, config = _shipped_facts(checkpoint.shipped_root() / name)
            if is_of(blob, fingerprint):
                return config
    return None


@functools.cache
def _shipped_facts(folder: Path) -> tuple[bytes, CodecConfig]:
    """Fingerprint and configuration of a codec, loaded once."""
    codec = FeatureCodec.from_pretrained(folder)
    return codec.fingerprint, codec.config


def _is_one(blobs: Any) -> bool:
    return isinstance(blobs, (bytes, bytearray, memoryview))
