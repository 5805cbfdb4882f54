"""blobs and pictures of a batch -> labels, captions, answers: a codec's server side, and its uncut
models for pictures.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from codec.coding.container import BitstreamError, inspect
from codec.model.opened import Opened, Tails
from codec.pipeline import Server
from codec.tasks import CAPTIONS, LABELS, QUESTIONS

Verb = Literal["classify", "caption", "answer"]
TASKS: dict[Verb, str] = {"classify": LABELS, "caption": CAPTIONS, "answer": QUESTIONS}
"""What is asked, as a path says it, and the task that it is."""


@dataclass(frozen=True)
class Job:
    """What is asked of one blob or picture.

    Attributes:
        verb: of `TASKS`.
        blob: the blob; None for a picture.
        pixels: (S, S, 3) uint8 of a picture; None for a blob, and before it is decoded.
        questions: for `answer`.
        top_k: for `classify`.
    """

    verb: Verb
    blob: bytes | None = None
    pixels: NDArray[np.uint8] | None = None
    questions: tuple[str, ...] = ()
    top_k: int = 5


class Served:
    """A codec that is served: jobs of a batch -> the answers, a dict or an exception for each.

    Args:
        server: the loaded codec.
        pictures: whether pictures are answered too, by the uncut models.
    """

    def __init__(self, server: Server, pictures: bool = True) -> None:
        self.server, self.codec = server, server.codec
        self.name = self.codec.config.name
        tasks = self.codec.config.tasks
        self.verbs: list[Verb] = [verb for verb, task in TASKS.items() if task in tasks]
        self.pictures = pictures
        self._uncut: Tails | None = None
        self._loading = threading.Lock()

    def checked(self, blob: bytes) -> bytes:
        """A blob whose header and check are this codec's.

        Raises:
            BitstreamError: it is damaged or of another codec.
        """
        return self.server.checked(blob)

    def pixels(self, picture: bytes) -> NDArray[np.uint8]:
        """A picture file -> what the model sees, (S, S, 3) uint8. Errors as the device's."""
        return self.codec.config.preprocess.pixels(picture)

    def __call__(self, jobs: list[Job]) -> list[Any]:
        """The answers to a batch, in order."""
        sources = [_checked(*both) for both in zip(self._opened(jobs), jobs, strict=True)]
        answers: list[Any] = list(sources)
        for kind in dict.fromkeys((job.verb, job.blob is None) for job in jobs):
            places = [
                i
                for i, job in enumerate(jobs)
                if (job.verb, job.blob is None) == kind and not isinstance(sources[i], Exception)
            ]
            found = _each_or_all(
                lambda some: _asked([sources[i] for i in some], [jobs[i] for i in some]), places
            )
            for i, answer in zip(places, found, strict=True):
                answers[i] = answer
        return [
            answer if isinstance(answer, Exception) else self._named(job, answer)
            for job, answer in zip(jobs, answers, strict=True)
        ]

    def _named(self, job: Job, answer: dict[str, Any]) -> dict[str, Any]:
        quality = None if job.blob is None else inspect(job.blob).quality
        return {"codec": self.name, "task": job.verb, "quality": quality} | answer

    def _opened(self, jobs: list[Job]) -> list[Any]:
        """An opened blob or picture for each job, or the exception that is its own."""
        found: list[Any] = [None] * len(jobs)
        blobs = [i for i, job in enumerate(jobs) if job.blob is not None]
        results = self.server.each(jobs[i].blob for i in blobs)  # type: ignore[misc]
        for i, result in zip(blobs, results, strict=True):
            found[i] = result.value if result.error is None else result.error
        pictures = [i for i, job in enumerate(jobs) if job.blob is None]
        if pictures:
            pixels = np.stack([jobs[i].pixels for i in pictures])  # type: ignore[misc]
            values = torch.from_numpy(self.codec.config.preprocess.normalise(pixels))
            qualities = np.full(len(pictures), -1)
            opened = Opened(self._uncut_tails(), values, qualities, single=False)
            for place, i in enumerate(pictures):
                found[i] = opened[place]
        return found

    def _uncut_tails(self) -> Tails:
        """The uncut models, loaded when the first picture comes."""
        with self._loading:
            if self._uncut is None:
                tasks = self.codec.config.tasks
                self._uncut = Tails(
                    self.codec, {task: self.codec.load_uncut(task).eval() for task in tasks}
                )
            return self._uncut


def decoded(pictures: list[tuple[Served, bytes]]) -> list[Any]:
    """Picture files, each with the codec that is asked -> what its model sees, (S, S, 3) uint8, or
    the ValueError that is the file's own.
    """
    found: list[Any] = []
    for served, picture in pictures:
        try:
            found.append(served.pixels(picture))
        except (ValueError, OSError) as error:
            found.append(ValueError(f"the body is no picture: {error}"))
    return found


def _checked(source: Any, job: Job) -> Any:
    """What was opened for a job; or the exception that its questions bring about, which is not to
    end the batch of the others.
    """
    try:
        for question in () if isinstance(source, Exception) else job.questions:
            source.check_question(question)
    except ValueError as error:
        return error.with_traceback(None)
    return source


def _asked(parts: list[Opened], jobs: list[Job]) -> list[dict[str, Any]]:
    """What is asked of several blobs or pictures, all by one verb."""
    verb, together = jobs[0].verb, Opened.together(parts)
    if verb == "classify":
        rows = together.labels(max(job.top_k for job in jobs))
        kept = [row[: job.top_k] for row, job in zip(rows, jobs, strict=True)]
        return [{"labels": [{"label": x.label, "score": x.score} for x in row]} for row in kept]
    if verb == "caption":
        return [{"caption": text} for text in together.caption()]
    rows = [i for i, job in enumerate(jobs) for _ in job.questions]
    said = iter(together[rows].answer([question for job in jobs for question in job.questions]))
    return [{"answers": [next(said) for _ in job.questions]} for job in jobs]


def _each_or_all(work: Callable[[Sequence[int]], list[Any]], places: list[int]) -> list[Any]:
    """The results of all at once; where that fails, of each alone, or its own exception."""
    try:
        return work(places) if places else []
    except (ValueError, BitstreamError) as error:
        if len(places) == 1:
            return [error.with_traceback(None)]
    return [one for place in places for one in _each_or_all(work, [place])]
