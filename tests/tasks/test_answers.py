"""Scores of answers, against the published rules and examples of the VQA evaluation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest

from codec.tasks.answers import answer_accuracies, normalise_answer, soft_accuracy


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("dont", "don't"),  # the examples of visualqa.org/evaluation
        ("girl's", "girl's"),
        ("2:50 pm", "2:50 pm"),
        ("100,978", "100978"),
        ("Yes.", "yes"),  # one for each of its rules
        ("3.5", "3.5"),
        ("Two", "2"),
        ("none", "0"),
        ("The  dog", "dog"),
        ("a an the", ""),
        ("black/white", "black white"),
        ("black, white", "black white"),
        ("black & white", "black & white"),
        ("t-shirt", "t shirt"),
        ("(left)", "left"),
        ("shouldnt've", "shouldn't've"),
        ("couldn'tve", "couldn't've"),
        ("YOURE\n right", "you're right"),
        ("1,000 - 2,000 people?", "1000 2000 people"),
        ("U.S.A.", "usa"),
        ("", ""),
    ],
)
def test_an_answer_is_normalised_as_the_vqa_evaluation_does(answer: str, normal: str):
    assert normalise_answer(answer) == normal
    assert normalise_answer(normal) == normal


@pytest.mark.parametrize(("n", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_soft_accuracy_is_the_mean_over_all_sets_of_nine(n: int, accuracy: float):
    people = ["two"] * n + ["3"] * (10 - n)
    assert soft_accuracy("2", people) == pytest.approx(accuracy)
    sets = [min(sum(answer == "two" for answer in nine) / 3, 1) for nine in combinations(people, 9)]
    assert soft_accuracy("2", people) == pytest.approx(sum(sets) / 10)


def test_vqa_accuracy_is_the_mean_over_questions() -> None:
    people = [["yes"] * 10, ["red"] * 2 + ["dark red"] * 8, ["1"] * 10]
    assert answer_accuracies(["Yes!", "a red", "two"], people) == pytest.approx([1, 0.6, 0])
    assert answer_accuracies(["yes"], [["yes"] * 4 + ["no"] * 6]) == [1]


def test_one_right_answer_is_compared_once_both_are_normalised() -> None:
    assert answer_accuracies(["two", "red", "no"], ["2", "a red", "yes"]) == [1, 1, 0]
    assert answer_accuracies(["yes", "2"], ["yes", "three"]) == [1, 0]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: answer_accuracies(["a"], []), "1 answers, but right answers for 0"),
        (lambda: answer_accuracies(["a"], [["a"]]), "number 0 has 1 references: at least 2"),
        (lambda: answer_accuracies([], []), "no answers"),
        (lambda: answer_accuracies(["a"], ["a", "b"]), "1 answers, but right answers for 2"),
        (
            lambda: answer_accuracies(["a", "b"], ["a", ["b", "c"]]),  # type: ignore[list-item]
            "some questions have one",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_reason(
    call: Callable[[], object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        call()
