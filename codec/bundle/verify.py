"""bundle, pictures -> how far its symbols, and what the server answers to its blobs, are from the
codec's in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from codec.bundle.own import Own
from codec.device.encoder import DeviceEncoder
from codec.model import FeatureCodec
from codec.model.opened import Opened
from codec.pipeline import Server
from codec.tasks import CAPTIONS, LABELS, QUESTIONS, judge
from codec.tasks.dataset import Known

LEAST_AGREEMENT, MOST_CHANGE, MOST_CHANGED = 99.99, 0.1, 0.5
"""What a bundle must keep to: percent of symbols; points of score; where nothing says which answers
are right, percent of answers.
"""
BATCH = 50


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
        ways: whether the bundle's ways are those of the codec's sweep. None where it has none.
        alone: labels of the bundle's classifier for the device alone that are PyTorch's, in
            percent. None likewise.
    """

    n_images: int
    n_symbols: int
    agreement: float
    least_agreement: float
    answers: dict[str, Answers]
    ways: bool | None = None
    alone: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the bundle keeps to the floors."""
        return (
            self.agreement >= LEAST_AGREEMENT
            and all(answers.holds for answers in self.answers.values())
            and self.ways is not False
            and (self.alone is None or self.alone >= 100 - MOST_CHANGED)
        )


def verify(
    bundle: Path,
    codec: FeatureCodec,
    pictures: Iterable[Known],
    step: Callable[[], None] = lambda: None,
) -> Verified:
    """Compare a bundle with its codec; `pictures.read_labelled` gives those of a data set.

    Both encode every picture at every quality. Where symbols differ, and everywhere at the default
    quality, the server answers both blobs.

    Args:
        step: called for each batch of 50.

    Raises:
        FileNotFoundError, ValueError: the bundle is not whole or of another codec, there are no
            pictures, a question cannot be asked, or nothing says what the bundle's ways or its
            classifier should be.
    """
    encoder = DeviceEncoder(str(bundle))
    if encoder.fingerprint != codec.fingerprint:
        raise ValueError(
            f"{bundle} is not of this {codec.config.name}: their fingerprints differ; name the "
            "codec that it was exported from with --codec"
        )
    if encoder.preprocess != codec.config.preprocess:
        raise ValueError(
            f"{bundle} prepares pictures in another way than {codec.config.name}: export it anew"
        )
    own = Own(encoder, codec)
    server, default = Server(codec), codec.config.default_quality
    same, n_images, n_each = np.zeros(len(codec.qualities), dtype=np.int64), 0, 0
    tallies = {task: _Tally(task, len(codec.qualities)) for task in codec.config.tasks}
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
            if not len(chosen):
                continue
            blobs, bundle_blobs = codec.code(expected[chosen], q), encoder.code(found[chosen], q)
            ours = server.open(blobs)
            theirs = ours if bundle_blobs == blobs else server.open(bundle_blobs)
            asked = [batch[i] for i in chosen]
            for tally in tallies.values():
                tally.add(q, asked, ours, theirs, all_asked=q == default)
        own.add([picture.image for picture in batch])
        n_images += len(batch)
        step()
    if not n_images:
        raise ValueError("there are no pictures to compare")
    share = 100 * same / (n_images * n_each)
    answers = {task: tally.answers(default) for task, tally in tallies.items() if tally.n}
    agreements = float(share.mean()), float(share.min())
    n_symbols = n_images * n_each * len(share)
    return Verified(n_images, n_symbols, *agreements, answers, own.ways, own.agreement)


class _Tally:
    """Answers of one task, judged and counted by quality."""

    def __init__(self, task: str, n_qualities: int) -> None:
        self.task = task
        self.n, self.n_known = 0, 0
        self.right, self.right_bundle, self.changed = (np.zeros(n_qualities) for _ in range(3))

    def add(
        self, q: int, pictures: list[Known], opened: Opened, bundle_opened: Opened, all_asked: bool
    ) -> None:
        """Ask about pictures of one quality, whose blobs were opened once, PyTorch's and the
        bundle's; `all_asked` says whether these are all there are, so that they are counted.
        """
        wanted = [
            (i, *question)
            for i, picture in enumerate(pictures)
            for question in _questions(self.task, picture)
        ]
        for start in range(0, len(wanted), BATCH):
            part = wanted[start : start + BATCH]
            questions, rows = [question for _, question, _ in part], [i for i, _, _ in part]
            ours = theirs = _ask(opened[rows], self.task, questions)
            if bundle_opened is not opened:
                theirs = _ask(bundle_opened[rows], self.task, questions)
            self.changed[q] += len(part) - sum(judge.agrees(self.task, theirs, ours))
            known = [place for place, (_, _, truth) in enumerate(part) if truth is not None]
            if known:
                truths = [part[place][2] for place in known]
                for right, given in ((self.right, ours), (self.right_bundle, theirs)):
                    right[q] += sum(judge.right(self.task, [given[i] for i in known], truths))
            self.n += all_asked * len(part)
            self.n_known += all_asked * len(known)

    def answers(self, default: int) -> Answers:
        """The counts as shares; answers were asked at the quality `default`."""
        changed = float(100 * self.changed.max() / self.n)
        if self.n_known < self.n:
            return Answers(self.n, changed, None, None, None)
        score, bundle_score = (100 * right / self.n for right in (self.right, self.right_bundle))
        change = float(max(bundle_score - score, key=abs))
        return Answers(self.n, changed, float(score[default]), float(bundle_score[default]), change)


def _questions(task: str, picture: Known) -> list[tuple[str, Any]]:
    """What a task is asked about a picture, each with what is right, None where that is not
    known.
    """
    if task == QUESTIONS:
        answers = picture.answers or (None,) * len(picture.questions)
        return list(zip(picture.questions, answers, strict=True))
    return [("", picture.label if task == LABELS else None)]


def _ask(opened: Opened, task: str, questions: list[str]) -> list[Any]:
    """The answers to opened blobs: indices of labels, captions, or an answer to each one's
    question.
    """
    if task == LABELS:
        return opened.probabilities().argmax(1).tolist()  # type: ignore[no-any-return]
    answers: list[Any] = opened.caption() if task == CAPTIONS else opened.answer(questions)
    return answers


def _batches(pictures: Iterable[Known]) -> Iterator[list[Known]]:
    batch: list[Known] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
