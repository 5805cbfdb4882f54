"""what a model continues from -> answers -> score: what is asked of every picture, a label, a
caption or the answers to its questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from codec.model.asking import answers_to
from codec.tasks import CAPTIONS, LABELS, QUESTIONS
from codec.tasks import generate as text
from codec.tasks.answers import answer_accuracies
from codec.tasks.captions import BleuCounter, bleu_of
from codec.tasks.judge import agrees
from training.data.images import Images
from training.data.texts import Words

N_RESAMPLINGS = 1000


class Scored(NamedTuple):
    """What `n` answers are worth beside the uncut model's, all in percent; `margin` is half the 95%
    interval of the drop, in points.
    """

    n: int
    score: float
    score_uncut: float
    agreement: float
    margin: float


class Asked(Protocol):
    """What one task asks of the pictures of a split.

    `ask` takes the task's model, what it continues from for the pictures at `places` of the split
    (see `Method.decode`), and gives the answers in order; `score` takes those to all pictures, and
    the uncut model's.
    """

    @property
    def task(self) -> str: ...

    def ask(self, model: Any, seen: torch.Tensor, places: range) -> list[Any]: ...

    def score(self, answers: Sequence[Any], uncut: Sequence[Any]) -> Scored: ...


class Labels:
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
        self.labels = np.array(images.labels)

    def ask(self, model: Any, seen: torch.Tensor, places: range) -> list[Any]:
        answers: list[Any] = model(seen).logits.argmax(-1).tolist()
        return answers

    def score(self, answers: Sequence[Any], uncut: Sequence[Any]) -> Scored:
        n, same = len(self.labels), np.asarray(answers) == np.asarray(uncut)
        right, right_uncut = (
            (np.asarray(given) == self.labels).astype(float) for given in (answers, uncut)
        )
        margin = paired_margin(right, right_uncut, np.arange(n))
        return Scored(
            n,
            100 * float(right.mean()),
            100 * float(right_uncut.mean()),
            100 * float(same.mean()),
            margin,
        )


class Captions:
    """A caption of each picture, greedy; the score is BLEU-4 of all of them against their
    references.

    The margin is from a paired bootstrap over pictures (Koehn 2004, aclanthology.org/W04-3250):
    1.96 standard deviations of the drop over 1,000 resamplings, in which uncut model and codec
    caption the same pictures.
    """

    task = CAPTIONS

    def __init__(self, references: Sequence[Sequence[str]], model: Any, tokenizer: Any) -> None:
        self.counts, self.tokenizer = BleuCounter(references), tokenizer
        self.limits = text.checked_limits(model, None, 1, text.CAPTION_TOKENS)

    def ask(self, model: Any, seen: torch.Tensor, places: range) -> list[Any]:
        return list(text.caption(model, self.tokenizer, seen, self.limits))

    def score(self, answers: Sequence[Any], uncut: Sequence[Any]) -> Scored:
        own, other = self.counts(answers), self.counts(uncut)
        n = len(own)
        times = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLINGS)
        drops = bleu_of(times @ other)[:, 3] - bleu_of(times @ own)[:, 3]
        score, score_uncut = (float(bleu_of(counts.sum(0))[3]) for counts in (own, other))
        return Scored(
            n,
            score,
            score_uncut,
            100 * float(np.mean(agrees(CAPTIONS, answers, uncut))),
            1.96 * float(drops.std()),
        )


class Questions:
    """The answers to all questions of each picture, greedy; the score is their accuracy
    (`answer_accuracies`).

    The margin is as in `paired_margin`: the questions of one picture err together.

    Args:
        words: of each picture; some may have no questions, not all.

    Raises:
        ValueError: a question that the model cannot be asked.
    """

    task = QUESTIONS

    def __init__(self, words: Sequence[Words], model: Any, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.limits = text.checked_limits(model, None, 1, text.ANSWER_TOKENS)
        self.ids = [
            [text.question_ids(model, tokenizer, question) for question, _ in some.questions]
            for some in words
        ]
        self.truth: list[Any] = [answer for some in words for _, answer in some.questions]
        self.pictures = np.repeat(np.arange(len(words)), [len(ids) for ids in self.ids])

    def ask(self, model: Any, seen: torch.Tensor, places: range) -> list[Any]:
        """As the protocol says; the vision tower looks once at a picture, however many questions it
        has.
        """
        return list(
            answers_to(
                model, self.tokenizer, seen, [self.ids[place] for place in places], self.limits
            )
        )

    def score(self, answers: Sequence[Any], uncut: Sequence[Any]) -> Scored:
        right, right_uncut = (
            np.array(answer_accuracies(given, self.truth)) for given in (answers, uncut)
        )
        margin = paired_margin(right, right_uncut, self.pictures)
        agreement = 100 * float(np.mean(agrees(QUESTIONS, answers, uncut)))
        return Scored(
            len(right),
            100 * float(right.mean()),
            100 * float(right_uncut.mean()),
            agreement,
            margin,
        )


def paired_margin(
    right: NDArray[np.float64], right_uncut: NDArray[np.float64], pictures: NDArray[np.int64]
) -> float:
    """Half the 95% interval of the drop in points: paired, by normal approximation, clustered by
    picture.

    Args:
        right, right_uncut: how right each answer of the codec and of the uncut model is, (n,) in
            0..1.
        pictures: which picture each answer is about, (n,). What a picture's answers lose is summed
            first: pictures are drawn at random, not questions. With one answer a picture this is
            the usual paired interval.
    """
    lost, n = np.bincount(pictures, right_uncut - right), np.bincount(pictures)
    return 196 * float(np.sqrt(np.sum((lost - n * lost.sum() / n.sum()) ** 2))) / float(n.sum())


def ask_words(
    words: Sequence[Words], models: Mapping[str, Any], tokenizers: Mapping[str, Any]
) -> list[Asked]:
    """What captioners and question answerers can be asked of pictures with these words.

    Raises:
        ValueError: nothing: the words are for none of the models; or as `Captions` and `Questions`.
    """
    asked: list[Asked] = []
    if CAPTIONS in models and any(some.captions for some in words):
        asked.append(
            Captions([some.captions for some in words], models[CAPTIONS], tokenizers[CAPTIONS])
        )
    if QUESTIONS in models and any(some.questions for some in words):
        asked.append(Questions(words, models[QUESTIONS], tokenizers[QUESTIONS]))
    if not asked:
        raise ValueError(
            f"the data has no words for {', '.join(models)}: neither captions nor questions that "
            "it could be asked"
        )
    return asked
