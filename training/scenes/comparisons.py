"""things -> a question that compares two of them, or two kinds of them, and its answer."""

from __future__ import annotations

from collections.abc import Sequence

from training.scenes.counter import Draws
from training.scenes.layout import KINDS, Thing
from training.scenes.nouns import ANY_NAME, noun, unique_name


def comparison(things: Sequence[Thing], draws: Draws) -> tuple[str, str] | None:
    """A question and its answer, or None where these things give none this time."""
    return draws.choice((_which_is_larger, _which_are_more, _are_the_same))(things, draws)


def _which_is_larger(things: Sequence[Thing], draws: Draws) -> tuple[str, str] | None:
    pair = draws.shuffled(things)[:2]
    if len(pair) < 2 or pair[0].size == pair[1].size:
        return None
    names = [unique_name(thing, things, draws, ANY_NAME) for thing in pair]
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
