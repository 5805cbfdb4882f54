"""answers and right answers -> VQA accuracy, after the official normalisation of answers.

From the description of the VQA evaluation (visualqa.org/evaluation; Antol et al. 2015, arXiv
1505.00468).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from codec.tasks.captions import check_pairs, check_references

# neither apostrophe nor colon: "girl's" and "2:50 pm" keep theirs
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES = ("a", "an", "the")
_WRITTEN = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0", **{word: str(n) for n, word in enumerate(_WRITTEN)}}
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's
won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_CONTRACTIONS = {
    word[:i] + word[i + 1 :]: word
    for word in _CONTRACTED.split()
    for i, letter in enumerate(word)
    if letter == "'"
}
_FULL_AGREEMENT = 3  # people who gave an answer, from which on it counts whole


def normalise_answer(answer: str) -> str:
    """An answer as the VQA evaluation compares it.

    Lower case; no period except in decimals; number words to "zero" ... "ten" and "none" as digits;
    no articles; contractions get their missing apostrophe ("dont" -> "don't"); punctuation other
    than apostrophe and colon becomes a space, or nothing where a space is beside it or a comma
    stands between digits ("100,978" -> "100978").
    """
    text = " ".join(answer.split())
    in_number = re.search(r"\d,\d", text) is not None
    spaced = text
    for mark in _MARKS:
        beside_space = f"{mark} " in text or f" {mark}" in text
        spaced = spaced.replace(mark, "" if beside_space or in_number else " ")
    spaced = re.sub(r"\.(?!\d)", "", spaced)
    words = [_NUMBERS.get(word, word) for word in spaced.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def soft_accuracy(answer: str, people: Sequence[str]) -> float:
    """The VQA accuracy of one answer in [0, 1]: min(n / 3, 1) where n others gave it, in the mean
    over leaving out each of the people.

    Both sides are normalised, as the description says; the published code leaves both as they are
    where all people agree.
    """
    own = normalise_answer(answer)
    same = [normalise_answer(other) == own for other in people]
    n = sum(same)
    return sum(min((n - left_out) / _FULL_AGREEMENT, 1) for left_out in same) / len(same)


def answer_accuracies(
    answers: Sequence[str], truth: Sequence[str] | Sequence[Sequence[str]]
) -> list[float]:
    """How right each answer is, 0 to 1; the mean of these is the VQA accuracy.

    Args:
        answers: one for each question.
        truth: the one right answer of each question (then 1 where the two are equal once
            normalised), or several people's answers to each (then `soft_accuracy`; VQAv2 has ten).

    Raises:
        ValueError: nothing to score, unequal counts, a mixture of single answers and lists, or a
            list of less than two.
    """
    check_pairs(answers, truth, "answers", "right answers")
    single = [isinstance(true, str) for true in truth]
    if all(single):
        return [
            float(normalise_answer(answer) == normalise_answer(str(true)))
            for answer, true in zip(answers, truth, strict=True)
        ]
    if any(single):
        raise ValueError("some questions have one right answer and some a list of them")
    check_references(truth, least=2)
    return list(map(soft_accuracy, answers, truth))
