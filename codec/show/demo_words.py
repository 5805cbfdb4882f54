"""bundled pictures -> blobs -> captions and answers, the whole way, beside what the uncut models
say and what the pictures take as PNG, WebP and JPEG.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from codec.device.preprocess import to_rgb
from codec.model import checkpoint
from codec.pipeline import Device, Server
from codec.show.formats import n_bytes_as
from codec.tasks import CAPTIONS, QUESTIONS
from codec.tasks import generate as text

if TYPE_CHECKING:
    from codec.model import FeatureCodec


class Asked(NamedTuple):
    """A bundled picture, and questions with their true answers."""

    path: Path
    questions: tuple[tuple[str, str], ...]


class Line(NamedTuple):
    """One text about a picture: what the blob and the uncut model say.

    Attributes:
        question: "" for a caption.
        true: the true answer; None for a caption, whose truth nothing says.
    """

    question: str
    coded: str
    uncut: str
    true: str | None

    @property
    def right(self) -> bool | None:
        """Whether the blob's text is true; None where nothing says so."""
        return None if self.true is None else self.coded == self.true

    @property
    def agrees(self) -> bool:
        """Whether the blob's text is the uncut model's."""
        return self.coded == self.uncut


class Told(NamedTuple):
    """What became of one picture.

    Attributes:
        uncut, coded: texts of the uncut models and from the blob: a caption, if the codec has
            captions, then the answers.
        n_bytes: bytes of the blob.
        picture_n_bytes: bytes of the picture in each of `FORMATS`.
    """

    asked: Asked
    uncut: tuple[str, ...]
    coded: tuple[str, ...]
    n_bytes: int
    picture_n_bytes: dict[str, int]

    @property
    def lines(self) -> list[Line]:
        """Each text with its question and the truth."""
        n_captions = len(self.coded) - len(self.asked.questions)
        asked = [*[("", None)] * n_captions, *self.asked.questions]
        texts = zip(asked, self.coded, self.uncut, strict=True)
        return [Line(question, coded, uncut, true) for (question, true), coded, uncut in texts]


def bundled_questions(codec: FeatureCodec, limit: int | None = None) -> list[Asked]:
    """The pictures that ship for a codec, or the first `limit` of them, from `samples/<its
    name>/samples.json`.

    Raises:
        FileNotFoundError: none ship for it.
    """
    folder = checkpoint.shipped_root() / "samples" / codec.config.name
    file = folder / "samples.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"no sample pictures ship for {codec.config.name}: there is no {file}"
        )
    rows = json.loads(file.read_text())[:limit]
    return [Asked(folder / row["file"], tuple((q, a) for q, a in row["questions"])) for row in rows]


@torch.inference_mode()
def tell(
    codec: FeatureCodec, samples: Sequence[Asked], step: Callable[[], None] = lambda: None
) -> list[Told]:
    """Send each picture alone at the codec's default quality, and ask the blob and the uncut models
    the same.

    Args:
        step: called after each picture.
    """
    device, server = Device(codec), Server(codec)
    models = {
        task: (codec.load_uncut(task), codec.load_tokenizer(task)) for task in codec.config.tasks
    }
    told = []
    for sample in samples:
        picture = to_rgb(sample.path)
        blob = device(picture)
        x, questions = device.preprocess([picture]), [question for question, _ in sample.questions]
        coded, uncut = [], []
        if CAPTIONS in models:
            model, tokenizer = models[CAPTIONS]
            coded.append(server.caption(blob))
            limits = text.checked_limits(model, None, 1, text.CAPTION_TOKENS)
            uncut += text.caption(model, tokenizer, x, limits)
        if QUESTIONS in models and questions:
            model, tokenizer = models[QUESTIONS]
            coded += server.answer(blob, questions)
            ids = [text.question_ids(model, tokenizer, question) for question in questions]
            limits = text.checked_limits(model, None, 1, text.ANSWER_TOKENS)
            uncut += text.answer(model, tokenizer, x.expand(len(ids), -1, -1, -1), ids, limits)
        told.append(Told(sample, tuple(uncut), tuple(coded), len(blob), n_bytes_as(picture)))
        step()
    return told


def summary(told: Sequence[Told]) -> str:
    """How many answers are right, and how many texts are the uncut models'."""
    lines = [line for row in told for line in row.lines]
    parts = [f"{sum(line.agrees for line in lines)} of {len(lines)} texts are the uncut model's"]
    if known := [line for line in lines if line.true is not None]:
        coded = sum(line.coded == line.true for line in known)
        uncut = sum(line.uncut == line.true for line in known)
        parts.insert(0, f"{coded} of {len(known)} answers right ({uncut} uncut)")
    return "; ".join(parts)
