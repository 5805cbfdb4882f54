"""The parser of captions and the judge: what is stated, what is true."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest

from training.scenes.facts import judge_caption, parse_caption
from training.scenes.layout import COLOURS, KINDS, OPPOSITE, Scene, Thing, draw_scene
from training.scenes.text import PATTERN_WORDS, RELATION_WORDS, SUFFIX_WORDS, WORDS, captions

RING = Thing("ring", "red", "small", "plain", 20, 50, 8, 0)
CUBE = Thing("cube", "blue", "large", "striped", 60, 52, 15, 0)
BALL = Thing("ball", "green", "small", "plain", 60, 20, 9, 0)
SCENE = Scene(1, (RING, CUBE, BALL))
SCENES = [draw_scene("validation", index) for index in range(300)]


def phrases(text: str) -> list[list[str]]:
    return [[attribute.value for attribute in phrase] for phrase in parse_caption(text).phrases]


def relations(text: str) -> list[tuple[int | None, str, int | None]]:
    return [relation[:3] for relation in parse_caption(text).relations]


@pytest.mark.parametrize(
    ("text", "things", "how"),
    [
        (
            "a small red ring left of a large blue cube",
            [["small", "red", "ring"], ["large", "blue", "cube"]],
            [(0, "left", 1)],
        ),
        (
            "A tiny violet hoop sits over a big block.",
            [["small", "purple", "ring"], ["large", "cube"]],
            [(0, "above", 1)],
        ),
        ("to the right of a plus there is a sphere", [["cross"], ["ball"]], [(1, "right", 0)]),
        ("a cone with a star below it", [["cone"], ["star"]], [(1, "below", 0)]),
        (
            "a cone with stripes on the left of a star",
            [["cone", "striped"], ["star"]],
            [(0, "left", 1)],
        ),
        (
            "a cone left of a star which is under a ring",
            [["cone"], ["star"], ["ring"]],
            [(0, "left", 1), (1, "below", 2)],
        ),
        ("a cone, a star and a red thing", [["cone"], ["star"], ["red"]], []),
        (
            "a cone left of a star and a ring with a ball to its left",
            [["cone"], ["star"], ["ring"], ["ball"]],
            [(0, "left", 1), (3, "left", 2)],
        ),
    ],
)
def test_a_caption_is_parsed(text: str, things: list[list[str]], how: list[tuple[int, str, int]]):
    assert phrases(text) == things
    assert relations(text) == how
    assert parse_caption(text).counts == ()


def test_counts_are_parsed():
    (count,) = parse_caption("there are three things: a cone, a star and a ring").counts
    assert (count.number, count.attributes) == (3, ())
    (count,) = parse_caption("two red balls").counts
    assert (count.number, [a.value for a in count.attributes]) == (2, ["red", "ball"])


@pytest.mark.parametrize(
    ("text", "things", "how"),
    [
        ("", [], []),
        ("ein roter Kreis, 一个红色的环 \N{PILE OF POO}", [], []),
        ("a small red", [["small", "red"]], []),
        ("a red ring left of", [["red", "ring"]], [(0, "left", None)]),
        ("left of a red ring", [["red", "ring"]], [(None, "left", 0)]),
        ("left of", [], [(None, "left", None)]),
        ("above it", [], [(None, "above", None)]),
        ("a red above a ring", [["red"], ["ring"]], [(0, "above", 1)]),
        ("a red red ring ring", [["red", "red", "ring"], ["ring"]], []),
        ("to the to the left", [], []),
    ],
)
def test_any_text_is_parsed_as_far_as_it_states_something(
    text: str, things: list[list[str]], how: list[tuple[int | None, str, int | None]]
):
    assert phrases(text) == things
    assert relations(text) == how
    verdict = judge_caption(text, SCENE)
    assert verdict.stated == sum(map(len, things)) + len(how)
    assert verdict.true <= verdict.stated


@pytest.mark.parametrize(
    ("text", "stated", "true", "named"),
    [
        (
            "a small red ring left of a large striped blue cube and a green ball",
            3 + 1 + 4 + 2,
            10,
            3,
        ),
        ("a large red ring", 3, 2, 1),
        ("a small blue ring", 3, 2, 0),
        ("a red ring right of a blue cube", 5, 4, 2),
        ("a red ring and a red ring", 4, 2, 1),
        ("a yellow star", 2, 0, 0),
        ("three things: a ring", 2, 2, 1),
        ("two things: a ring", 2, 1, 1),
        ("a small thing above a cube", 3, 3, 1),
        ("a ring left of a star", 3, 1, 1),
        ("a ball above a ring, a ball", 4, 3, 2),
        ("a thing, a thing, a thing, a thing", 0, 0, 0),
        ("one two three", 0, 0, 0),
    ],
)
def test_a_caption_is_judged(text: str, stated: int, true: int, named: int):
    verdict = judge_caption(text, SCENE)
    assert (verdict.stated, verdict.true, verdict.visible, verdict.named) == (
        stated,
        true,
        3,
        named,
    )
    assert len(verdict.wrong) == stated - true


def test_wrong_words_are_found_where_they_stand():
    text = "a large red ring to the right of a blue cube"
    assert [text[start:end] for start, end in judge_caption(text, SCENE).wrong] == [
        "large",
        "to the right of",
    ]


def test_phrases_stand_for_the_things_that_make_most_facts_true():
    twin = Scene(1, (RING, CUBE, Thing("ring", "green", "large", "plain", 80, 70, 15, 0)))
    assert judge_caption("a ring right of a cube", twin)[:2] == (3, 3)
    # there is one cube
    assert judge_caption("a ring right of a cube and a ring left of a cube", twin)[:2] == (6, 4)


def test_a_relation_needs_a_margin():
    for gap, true in ((4, 2), (6, 3)):
        pair = Scene(1, (RING, Thing("cube", "blue", "large", "plain", RING.x + gap, 20, 15, 0)))
        assert judge_caption("a ring left of a cube", pair).true == true


def swapped(caption: str, old: str, new: str) -> str:
    return re.sub(rf"\b{old}\b", new, caption, count=1)


@pytest.mark.parametrize("kind", ["colour", "shape", "size", "texture"])
def test_a_caption_with_one_wrong_word_is_not_true(kind: str):
    """The word is changed to a value that no thing of the scene has, so no thing is left to stand
    for it.
    """
    changed = 0
    for scene in SCENES:
        has = {getattr(thing, kind) for thing in scene.things}
        absent = [
            value
            for value in KINDS[kind]
            if value not in has and not (kind == "texture" and value == "plain")
        ]
        for caption in captions(scene) if absent else ():
            for value in has:
                for word in (*WORDS[value], *PATTERN_WORDS.get(value, ())):
                    other = (PATTERN_WORDS if word in PATTERN_WORDS.get(value, ()) else WORDS).get(
                        absent[0], ("",)
                    )[0]
                    wrong = swapped(caption, word, other)
                    if wrong != caption:
                        verdict = judge_caption(wrong, scene)
                        assert (
                            verdict.true < verdict.stated == judge_caption(caption, scene).stated
                        ), wrong
                        changed += 1
    assert changed > 50


def test_a_caption_with_one_relation_turned_round_is_not_true():
    changed = 0
    for scene in SCENES:
        if len({thing.shape for thing in scene.things}) < len(scene.things) or len(
            {thing.colour for thing in scene.things}
        ) < len(scene.things):
            continue
        for caption in captions(scene):
            for table in (SUFFIX_WORDS, RELATION_WORDS):
                for relation, choices in table.items():
                    for words in choices:
                        wrong = swapped(caption, words, table[OPPOSITE[relation]][0])
                        if wrong != caption:
                            verdict = judge_caption(wrong, scene)
                            assert verdict.true < verdict.stated, wrong
                            changed += 1
    assert changed > 100


def test_a_caption_of_another_scene_is_mostly_wrong():
    shares = []
    for scene, other in zip(SCENES, SCENES[1:] + SCENES[:1], strict=True):
        verdict = judge_caption(captions(other)[0], scene)
        shares.append(verdict.true / verdict.stated)
    assert np.mean(shares) < 0.65


@pytest.mark.parametrize("between", [" and ", " left of ", " with ", " "])
def test_a_very_long_caption_is_judged_at_once(between: str):
    text = between.join(f"a small {colour} thing above a star" for colour in COLOURS * 100)
    start = time.perf_counter()
    verdict = judge_caption(text, SCENE)
    assert time.perf_counter() - start < 2
    assert verdict.stated >= 800 * 4
    assert verdict.named <= verdict.visible == 3
