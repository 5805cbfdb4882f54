"""caption -> the facts it states, word for word.

The parser takes any text: words outside the vocabulary are passed over, half sentences state what
they got to. It knows the grammar of `training.scenes.text`: "A left of B", "left of A there is B",
"A with B to its left", "three things: A, B and C".
"""

from __future__ import annotations

import re
from typing import NamedTuple

from training.scenes.layout import KINDS
from training.scenes.text import (
    NUMBERS,
    PATTERN_WORDS,
    PLURALS,
    RELATION_WORDS,
    SUFFIX_WORDS,
    THING_WORDS,
    WORDS,
)

_KIND = {
    word: (kind, value)
    for kind, values in KINDS.items()
    for value in values
    for word in WORDS[value]
}
_KIND |= {PLURALS[word]: fact for word, fact in list(_KIND.items()) if fact[0] == "shape"}
_THINGS = {*THING_WORDS, *(PLURALS[word] for word in THING_WORDS)}
_PATTERNS = {word: value for value, words in PATTERN_WORDS.items() for word in words}
_RELATIONS = {
    tuple(words.split()): (relation, suffix)
    for table, suffix in ((RELATION_WORDS, False), (SUFFIX_WORDS, True))
    for relation, choices in table.items()
    for words in choices
}
_LONGEST = max(map(len, _RELATIONS))
_NUMBERS = {word: n for n, word in enumerate(NUMBERS)} | {str(n): n for n in range(len(NUMBERS))}
_BREAKS = {",", ":", ".", ";", "and", "while"}


class Span(NamedTuple):
    """Characters [start, end) of the caption."""

    start: int
    end: int


class Attribute(NamedTuple):
    """ "red": `kind` is "colour", `value` "red"."""

    kind: str
    value: str
    span: Span


class Relation(NamedTuple):
    """`subject` and `object` are indices into the phrases; None where the caption does not say
    which.
    """

    subject: int | None
    relation: str
    object: int | None
    span: Span


class Count(NamedTuple):
    """ "three things", "two red balls": so many things have these attributes."""

    number: int
    attributes: tuple[Attribute, ...]
    span: Span


class Facts(NamedTuple):
    """What a caption states. A phrase is all that it says of one thing, () for "a thing"."""

    phrases: tuple[tuple[Attribute, ...], ...]
    relations: tuple[Relation, ...]
    counts: tuple[Count, ...]


class _Parser:
    def __init__(self) -> None:
        self.phrases: list[list[Attribute]] = []
        self.relations: list[Relation] = []
        self.counts: list[Count] = []
        self.adjectives: list[Attribute] = []
        self.number: tuple[int, Span] | None = None
        self.clause: list[int] = []  # phrases of this clause
        # "A left of": wants an object; subject None: "left of" at the start
        self.waiting: tuple[int | None, str, Span] | None = None
        self.inverted: tuple[str, int, Span] | None = None  # "left of A": wants its subject

    def noun(self, own: list[Attribute]) -> None:
        """A phrase is whole: it takes the adjectives before it, and the place that a relation kept
        for it.
        """
        attributes, self.adjectives = self.adjectives + own, []
        if self.number:
            self.counts.append(Count(self.number[0], tuple(attributes), self.number[1]))
            self.number = None
            return
        self.phrases.append(attributes)
        here = len(self.phrases) - 1
        self.clause.append(here)
        if self.waiting:
            subject, relation, span = self.waiting
            self.waiting = None
            if subject is None:
                self.inverted = (relation, here, span)
            else:
                self.relations.append(Relation(subject, relation, here, span))
        elif self.inverted:
            relation, other, span = self.inverted
            self.inverted = None
            self.relations.append(Relation(here, relation, other, span))

    def relation(self, relation: str, suffix: bool, span: Span) -> None:
        self.loose_ends()
        if suffix:
            subject, other = self.clause[-1:], self.clause[-2:-1]
            self.relations.append(
                Relation(
                    subject[0] if subject else None, relation, other[0] if other else None, span
                )
            )
        else:
            self.waiting = (self.clause[-1] if self.clause else None, relation, span)

    def loose_ends(self) -> None:
        """Adjectives without a noun are a phrase, a relation without its other side is stated and
        cannot be true.
        """
        if self.adjectives:
            self.noun([])
        self.number = None
        if self.waiting:
            self.relations.append(Relation(self.waiting[0], self.waiting[1], None, self.waiting[2]))
        if self.inverted:
            self.relations.append(
                Relation(None, self.inverted[0], self.inverted[1], self.inverted[2])
            )
        self.waiting = self.inverted = None

    def clause_ends(self) -> None:
        self.loose_ends()
        self.clause = []


def parse_caption(text: str) -> Facts:
    """What a caption states, word for word; any text will do."""
    found = [
        (m.group().lower(), Span(*m.span()))
        for m in re.finditer(r"[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]", text)
    ]
    words = [word for word, _ in found]
    parser = _Parser()
    i = 0
    while i < len(words):
        word, span = found[i]
        length = next(
            (
                n
                for n in range(min(_LONGEST, len(words) - i), 0, -1)
                if tuple(words[i : i + n]) in _RELATIONS
            ),
            0,
        )
        if length:
            parser.relation(
                *_RELATIONS[tuple(words[i : i + length])],
                Span(span.start, found[i + length - 1][1].end),
            )
        elif word in _BREAKS:
            parser.clause_ends()
        elif word in _PATTERNS and parser.clause and not parser.adjectives:
            parser.phrases[parser.clause[-1]].append(Attribute("texture", _PATTERNS[word], span))
        elif word in _THINGS:
            parser.noun([])
        elif word in _KIND:
            attribute = Attribute(*_KIND[word], span)
            if attribute.kind == "shape":
                parser.noun([attribute])
            else:
                parser.adjectives.append(attribute)
        elif word in _NUMBERS:
            parser.number = (_NUMBERS[word], span)
        i += max(length, 1)
    parser.clause_ends()
    return Facts(tuple(map(tuple, parser.phrases)), tuple(parser.relations), tuple(parser.counts))
