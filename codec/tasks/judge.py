"""answers and the truth -> score; answers and the uncut model's -> agreement: the one judge of what
a model says, for all tasks.

What is given for each task, one for each picture (or question): a label's index, a caption, an
answer. The truth: the right label's index, a list of reference captions, the right answer or a list
of people's answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from codec.tasks import CAPTIONS, LABELS, QUESTIONS
from codec.tasks.answers import answer_accuracies, normalise_answer
from codec.tasks.captions import bleu, check_pairs, tokenise


def score(task: str, given: Sequence[Any], truth: Sequence[Any]) -> float:
    """How good answers are, in percent: accuracy of labels, BLEU-4 of captions, VQA accuracy of
    answers.

    Raises:
        ValueError: an unknown task, nothing to score, or unequal counts.
    """
    if task == CAPTIONS:
        return bleu(given, truth)[3]
    each = right(task, given, truth)
    return 100 * sum(each) / len(each)


def right(task: str, given: Sequence[Any], truth: Sequence[Any]) -> list[float]:
    """How right each answer is, 0 to 1, for tasks where an answer is right or wrong by itself.

    Raises:
        ValueError: the task is captions, which are scored together, or unknown; nothing to score,
            or unequal counts.
    """
    if task == LABELS:
        _check_counts(given, truth, "labels", "true labels")
        return [float(label == true) for label, true in zip(given, truth, strict=True)]
    if task == QUESTIONS:
        return answer_accuracies(given, truth)
    raise ValueError(f"no answer of the task {task!r} is right or wrong by itself")


def agrees(task: str, given: Sequence[Any], other: Sequence[Any]) -> list[bool]:
    """Which answers are the other model's: the same label, a caption of the same tokens, the same
    normalised answer.

    Raises:
        ValueError: an unknown task, nothing to compare, or unequal counts.
    """
    if task == LABELS:
        _check_counts(given, other, "labels", "the other model's")
        return [bool(one == two) for one, two in zip(given, other, strict=True)]
    if task not in (CAPTIONS, QUESTIONS):
        raise ValueError(f"no such task: {task!r}")
    what: str
    plain: Any
    what, plain = ("captions", tokenise) if task == CAPTIONS else ("answers", normalise_answer)
    check_pairs(given, other, what, "the other model's")
    return [plain(one) == plain(two) for one, two in zip(given, other, strict=True)]


def _check_counts(given: Sequence[Any], truth: Sequence[Any], what: str, with_what: str) -> None:
    if not len(given):
        raise ValueError(f"there are no {what} to score")
    if len(given) != len(truth):
        raise ValueError(f"{len(given)} {what}, but {with_what} for {len(truth)}")
