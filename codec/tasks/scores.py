"""what came out of the blobs, what the uncut model says, and the truth -> the scores of a
captioning or question answering task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from codec.tasks.captions import bleu, check_pairs, cider_d, tokenise
from codec.tasks.vqa import exact_accuracies, normalise_answer, soft_accuracies


class CaptionScores(NamedTuple):
    """In percent: BLEU-1 to -4, and captions that are the uncut model's word for word. `cider_d`
    times 100.
    """

    bleu: tuple[float, float, float, float]
    cider_d: float
    agreement: float


class AnswerScores(NamedTuple):
    """Both in percent: accuracy, and answers that are the uncut model's."""

    accuracy: float
    agreement: float


def score_captions(
    captions: Sequence[str], references: Sequence[Sequence[str]], uncut: Sequence[str]
) -> CaptionScores:
    """Score captions, one for each picture, against their references and the uncut model's
    captions.

    Raises:
        ValueError: nothing to score, unequal counts, a picture without references, a single
            picture.
    """
    return CaptionScores(
        bleu(captions, references),
        cider_d(captions, references),
        caption_agreement(captions, uncut),
    )


def answer_accuracies(
    answers: Sequence[str], truth: Sequence[str] | Sequence[Sequence[str]]
) -> list[float]:
    """How right each answer is, 0 to 1: against one right answer for each question, or several
    people's (then the official soft accuracy).

    Raises:
        ValueError: nothing to score, unequal counts, a mixture of single answers and lists, a list
            of less than two.
    """
    check_pairs(answers, truth, "answers", "truth")
    single = [isinstance(true, str) for true in truth]
    if all(single):
        return exact_accuracies(answers, truth)  # type: ignore[arg-type]
    if any(single):
        raise ValueError("some questions have one right answer and some a list of them")
    return soft_accuracies(answers, truth)  # type: ignore[arg-type]


def score_answers(
    answers: Sequence[str], truth: Sequence[str] | Sequence[Sequence[str]], uncut: Sequence[str]
) -> AnswerScores:
    """Score answers against the truth, as `answer_accuracies`, and against the uncut model's.
    Errors as there.
    """
    accuracies = answer_accuracies(answers, truth)
    return AnswerScores(100 * sum(accuracies) / len(accuracies), answer_agreement(answers, uncut))


def caption_agreement(captions: Sequence[str], uncut: Sequence[str]) -> float:
    """Share of captions with the same tokens as the uncut model's, in percent.

    Raises:
        ValueError: nothing to score, or unequal counts.
    """
    check_pairs(captions, uncut, "captions", "the uncut model's")
    return (
        100
        * sum(tokenise(a) == tokenise(b) for a, b in zip(captions, uncut, strict=True))
        / len(captions)
    )


def answer_agreement(answers: Sequence[str], uncut: Sequence[str]) -> float:
    """Share of answers that are the uncut model's once both are normalised, in percent.

    Raises:
        ValueError: nothing to score, or unequal counts.
    """
    check_pairs(answers, uncut, "answers", "the uncut model's")
    return (
        100
        * sum(
            normalise_answer(a) == normalise_answer(b) for a, b in zip(answers, uncut, strict=True)
        )
        / len(answers)
    )
