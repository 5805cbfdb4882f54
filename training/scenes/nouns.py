"""things -> the nouns of questions: attributes as words, and a noun that fits one thing only."""

from __future__ import annotations

from collections.abc import Sequence

from training.scenes.counter import Draws
from training.scenes.layout import Thing
from training.scenes.text import PLURALS

Looks = dict[str, str]
"""Attributes by kind: what a noun says of a thing."""

ANY_NAME = (("shape",), ("colour",), ("colour", "shape"), ("colour", "shape"))
"""Sets of attributes that may name a thing, the likelier ones twice."""


def matches(thing: Thing, looks: Looks) -> bool:
    """Whether a thing has all these attributes."""
    return all(getattr(thing, kind) == value for kind, value in looks.items())


def noun(looks: Looks, plural: bool = False) -> str:
    """Attributes as words without an article: "large striped red ball"."""
    last = looks.get("shape", "thing")
    adjectives = [looks[kind] for kind in ("size", "texture", "colour") if kind in looks]
    return " ".join([*adjectives, PLURALS[last] if plural else last])


def unique_name(
    thing: Thing, things: Sequence[Thing], draws: Draws, kinds: Sequence[tuple[str, ...]]
) -> str | None:
    """A noun by one of these sets of attributes that fits this thing only, or None."""
    for kind in draws.shuffled(kinds):
        looks = {k: getattr(thing, k) for k in kind}
        if looks.get("texture") != "plain" and sum(matches(other, looks) for other in things) == 1:
            return noun(looks)
    return None
