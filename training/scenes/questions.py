"""`Scene` -> ten questions with answers that cannot be guessed from the question alone.

A question with two answers is only asked where both could have been right (a thing that is there or
one that is not, A before B or B before A), and a coin decides which, before the words are chosen;
counts are chosen evenly among those that occur. So no wording tells the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from training.scenes.comparisons import comparison
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
from training.scenes.nouns import ANY_NAME, Looks, matches, noun, unique_name
from training.scenes.text import RELATION_WORDS, article

N_QUESTIONS = 10
QUESTION_KINDS = ("existence", "count", "colour", "shape", "relation", "comparison")
SIDES = ("left", "right", "above", "below", "upper", "lower")
ANSWERS = ("yes", "no", *"012345", *COLOURS, *SHAPES, *SIDES)
_HALVES = {"above": "upper", "below": "lower"}


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
    name = unique_name(
        thing, things, draws, (("shape",), ("size", "shape"), ("texture", "shape"), ("size",))
    )
    if not name:
        return None
    return draws.choice(
        (f"what colour is the {name}?", f"which colour does the {name} have?")
    ), thing.colour


def _shape(things: Sequence[Thing], draws: Draws) -> tuple[str, str] | None:
    thing = draws.choice(things)
    name = unique_name(
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
        name = unique_name(thing, things, draws, ANY_NAME)
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
    names = [unique_name(thing, things, draws, ANY_NAME) for thing in (one, other)]
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


Maker = Callable[[Sequence[Thing], Draws], "tuple[str, str] | None"]
_MAKERS: dict[str, Maker] = {
    "existence": _existence,
    "count": _count,
    "colour": _colour,
    "shape": _shape,
    "relation": _relation,
    "comparison": comparison,
}
