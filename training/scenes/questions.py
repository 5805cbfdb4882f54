"""`Scene` -> ten questions with answers that cannot be guessed from the question alone.

A question with two answers is only asked where both could have been right (a thing that is there or
one that is not, A before B or B before A), and a coin decides which, before the words are chosen;
counts are chosen evenly among those that occur. So no wording tells the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from training.scenes.counter import Draws
from training.scenes.layout import (
    CLEAR,
    COLOURS,
    KINDS,
    OPPOSITE,
    SHAPES,
    SIDE,
    TEXTURES,
    Scene,
    Thing,
    clear_relations,
)
from training.scenes.text import PLURALS, RELATION_WORDS, article

N_QUESTIONS = 10
QUESTION_KINDS = ("existence", "count", "colour", "shape", "relation", "comparison")
SIDES = ("left", "right", "above", "below", "upper", "lower")
ANSWERS = ("yes", "no", *"012345", *COLOURS, *SHAPES, *SIDES)
_HALVES = {"above": "upper", "below": "lower"}

Looks = dict[str, str]
"""Attributes by kind: what a noun says of a thing."""


class Question(NamedTuple):
    """`kind` is one of `QUESTION_KINDS`, `answer` one of `ANSWERS`."""

    kind: str
    text: str
    answer: str


def questions(scene: Scene) -> tuple[Question, ...]:
    """Ten different questions: two each of existence, count, relation, comparison, one each of
    colour and shape, as far as the scene has them; where it does not, other kinds fill up.
    """
    draws = Draws(scene.key, 3)
    asked: dict[str, Question] = {}
    for kind in (
        "existence",
        "existence",
        "count",
        "count",
        "colour",
        "shape",
        "relation",
        "relation",
        "comparison",
        "comparison",
    ):
        _ask(kind, scene, draws, asked)
    while len(asked) < N_QUESTIONS:
        _ask(draws.choice(QUESTION_KINDS), scene, draws, asked)
    return tuple(asked.values())


def _ask(kind: str, scene: Scene, draws: Draws, asked: dict[str, Question]) -> None:
    """Add a new question of a kind, where one is found in a few tries."""
    for _ in range(4):
        found = _MAKERS[kind](scene.things, draws)
        if found and found[0] not in asked:
            asked[found[0]] = Question(kind, *found)
            return


Maker = Callable[[Sequence[Thing], Draws], "tuple[str, str] | None"]


def matches(thing: Thing, looks: Looks) -> bool:
    """Whether a thing has all these attributes."""
    return all(getattr(thing, kind) == value for kind, value in looks.items())


def noun(looks: Looks, plural: bool = False) -> str:
    """Attributes as words without an article: "large striped red ball"."""
    last = looks.get("shape", "thing")
    adjectives = [looks[kind] for kind in ("size", "texture", "colour") if kind in looks]
    return " ".join([*adjectives, PLURALS[last] if plural else last])


def _name(
    thing: Thing, things: Sequence[Thing], draws: Draws, kinds: Sequence[tuple[str, ...]]
) -> str | None:
    """A noun by one of these sets of attributes that fits this thing only, or None."""
    for kind in draws.shuffled(kinds):
        looks = {k: getattr(thing, k) for k in kind}
        if looks.get("texture") != "plain" and sum(matches(other, looks) for other in things) == 1:
            return noun(looks)
    return None


_ANY_NAME = (("shape",), ("colour",), ("colour", "shape"), ("colour", "shape"))


def _existence(things: Sequence[Thing], draws: Draws) -> tuple[str, str] | None:
    kinds = draws.choice(
        (
            ("shape",),
            ("colour",),
            ("colour", "shape"),
            ("colour", "shape"),
            ("size", "colour"),
            ("texture", "shape"),
        )
    )
    real = draws.choice(things)
    if "texture" in kinds and real.texture == "plain":
        return None
    looks = {kind: getattr(real, kind) for kind in kinds}
    present = draws.chance(1, 2)
    while not present and any(matches(thing, looks) for thing in things):
        # a mixture of what the things have is harder to deny than something wholly strange
        near = draws.chance(1, 2)
        for kind in kinds:
            values = (
                TEXTURES[1:]
                if kind == "texture"
                else [getattr(thing, kind) for thing in things]
                if near
                else KINDS[kind]
            )
            looks[kind] = draws.choice(values)
    text = article(noun(looks))
    return draws.choice(
        (f"is there {text}?", f"do you see {text}?", f"does the picture have {text}?")
    ), "yes" if present else "no"


def _count(things: Sequence[Thing], draws: Draws) -> tuple[str, str] | None:
    kind = draws.choice(("all", "colour", "colour", "shape", "shape", "size"))
    options: list[Looks] = [{}] if kind == "all" else [{kind: value} for value in KINDS[kind]]
    counts = [sum(matches(thing, looks) for thing in things) for looks in options]
    number = draws.choice(sorted(set(counts)))
    text = noun(
        draws.choice([looks for looks, n in zip(options, counts, strict=True) if n == number]),
        plural=True,
    )
    return draws.choice((f"how many {text} are there?", f"how many {text} do you see?")), str(
        number
    )


def _colour(things: Sequence[Thing], draws: Draws) -> tuple[str, str] | None:
    thing = draws.choice(things)
    name = _name(
        thing, things, draws, (("shape",), ("size", "shape"), ("texture", "shape"), ("size",))
    )
    if not name:
        return None
    return draws.choice(
        (f"what colour is the {name}?", f"which colour does the {name} have?")
    ), thing.colour


def _shape(things: Sequence[Thing], draws: Draws) -> tuple[str, str] | None:
    thing = draws.choice(things)
    name = _name(
        thing, things, draws, (("colour",), ("size", "colour"), ("texture", "colour"), ("size",))
    )
    if not name:
        return None
    return draws.choice(
        (f"what shape is the {name}?", f"which shape does the {name} have?")
    ), thing.shape


def _relation(things: Sequence[Thing], draws: Draws) -> tuple[str, str] | None:
    """Between two things, or where in the picture one is: which of two sides it is, or whether it
    is one.

    A and B, or the two halves, change places for the other answer. A side as an answer is learned
    first, and "yes" from it: that depends on the side asked for and the side there is, and on
    neither alone.
    """
    whether = draws.chance(1, 2)
    if len(things) == 1 or draws.chance(1, 5):
        thing = draws.choice(things)
        name = _name(thing, things, draws, _ANY_NAME)
        gaps = {
            "left": SIDE // 2 - thing.x,
            "right": thing.x - SIDE // 2,
            "above": SIDE // 2 - thing.y,
            "below": thing.y - SIDE // 2,
        }
        sides = [side for side, gap in gaps.items() if 2 * gap >= CLEAR]
        if not sides or not name:
            return None
        side = draws.choice(sides)
        half, other_half = (_HALVES.get(one, one) for one in (side, OPPOSITE[side]))
        if not whether:
            first, second = draws.shuffled((half, other_half))
            return f"is the {name} in the {first} or the {second} half of the picture?", half
        yes = draws.chance(1, 2)
        return (
            f"is the {name} in the {half if yes else other_half} half of the picture?",
            "yes" if yes else "no",
        )
    one, other = draws.shuffled(things)[:2]
    names = [_name(thing, things, draws, _ANY_NAME) for thing in (one, other)]
    relations = clear_relations(one, other)
    if not relations or not all(names):
        return None
    relation = draws.choice(relations)
    if not whether:
        first, second = draws.shuffled((relation, OPPOSITE[relation]))
        of = "" if relation in _HALVES else " of"
        return f"is the {names[0]} {first} or {second}{of} the {names[1]}?", relation
    yes = draws.chance(1, 2)
    words = draws.choice(RELATION_WORDS[relation if yes else OPPOSITE[relation]])
    return f"is the {names[0]} {words} the {names[1]}?", "yes" if yes else "no"


def _comparison(things: Sequence[Thing], draws: Draws) -> tuple[str, str] | None:
    return draws.choice((_which_is_larger, _which_are_more, _are_the_same))(things, draws)


def _which_is_larger(things: Sequence[Thing], draws: Draws) -> tuple[str, str] | None:
    pair = draws.shuffled(things)[:2]
    if len(pair) < 2 or pair[0].size == pair[1].size:
        return None
    names = [_name(thing, things, draws, _ANY_NAME) for thing in pair]
    if not all(names):
        return None
    larger = pair[0].size == "large"
    word, is_so = draws.choice((("larger", larger), ("bigger", larger), ("smaller", not larger)))
    return f"is the {names[0]} {word} than the {names[1]}?", "yes" if is_so else "no"


def _which_are_more(things: Sequence[Thing], draws: Draws) -> tuple[str, str] | None:
    kind = draws.choice(("colour", "shape"))
    pair = draws.shuffled([getattr(draws.choice(things), kind), draws.choice(KINDS[kind])])
    counts = [sum(getattr(thing, kind) == value for thing in things) for value in pair]
    if counts[0] == counts[1]:
        return None
    word, is_so = draws.choice((("more", counts[0] > counts[1]), ("fewer", counts[0] < counts[1])))
    one, other = (noun({kind: value}, plural=True) for value in pair)
    return f"are there {word} {one} than {other}?", "yes" if is_so else "no"


def _are_the_same(things: Sequence[Thing], draws: Draws) -> tuple[str, str] | None:
    """Whether two things share an attribute, where the scene has a pair that does and one that does
    not.
    """
    kind, by = draws.choice(
        (("colour", "shape"), ("shape", "colour"), ("size", "shape"), ("size", "colour"))
    )
    named = [
        thing
        for thing in things
        if sum(getattr(other, by) == getattr(thing, by) for other in things) == 1
    ]
    pairs = [(a, b) for i, a in enumerate(named) for b in named[i + 1 :]]
    same = [pair for pair in pairs if getattr(pair[0], kind) == getattr(pair[1], kind)]
    different = [pair for pair in pairs if pair not in same]
    if not same or not different:
        return None
    yes = draws.chance(1, 2)
    one, other = (
        noun({by: getattr(thing, by)})
        for thing in draws.shuffled(draws.choice(same if yes else different))
    )
    return f"do the {one} and the {other} have the same {kind}?", "yes" if yes else "no"


_MAKERS: dict[str, Maker] = {
    "existence": _existence,
    "count": _count,
    "colour": _colour,
    "shape": _shape,
    "relation": _relation,
    "comparison": _comparison,
}
