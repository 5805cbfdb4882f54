"""One judge of answers for all tasks: the score against the truth, agreement with another model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from codec.tasks import CAPTIONS, LABELS, QUESTIONS
from codec.tasks.captions import bleu
from codec.tasks.judge import agrees, right, score
from training.scenes import Scenes


def test_each_task_has_its_score_in_percent() -> None:
    assert score(LABELS, [1, 2, 3, 3], [1, 2, 3, 4]) == 75
    captions, references = ["a red ball on a mat", "a cube"], [["a red ball on a rug"], ["a cube"]]
    assert 0 < score(CAPTIONS, captions, references) == bleu(captions, references)[3] < 100
    people = [["yes"] * 10, ["red"] * 2 + ["dark red"] * 8, ["1"] * 10]
    assert score(QUESTIONS, ["Yes!", "a red", "two"], people) == pytest.approx(100 * 1.6 / 3)
    assert score(QUESTIONS, ["yes", "2"], ["yes", "three"]) == 50


def test_right_says_it_of_each_answer() -> None:
    assert right(LABELS, np.array([1, 2]), np.array([1, 0])) == [1, 0]
    assert right(QUESTIONS, ["two", "left"], ["2", "right"]) == [1, 0]


def test_two_models_agree_where_no_one_would_call_it_another_answer() -> None:
    assert agrees(LABELS, [1, 2], [1, 3]) == [True, False]
    assert agrees(CAPTIONS, ["A red ball.", "a cube"], ["a red ball", "a cone"]) == [True, False]
    assert agrees(QUESTIONS, ["two", "left"], ["2", "right"]) == [True, False]


def test_a_data_set_scores_itself_fully() -> None:
    data = list(Scenes("test", 4))
    answers = [question.answer for sample in data for question in sample.questions]
    assert score(QUESTIONS, answers, answers) == 100
    assert all(agrees(QUESTIONS, answers, answers))
    said = [sample.captions[0] for sample in data]
    assert score(CAPTIONS, said, [sample.captions for sample in data]) == pytest.approx(100)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: score(CAPTIONS, [], []), "no captions"),
        (lambda: score(LABELS, [], []), "no labels to score"),
        (lambda: score(LABELS, [1], [1, 2]), "1 labels, but true labels for 2"),
        (lambda: score("guess", ["a"], ["a"]), "task 'guess'"),
        (lambda: right(CAPTIONS, ["a"], [["a"]]), "no answer of the task 'image-to-text'"),
        (lambda: agrees(QUESTIONS, ["a"], []), "1 answers, but the other model's for 0"),
        (lambda: agrees(CAPTIONS, [], []), "no captions"),
        (lambda: agrees(LABELS, [1], []), "1 labels, but the other model's for 0"),
        (lambda: agrees("guess", ["a"], ["a"]), "no such task: 'guess'"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_reason(
    call: Callable[[], object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        call()
