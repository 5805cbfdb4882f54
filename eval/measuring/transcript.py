"""a speaker and pictures -> captions and answers, and how right they are over all pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from codec.tasks import CAPTIONS, QUESTIONS
from codec.tasks.captions import bleu, cider_d
from codec.tasks.judge import right
from eval.measuring.evaluators import word_evaluators
from eval.measuring.scene_facts import caption_facts
from eval.measuring.speaker import Speaker
from eval.measuring.tally import BATCH_SIZE
from training.data.texts import SceneSource, TextImages
from training.scenes.questions import QUESTION_KINDS, questions


class Transcript(NamedTuple):
    """What was said of all pictures: captions (n,) or none, the answers to each picture's questions
    or none, and bytes of blobs (n,). A picture without reference captions has the caption "".
    """

    captions: list[str]
    answers: list[list[str]]
    n_bytes: list[int]


class Total(NamedTuple):
    """A figure over all pictures, and what it is the mean over."""

    name: str
    value: float
    counted: str


@torch.inference_mode()
def transcribe(speaker: Speaker, images: TextImages) -> Transcript:
    """Ask about every picture.

    Raises:
        ValueError: the data has no words for the tasks, or a question that cannot be asked.
    """
    method = speaker.method
    models = {task: method.models[task] for task in speaker.tokenizers}
    evaluators = word_evaluators(images.words, models, speaker.tokenizers)
    given: dict[str, list[Any]] = {evaluator.task: [] for evaluator in evaluators}
    n_bytes: list[int] = []
    starts = range(0, len(images), BATCH_SIZE)
    for start in track(starts, description="asking", console=Console(stderr=True), transient=True):
        places = range(start, min(start + BATCH_SIZE, len(images)))
        blobs = method.encode(torch.stack([images[i][0] for i in places]))
        inputs = method.decode(blobs)
        n_bytes += [len(blob) for blob in blobs]
        for evaluator in evaluators:
            task = evaluator.task
            given[task] += evaluator.answer(models[task], inputs, places)
    answers = iter(given.get(QUESTIONS, []))
    grouped = (
        [[next(answers) for _ in words.questions] for words in images.words]
        if QUESTIONS in given
        else []
    )
    captions = iter(given.get(CAPTIONS, []))
    said = (
        [next(captions) if words.captions else "" for words in images.words]
        if CAPTIONS in given
        else []
    )
    return Transcript(said, grouped, n_bytes)


def totals(transcript: Transcript, images: TextImages) -> Iterator[Total]:
    """What is measured over all pictures.

    Raises:
        ValueError: captions of a single picture, which CIDEr-D cannot score.
    """
    n = f"{len(images):,} pictures"
    scenes = (
        [images.source.scene(i) for i in range(len(images))]
        if isinstance(images.source, SceneSource)
        else None
    )
    yield Total("bytes sent for a picture", float(np.mean(transcript.n_bytes)), n)
    if transcript.captions:
        pairs = zip(transcript.captions, images.words, strict=True)
        captions, references = zip(
            *((said, words.captions) for said, words in pairs if words.captions), strict=True
        )
        of = f"{len(captions):,} pictures"
        yield from (
            Total(f"BLEU-{order}, %", value, of)
            for order, value in enumerate(bleu(captions, references), 1)
        )
        yield Total("CIDEr-D x 100", cider_d(captions, references), of)
    if transcript.captions and scenes is not None:
        facts = caption_facts(transcript.captions, scenes)
        yield Total("stated facts that are true, %", facts.true, f"{facts.n_stated:,} facts")
        yield Total("visible things that are named, %", facts.named, f"{facts.n_visible:,} things")
    if transcript.answers:
        truth: list[Any] = [answer for words in images.words for _, answer in words.questions]
        given = [answer for answers in transcript.answers for answer in answers]
        each = np.array(right(QUESTIONS, given, truth))
        kinds = np.array([question.kind for scene in scenes or () for question in questions(scene)])
        for kind in QUESTION_KINDS if len(kinds) else ():
            if (kinds == kind).any():
                yield _mean(f"answers right, {kind}, %", each[kinds == kind])
        yield _mean("answers right, in all, %", each)


def _mean(name: str, right: NDArray[np.float64]) -> Total:
    return Total(name, 100 * float(right.mean()), f"{len(right):,} questions")
