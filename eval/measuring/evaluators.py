"""what a model continues from -> answers -> score: how each task asks a model about the pictures of
a split, and scores what it answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from codec.model import FeatureCodec
from codec.model.asking import answers_to, may_have_several
from codec.tasks import CAPTIONS, LABELS, QUESTIONS, generate
from codec.tasks.captions import BleuCounter, bleu_of
from codec.tasks.judge import agrees, right
from eval.measuring.intervals import bootstrap_margin, paired_margin
from training.data.images import Images
from training.data.texts import TextImages, Words


class Scored(NamedTuple):
    """What `n` answers are worth beside the uncut model's, all in percent; `margin` is half the 95%
    interval of the drop, in points.
    """

    n: int
    score: float
    score_uncut: float
    agreement: float
    margin: float


class Evaluator(Protocol):
    """One task on the pictures of a split.

    `answer` takes the task's model and what it continues from for the pictures at `places` of the
    split (see `Method.decode`), and gives the answers in order; `score` takes the answers to all
    pictures, and the uncut model's.
    """

    @property
    def task(self) -> str: ...

    def answer(self, model: Any, inputs: torch.Tensor, places: range) -> list[Any]: ...

    def score(self, answers: Sequence[Any], uncut: Sequence[Any]) -> Scored: ...


class LabelEvaluator:
    """The label of each picture; the score is top-1 accuracy, its margin as in `paired_margin`.

    Args:
        images: labelled pictures.
        n_labels: how many the model knows.

    Raises:
        ValueError: labels are missing, or not the model's.
    """

    task = LABELS

    def __init__(self, images: Images, n_labels: int) -> None:
        if images.label_column is None or min(images.labels) < 0:
            raise ValueError("the pictures have no labels")
        if max(images.labels) >= n_labels:
            raise ValueError(
                f"a picture has label {max(images.labels)}; the model answers 0..{n_labels - 1}"
            )
        self.labels = images.labels

    def answer(self, model: Any, inputs: torch.Tensor, places: range) -> list[Any]:
        answers: list[Any] = model(inputs).logits.argmax(-1).tolist()
        return answers

    def score(self, answers: Sequence[Any], uncut: Sequence[Any]) -> Scored:
        return _scored(LABELS, answers, uncut, self.labels, np.arange(len(self.labels)))


class CaptionEvaluator:
    """A caption of each picture, greedy; the score is BLEU-4 of all of them against their
    references.

    The margin is as in `bootstrap_margin`.

    Args:
        references: of each picture; some may have none, not all.
    """

    task = CAPTIONS

    def __init__(self, references: Sequence[Sequence[str]], model: Any, tokenizer: Any) -> None:
        self.has_some = [bool(texts) for texts in references]
        self.counts = BleuCounter([texts for texts in references if texts])
        self.tokenizer = tokenizer
        self.limits = generate.checked_limits(model, None, 1, generate.CAPTION_TOKENS)

    def answer(self, model: Any, inputs: torch.Tensor, places: range) -> list[Any]:
        rows = [row for row, place in enumerate(places) if self.has_some[place]]
        if not rows:
            return []
        return list(generate.caption(model, self.tokenizer, inputs[rows], self.limits))

    def score(self, answers: Sequence[Any], uncut: Sequence[Any]) -> Scored:
        own, other = self.counts(answers), self.counts(uncut)
        score, score_uncut = (float(bleu_of(counts.sum(0))[3]) for counts in (own, other))
        margin = bootstrap_margin(own, other, lambda counts: bleu_of(counts)[:, 3])
        return Scored(len(own), score, score_uncut, _agreement(CAPTIONS, answers, uncut), margin)


class QuestionEvaluator:
    """The answers to all questions of each picture, greedy; the score is their accuracy
    (`codec.tasks.answers.answer_accuracies`).

    The margin is as in `paired_margin`: the questions of one picture err together.

    Args:
        words: of each picture; some may have no questions, not all.

    Raises:
        ValueError: a question that the model cannot be asked.
    """

    task = QUESTIONS

    def __init__(self, words: Sequence[Words], model: Any, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.limits = generate.checked_limits(model, None, 1, generate.ANSWER_TOKENS)
        self.ids = [
            [generate.question_ids(model, tokenizer, question) for question, _ in some.questions]
            for some in words
        ]
        self.truth: list[Any] = [answer for some in words for _, answer in some.questions]
        self.pictures = np.repeat(np.arange(len(words)), [len(ids) for ids in self.ids])

    def answer(self, model: Any, inputs: torch.Tensor, places: range) -> list[Any]:
        """As the protocol says; the vision tower sees a picture once, however many questions it
        has.
        """
        return list(
            answers_to(
                model, self.tokenizer, inputs, [self.ids[place] for place in places], self.limits
            )
        )

    def score(self, answers: Sequence[Any], uncut: Sequence[Any]) -> Scored:
        return _scored(QUESTIONS, answers, uncut, self.truth, self.pictures)


def _scored(
    task: str,
    answers: Sequence[Any],
    uncut: Sequence[Any],
    truth: Sequence[Any],
    pictures: NDArray[np.int64],
) -> Scored:
    """Of a task where each answer is right or wrong by itself; `pictures` (n,) are what they are
    about.
    """
    own, other = (np.array(right(task, given, truth)) for given in (answers, uncut))
    margin = paired_margin(own, other, pictures)
    score, score_uncut = 100 * float(own.mean()), 100 * float(other.mean())
    return Scored(len(own), score, score_uncut, _agreement(task, answers, uncut), margin)


def _agreement(task: str, answers: Sequence[Any], uncut: Sequence[Any]) -> float:
    return 100 * float(np.mean(agrees(task, answers, uncut)))


def evaluators_of(
    images: Images | TextImages, uncut: Mapping[str, Any], codec: FeatureCodec
) -> list[Evaluator]:
    """The evaluators of a codec's tasks, as far as the data tells the answers.

    Raises:
        ValueError: it tells none, or not in the model's words.
    """
    if isinstance(images, Images):
        if may_have_several(uncut[LABELS].config):
            raise ValueError("the model gives a picture several labels; one is scored")
        return [LabelEvaluator(images, uncut[LABELS].config.num_labels)]
    tokenizers = {task: codec.load_tokenizer(task) for task in uncut}
    return word_evaluators(images.words, uncut, tokenizers)


def word_evaluators(
    words: Sequence[Words], models: Mapping[str, Any], tokenizers: Mapping[str, Any]
) -> list[Evaluator]:
    """The evaluators of captioners and question answerers on pictures with these words.

    Raises:
        ValueError: the words are for none of the models; or as the evaluators'.
    """
    made: list[Evaluator] = []
    if CAPTIONS in models and any(some.captions for some in words):
        references = [some.captions for some in words]
        made.append(CaptionEvaluator(references, models[CAPTIONS], tokenizers[CAPTIONS]))
    if QUESTIONS in models and any(some.questions for some in words):
        made.append(QuestionEvaluator(words, models[QUESTIONS], tokenizers[QUESTIONS]))
    if not made:
        raise ValueError(
            f"the data has no words for {', '.join(models)}: neither captions nor questions that "
            "it could be asked"
        )
    return made
