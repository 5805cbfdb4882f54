"""caption + `Scene` -> how many of the facts it states are true, and how many things it names."""

from __future__ import annotations

from typing import NamedTuple

from training.scenes.layout import CLEAR, MOST, Scene, Thing, holds
from training.scenes.parsing import Attribute, Facts, Relation, Span, parse_caption

MARGIN = CLEAR // 2
"""Pixels between two centres from which on a stated relation counts as true: half of what reference
captions keep.
"""

# of the search for the things that phrases stand for; reference captions take less than 100
_STEPS = 5_000
_PHRASES = 8 * MOST


class Judgement(NamedTuple):
    """Facts stated and how many of them are true, things in the scene and how many of them are
    named; `wrong`: where the caption errs.
    """

    stated: int
    true: int
    visible: int
    named: int
    wrong: tuple[Span, ...]


def judge_caption(caption: str, scene: Scene) -> Judgement:
    """Compare what a caption states with the scene.

    Each phrase stands for another thing, such that most facts are true. Facts are the attributes of
    each phrase, relations and counts; an attribute is true if that thing has it, a relation if the
    two things' centres lie so by at least `MARGIN` pixels, a count if it is exact. A thing is named
    by a phrase that says its colour or its shape, and neither wrongly.
    """
    facts = parse_caption(caption)
    things = scene.things
    stands = _best_assignment(facts, things)
    wrong = [
        a.span
        for phrase, at in zip(facts.phrases, stands, strict=True)
        for a in phrase
        if at is None or not _has(things[at], a)
    ]
    wrong += [r.span for r in facts.relations if not _is_true(r, stands, things)]
    wrong += [
        c.span
        for c in facts.counts
        if sum(all(_has(thing, a) for a in c.attributes) for thing in things) != c.number
    ]
    stated = sum(map(len, facts.phrases)) + len(facts.relations) + len(facts.counts)
    named = 0
    for phrase, at in zip(facts.phrases, stands, strict=True):
        identity = [a for a in phrase if a.kind in ("colour", "shape")]
        named += at is not None and bool(identity) and all(_has(things[at], a) for a in identity)
    return Judgement(stated, stated - len(wrong), len(things), named, tuple(sorted(wrong)))


def _has(thing: Thing, attribute: Attribute) -> bool:
    return bool(getattr(thing, attribute.kind) == attribute.value)


def _is_true(relation: Relation, stands: list[int | None], things: tuple[Thing, ...]) -> bool:
    one, other = (
        None if end is None else stands[end] for end in (relation.subject, relation.object)
    )
    if one is None or other is None:
        return False
    return holds(relation.relation, things[one], things[other], MARGIN)


def _best_assignment(facts: Facts, things: tuple[Thing, ...]) -> list[int | None]:
    """The thing that each phrase stands for, or None: different things, most facts true.

    Branch and bound, the best guess first. It is exact for captions that name each thing about
    once; for a text that goes on and on it stops after `_STEPS` steps with the best found so far,
    and phrases after the first `_PHRASES` stand for nothing.
    """
    scores = [
        [sum(_has(thing, a) for a in phrase) for thing in things]
        for phrase in facts.phrases[:_PHRASES]
    ]
    whole = [r for r in facts.relations if r.subject is not None and r.object is not None]
    decided: list[list[Relation]] = [
        [r for r in whole if max(r[0] or 0, r[2] or 0) == i] for i in range(len(scores))
    ]
    hope = [0] * (len(scores) + 1)  # the most that phrases from here on can add
    for i in range(len(scores) - 1, -1, -1):
        hope[i] = hope[i + 1] + max(scores[i]) + len(decided[i])
    best: list[int | None] = [None] * len(facts.phrases)
    best_true, steps = 0, 0

    def extend(stands: list[int | None], true: int) -> None:
        nonlocal best, best_true, steps
        i, steps = len(stands), steps + 1
        if true > best_true:
            best, best_true = stands + [None] * (len(facts.phrases) - i), true
        if true + hope[i] <= best_true or steps > _STEPS:
            return
        for at in sorted(range(len(things)), key=lambda at: -scores[i][at]):
            if scores[i][at] and at not in stands:
                here = [*stands, at]
                extend(
                    here, true + scores[i][at] + sum(_is_true(r, here, things) for r in decided[i])
                )
        extend([*stands, None], true)

    extend([], 0)
    return best
