"""`Scene` -> words: the closed vocabulary and five reference captions in varied words and order.

A caption names every thing once. It goes through them in one of five orders, says of each its
colour and shape and mostly its size and pattern, and joins neighbours in that order by a relation
where one is clear. Colour or shape are left out now and then.
"""

from __future__ import annotations

import itertools

from training.scenes.counter import Draws
from training.scenes.layout import SHAPES, Scene, Thing, clear_relations

N_CAPTIONS = 5

WORDS = {
    **{value: (value,) for value in ("red", "orange", "yellow", "green", "blue", "white", "black")},
    **{value: (value,) for value in ("cone", "cylinder", "star", "plain", "striped")},
    "purple": ("purple", "violet"),
    "ball": ("ball", "sphere"),
    "cube": ("cube", "block"),
    "ring": ("ring", "hoop"),
    "cross": ("cross", "plus"),
    "small": ("small", "little", "tiny"),
    "large": ("large", "big"),
    "spotted": ("spotted", "dotted"),
}
"""Words for each value of an attribute, the usual one first."""
THING_WORDS = ("thing", "object")
PATTERN_WORDS = {"striped": ("stripes",), "spotted": ("spots", "dots")}
"""Behind a noun: "a red ball with stripes"."""
PLURALS = {
    **{
        word: "crosses" if word == "cross" else "pluses" if word == "plus" else word + "s"
        for value in WORDS
        for word in WORDS[value]
    },
    **{word: word + "s" for word in THING_WORDS},
}
NUMBERS = ("zero", "one", "two", "three", "four", "five")
RELATION_WORDS = {
    "left": ("left of", "to the left of", "on the left of"),
    "right": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}
"""Between two things: "A left of B"."""
SUFFIX_WORDS = {
    "left": ("to its left", "on its left"),
    "right": ("to its right", "on its right"),
    "above": ("above it", "over it"),
    "below": ("below it", "under it", "beneath it"),
}
"""Behind the second of two things: "B with A to its left"."""

_OPENINGS = (
    "",
    "there is",
    "a picture of",
    "an image of",
    "a photo of",
    "we see",
    "you can see",
    "this picture shows",
    "here is",
)
_COUNT_OPENINGS = ("there are", "we see", "a picture of", "this picture shows")
_VERBS = ("is", "sits", "lies")
_ORDERS = (
    lambda thing: (thing.x, thing.y),
    lambda thing: (-thing.x, thing.y),
    lambda thing: (thing.y, thing.x),
    lambda thing: (-thing.y, thing.x),
    lambda thing: (-thing.radius, thing.x),
)

_FUNCTION_WORDS = """
a an the of is are there this picture image photo shows we see you can here with and it its to on
left right above over below under beneath sits lies stripes spots dots do does have what which
colour shape size how many in half upper lower than more fewer larger bigger smaller same yes no
or
"""


def _vocabulary() -> tuple[str, ...]:
    words = (
        {word for words in WORDS.values() for word in words}
        | set(THING_WORDS)
        | set(NUMBERS[2:])
        | set(_FUNCTION_WORDS.split())
    )
    plurals = {PLURALS[noun] for noun in (*SHAPES, *THING_WORDS)}
    return tuple(sorted(words | plurals | set("012345") | {",", ":", "?"}))


VOCABULARY = _vocabulary()
"""Every word of captions, questions and answers, and the punctuation marks; sorted."""


def captions(scene: Scene) -> tuple[str, ...]:
    """Five reference captions: all true, each in another order of the things."""
    draws = Draws(scene.key, 2)
    return tuple(
        _caption(sorted(scene.things, key=order), draws) for order in draws.shuffled(_ORDERS)
    )


def article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _caption(things: list[Thing], draws: Draws) -> str:
    groups = _groups(things, draws)
    if len(things) > 1 and draws.chance(1, 5):
        opening = draws.choice(_COUNT_OPENINGS)
        number = f"{NUMBERS[len(things)]} {PLURALS[draws.choice(THING_WORDS)]}"
        return f"{opening} {number}: {_joined([_words(group, draws) for group in groups])}"
    if draws.chance(1, 3):
        return _joined([_sentence(group, draws) for group in groups])
    return (
        f"{draws.choice(_OPENINGS)} {_joined([_words(group, draws) for group in groups])}".strip()
    )


def _groups(things: list[Thing], draws: Draws) -> list[list[Thing]]:
    """Neighbours, up to three, of which each has a clear relation to the next."""
    groups = [[things[0]]]
    for thing in things[1:]:
        last = groups[-1]
        if len(last) < 3 and clear_relations(last[-1], thing) and draws.chance(2, 3):
            last.append(thing)
        else:
            groups.append([thing])
    return groups


def _joined(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _words(group: list[Thing], draws: Draws) -> str:
    """A group as nouns: "A left of B which is above C", or "A with B to its right"."""
    if len(group) == 2 and draws.chance(1, 3):
        suffix = draws.choice(SUFFIX_WORDS[draws.choice(clear_relations(group[1], group[0]))])
        return f"{_noun(group[0], draws)} with {_noun(group[1], draws)} {suffix}"
    return _noun(group[0], draws) + _chain(group, draws)


def _sentence(group: list[Thing], draws: Draws) -> str:
    """A group as a sentence: "there is A", "A sits left of B", "left of A there is B"."""
    if len(group) == 2 and draws.chance(1, 3):
        relation = draws.choice(RELATION_WORDS[draws.choice(clear_relations(group[1], group[0]))])
        return f"{relation} {_noun(group[0], draws)} there is {_noun(group[1], draws)}"
    if len(group) > 1 and draws.chance(1, 2):
        return f"{_noun(group[0], draws)} {draws.choice(_VERBS)}{_chain(group, draws)}"
    return f"there is {_words(group, draws)}"


def _chain(group: list[Thing], draws: Draws) -> str:
    """What follows the first noun: " left of B which is above C"."""
    links = [
        f"{draws.choice(RELATION_WORDS[draws.choice(clear_relations(one, other))])} "
        f"{_noun(other, draws)}"
        for one, other in itertools.pairwise(group)
    ]
    return " " + " which is ".join(links) if links else ""


def _noun(thing: Thing, draws: Draws) -> str:
    """The thing as a caption names it, with its article."""
    words = []
    if draws.chance(2, 3):
        words.append(draws.choice(WORDS[thing.size]))
    without = draws.below(16)  # 0: no colour, 1: no shape
    behind = ""
    if thing.texture != "plain":
        manner = draws.below(4)
        if manner == 0:
            behind = f" with {draws.choice(PATTERN_WORDS[thing.texture])}"
        elif manner < 3:
            words.append(draws.choice(WORDS[thing.texture]))
    elif thing.size == "large" and draws.chance(1, 6):
        words.append("plain")
    if without != 0:
        words.append(draws.choice(WORDS[thing.colour]))
    words.append(draws.choice(THING_WORDS if without == 1 else WORDS[thing.shape]))
    return article(" ".join(words)) + behind
