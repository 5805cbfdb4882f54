"""Captions and questions of scenes: true, varied, in a closed vocabulary, and not to be guessed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from training.scenes.facts import judge_caption
from training.scenes.layout import CLEAR, KINDS, OPPOSITE, SIDE, Scene, Thing, draw_scene, holds
from training.scenes.questions import ANSWERS, QUESTION_KINDS, Question, questions
from training.scenes.text import N_CAPTIONS, PLURALS, RELATION_WORDS, VOCABULARY, captions

SCENES = [draw_scene("train", index) for index in range(2500)]
TEST = [draw_scene("test", index) for index in range(500)]
ASKED = {scene.key: questions(scene) for scene in SCENES + TEST}


def words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\s\w]", text)


@pytest.mark.long
def test_every_caption_is_true_and_names_every_thing():
    for scene in SCENES:
        said = captions(scene)
        assert len(said) == N_CAPTIONS
        for caption in said:
            verdict = judge_caption(caption, scene)
            assert verdict.true == verdict.stated > 0, (caption, scene)
            assert verdict.named == verdict.visible == len(scene.things), (caption, scene)


def test_captions_vary():
    many = [captions(scene) for scene in SCENES[:500] if len(scene.things) > 2]
    assert np.mean([len(set(said)) for said in many]) > 4.9
    firsts = [len({next(w for w in words(c) if w in SHAPE_NOUNS) for c in said}) for said in many]
    assert np.mean(firsts) > 1.5  # they begin with different things
    starts = Counter(" ".join(words(c)[:2]) for said in many for c in said)
    assert starts.most_common(1)[0][1] < 0.25 * starts.total()


SHAPE_NOUNS = {
    "ball",
    "sphere",
    "cube",
    "block",
    "cone",
    "cylinder",
    "ring",
    "hoop",
    "star",
    "cross",
    "plus",
    "thing",
    "object",
}


def test_the_vocabulary_is_closed_and_used():
    assert list(VOCABULARY) == sorted(set(VOCABULARY))
    used = {word for scene in SCENES for caption in captions(scene) for word in words(caption)}
    used |= {
        word for asked in ASKED.values() for q in asked for word in words(f"{q.text} {q.answer}")
    }
    assert used == set(VOCABULARY)


def test_ten_different_questions_of_all_kinds():
    kinds: Counter[str] = Counter()
    for asked in ASKED.values():
        assert len({q.text for q in asked}) == len(asked) == 10
        assert {q.answer for q in asked} <= set(ANSWERS)
        kinds.update(q.kind for q in asked)
    assert set(kinds) == set(QUESTION_KINDS)
    assert min(kinds.values()) > 0.08 * kinds.total()


def test_the_best_guess_from_the_question_alone_is_wrong_nearly_half_the_time():
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for scene in SCENES:
        for q in ASKED[scene.key]:
            seen[q.text][q.answer] += 1
            by_kind[q.kind][q.answer] += 1
    right: dict[str, list[bool]] = defaultdict(list)
    for scene in TEST:
        for q in ASKED[scene.key]:
            guess = (seen.get(q.text) or by_kind[q.kind]).most_common(1)[0][0]
            right[q.kind].append(guess == q.answer)
    assert np.mean([r for rights in right.values() for r in rights]) < 0.55
    for kind, rights in right.items():
        assert np.mean(rights) < 0.56, kind


def test_no_frequent_wording_tells_the_answer():
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for asked in ASKED.values():
        for q in asked:
            seen[re.sub(ATTRIBUTES, "*", q.text)][q.answer] += 1
    for wording, answers in seen.items():
        if answers.total() > 250:
            assert answers.most_common(1)[0][1] < 0.57 * answers.total(), (wording, answers)


ATTRIBUTES = (
    r"\b(a|an|"
    + "|".join(v for values in KINDS.values() for v in (*values, *(PLURALS[v] for v in values)))
    + r")\b"
)


# An answer is checked by reading the question anew.

NOUNS = {PLURALS[shape]: shape for shape in KINDS["shape"]} | {"things": "thing"}
RELATIONS = {said: relation for relation, choices in RELATION_WORDS.items() for said in choices}


def looks(noun: str) -> dict[str, str]:
    return {
        kind: value
        for word in noun.split()
        for kind, values in KINDS.items()
        for value in values
        if NOUNS.get(word, word) == value
    }


def fitting(noun: str, scene: Scene) -> list[Thing]:
    return [
        thing
        for thing in scene.things
        if all(getattr(thing, kind) == value for kind, value in looks(noun).items())
    ]


def the(noun: str, scene: Scene) -> Thing:
    (thing,) = fitting(noun, scene)  # it must be one
    return thing


def expected(question: str, scene: Scene) -> str:
    def yes(so: bool) -> str:
        return "yes" if so else "no"

    if m := re.fullmatch(r"(?:is there|do you see|does the picture have) an? (.+)\?", question):
        return yes(bool(fitting(m[1], scene)))
    if m := re.fullmatch(r"how many (.+) (?:are there|do you see)\?", question):
        return str(len(fitting(m[1], scene)))
    if m := re.fullmatch(r"what (colour|shape) is the (.+)\?", question) or re.fullmatch(
        r"which (colour|shape) does the (.+) have\?", question
    ):
        return str(getattr(the(m[2], scene), m[1]))
    if m := re.fullmatch(r"is the (.+) (larger|bigger|smaller) than the (.+)\?", question):
        one, other = the(m[1], scene), the(m[3], scene)
        assert one.size != other.size
        return yes((one.radius > other.radius) == (m[2] != "smaller"))
    if m := re.fullmatch(r"are there (more|fewer) (.+) than (.+)\?", question):
        n = len(fitting(m[2], scene)) - len(fitting(m[3], scene))
        assert n != 0
        return yes((n > 0) == (m[1] == "more"))
    if m := re.fullmatch(r"do the (.+) and the (.+) have the same (\w+)\?", question):
        return yes(getattr(the(m[1], scene), m[3]) == getattr(the(m[2], scene), m[3]))
    if m := re.fullmatch(
        r"is the (.+) in the (left|right|upper|lower) half of the picture\?", question
    ):
        thing = the(m[1], scene)
        gap = {
            "left": SIDE // 2 - thing.x,
            "right": thing.x - SIDE // 2,
            "upper": SIDE // 2 - thing.y,
            "lower": thing.y - SIDE // 2,
        }[m[2]]
        assert abs(gap) >= CLEAR // 2
        return yes(gap > 0)
    if m := re.fullmatch(r"is the (.+) in the (\w+) or the (\w+) half of the picture\?", question):
        thing, sides = the(m[1], scene), {m[2], m[3]}
        assert sides in ({"left", "right"}, {"upper", "lower"})
        if "left" in sides:
            return "left" if thing.x < SIDE // 2 else "right"
        return "upper" if thing.y < SIDE // 2 else "lower"
    if m := re.fullmatch(r"is the (.+) (\w+) or (\w+?)(?: of)? the (.+)\?", question):
        one, other = the(m[1], scene), the(m[4], scene)
        assert OPPOSITE[m[2]] == m[3]
        return m[2] if holds(m[2], one, other, CLEAR) else m[3]
    m = re.fullmatch(
        rf"is the (.+?) ({'|'.join(sorted(RELATIONS, key=len, reverse=True))}) the (.+)\?", question
    )
    assert m, question
    one, other, relation = the(m[1], scene), the(m[3], scene), RELATIONS[m[2]]
    assert holds(relation, one, other, CLEAR) or holds(OPPOSITE[relation], one, other, CLEAR)
    return yes(holds(relation, one, other, CLEAR))


@pytest.mark.parametrize("kind", QUESTION_KINDS)
def test_answers_are_right_and_about_what_is_plain(kind: str):
    checked = 0
    for scene in SCENES[:1500]:
        for question in ASKED[scene.key]:
            if question.kind == kind:
                assert expected(question.text, scene) == question.answer, (question, scene)
                checked += 1
    assert checked > 1000


def test_a_wrong_answer_would_be_seen():
    scene = SCENES[0]
    question: Question = ASKED[scene.key][0]
    assert expected(question.text, scene) != {"yes": "no", "no": "yes"}[question.answer]
