"""bundle, pictures -> how far its symbols, and what the server answers to its blobs, are from the
codec's in PyTorch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from codec.device.encoder import DeviceEncoder
from codec.model import FeatureCodec
from codec.pipeline import Server

LEAST_AGREEMENT, MOST_CHANGE, MOST_CHANGED = 99.99, 0.1, 0.5
"""What a bundle must keep to: percent of symbols; points of score; where nothing says which answers
are right, percent of answers.
"""
BATCH = 50


class Picture(NamedTuple):
    """A picture, and what is known about it: the index of its label, questions, and the answers to
    these; each may be missing.
    """

    image: Any
    label: int | None = None
    questions: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


class Answers(NamedTuple):
    """What the server makes of PyTorch's blobs and of the bundle's, for one task: a label, a
    caption, or an answer to each question.

    Attributes:
        n_answers: how many were compared at each quality.
        changed: answers to the bundle's blobs that are not those to PyTorch's, in percent, at the
            quality where they are most.
        score, bundle_score: right answers at the default quality, in percent: PyTorch's blobs, the
            bundle's. None where the data set does not say which are right; captions have no score
            here.
        score_change: the largest change of the score at any quality, in points. None likewise.
    """

    n_answers: int
    changed: float
    score: float | None
    bundle_score: float | None
    score_change: float | None

    @property
    def holds(self) -> bool:
        """Whether they keep to the floors."""
        return (
            self.changed <= MOST_CHANGED
            if self.score_change is None
            else abs(self.score_change) <= MOST_CHANGE
        )


class Verified(NamedTuple):
    """What was found.

    Attributes:
        n_images, n_symbols: how many were compared, symbols of all qualities.
        agreement: symbols that are PyTorch's, in percent.
        least_agreement: the same, of the quality where it is least.
        answers: by task of the codec; a task that the data set has nothing to ask about is left
            out.
    """

    n_images: int
    n_symbols: int
    agreement: float
    least_agreement: float
    answers: dict[str, Answers]

    @property
    def holds(self) -> bool:
        """Whether the bundle keeps to the floors."""
        return self.agreement >= LEAST_AGREEMENT and all(
            answers.holds for answers in self.answers.values()
        )


def verify(
    bundle: Path,
    codec: FeatureCodec,
    pictures: Iterable[Picture],
    step: Callable[[], None] = lambda: None,
) -> Verified:
    """Compare a bundle with its codec; `read_pictures` gives those of a data set.

    Both encode every picture at every quality. Where symbols differ, and everywhere at the default
    quality, the server answers both blobs.

    Args:
        step: called for each batch of 50.

    Raises:
        FileNotFoundError, ValueError: the bundle is not whole or of another codec, there are no
            pictures, or a question cannot be asked.
    """
    encoder = DeviceEncoder(str(bundle))
    if encoder.fingerprint != codec.fingerprint:
        raise ValueError(f"{bundle} is not of this {codec.config.name}: their fingerprints differ")
    if encoder.preprocess != codec.config.preprocess:
        raise ValueError(
            f"{bundle} prepares pictures in another way than {codec.config.name}: export it anew"
        )
    server, default = Server(codec), codec.config.default_quality
    same, n_images, n_each = np.zeros(len(codec.qualities), dtype=np.int64), 0, 0
    tallies = {task: _Tally(len(codec.qualities)) for task in codec.config.tasks}
    for batch in _batches(pictures):
        pixel_values = codec.config.preprocess([picture.image for picture in batch])
        latent = codec.latent(torch.from_numpy(pixel_values))
        found = encoder.symbols(pixel_values)
        for q in codec.qualities:
            expected = codec.quantise(latent, q)
            same[q] += int((found[:, q] == expected).sum())
            n_each = expected[0].size
            differ = (found[:, q] != expected).any((1, 2))
            chosen = np.flatnonzero(differ | (q == default))
            blobs = codec.code(expected[chosen], q) if len(chosen) else []
            bundle_blobs = encoder.code(found[chosen], q)
            for task, tally in tallies.items():
                tally.add(
                    server,
                    task,
                    q,
                    [batch[i] for i in chosen],
                    blobs,
                    bundle_blobs,
                    asked=q == default,
                )
        n_images += len(batch)
        step()
    if not n_images:
        raise ValueError("there are no pictures to compare")
    share = 100 * same / (n_images * n_each)
    answers = {task: tally.answers(default) for task, tally in tallies.items() if tally.n}
    return Verified(
        n_images, n_images * n_each * len(share), float(share.mean()), float(share.min()), answers
    )


class _Tally:
    """Answers of one task, counted by quality."""

    def __init__(self, n_qualities: int) -> None:
        self.n, self.n_known = 0, 0
        self.right, self.right_bundle, self.changed = (
            np.zeros(n_qualities, dtype=np.int64) for _ in range(3)
        )

    def add(
        self,
        server: Server,
        task: str,
        q: int,
        pictures: list[Picture],
        blobs: list[bytes],
        bundle_blobs: list[bytes],
        asked: bool,
    ) -> None:
        """Ask about pictures of one quality; `asked` says whether these are all there are, so that
        they are counted.
        """
        wanted = [
            (i, *question)
            for i, picture in enumerate(pictures)
            for question in _questions(task, picture)
        ]
        for start in range(0, len(wanted), BATCH):
            part = wanted[start : start + BATCH]
            questions = [question for _, question, _ in part]
            one, other = ([some[i] for i, _, _ in part] for some in (blobs, bundle_blobs))
            ours = _ask(server, task, one, questions)
            theirs = ours if one == other else _ask(server, task, other, questions)
            for (_, _, truth), before, after in zip(part, ours, theirs, strict=True):
                self.changed[q] += before != after
                self.right[q] += before == truth
                self.right_bundle[q] += after == truth
                self.n += asked
                self.n_known += asked and truth is not None

    def answers(self, default: int) -> Answers:
        """The counts as shares; answers were asked at the quality `default`."""
        changed = float(100 * self.changed.max() / self.n)
        if self.n_known < self.n:
            return Answers(self.n, changed, None, None, None)
        score, bundle_score = (100 * right / self.n for right in (self.right, self.right_bundle))
        change = float(max(bundle_score - score, key=abs))
        return Answers(self.n, changed, float(score[default]), float(bundle_score[default]), change)


def _questions(task: str, picture: Picture) -> list[tuple[str, Any]]:
    """What a task is asked about a picture, each with what is right, None where that is not
    known.
    """
    if task == "visual-question-answering":
        answers = picture.answers or (None,) * len(picture.questions)
        return [
            (question, answer and _plain(answer))
            for question, answer in zip(picture.questions, answers, strict=True)
        ]
    return [("", picture.label if task == "image-classification" else None)]


def _ask(server: Server, task: str, blobs: list[bytes], questions: list[str]) -> list[Any]:
    """The server's answers to blobs: indices of labels, captions, or an answer to each one's
    question.
    """
    if task == "image-classification":
        return server.probabilities(blobs).argmax(1).tolist()  # type: ignore[no-any-return]
    if task == "image-to-text":
        return server.caption(blobs)
    return [_plain(answer) for answer in server.answer(blobs, questions)]


def _plain(answer: str) -> str:
    """An answer without what no one would call another answer: case, and blanks around and between
    words.
    """
    return " ".join(answer.casefold().split())


def _batches(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    batch: list[Picture] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def read_pictures(data: str, split: str = "test", limit: int = 500) -> Iterator[Picture]:
    """The first `limit` pictures of a data set, with labels (column `label`), questions and answers
    (lists, one of each a question).

    Args:
        data: folder, parquet files or hub name, whatever `datasets.load_dataset` takes.

    Raises:
        ValueError: there are no such pictures, or a picture's questions and answers are not as
            many.
    """
    if importlib.util.find_spec("datasets") is None:
        raise ValueError(
            "reading a data set takes the package datasets: pip install 'task-codec[train]'"
        )
    import datasets

    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(data, split=split)
    except (FileNotFoundError, ConnectionError, ValueError, KeyError) as error:
        raise ValueError(
            f"cannot load split {split!r} of {data!r}: {str(error).splitlines()[0]}"
        ) from error
    image = next(
        (name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)), None
    )
    label = next((name for name in ("label", "labels") if name in rows.features), None)
    if image is None or not len(rows):
        raise ValueError(f"split {split!r} of {data!r} holds no pictures")
    for i in range(min(limit, len(rows))):
        row = rows[i]
        questions, answers = (tuple(row.get(name) or ()) for name in ("questions", "answers"))
        if answers and len(answers) != len(questions):
            raise ValueError(
                f"picture {i} of {data!r} has {len(questions)} questions and {len(answers)} answers"
            )
        yield Picture(row[image], row[label] if label else None, questions, answers)
