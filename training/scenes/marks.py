"""`Scene` -> marks: what patches of a picture, and nouns of texts about it, are to say while a
small BLIP learns to see.

A mark is 1 for "a thing", for each of its looks, and for each multiple of 8 pixels that its x and
then its y reach: a state that can say so carries the place in its content, where it can be compared
with another's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from training.scenes.layout import KINDS, SIDE, Scene, Thing
from training.scenes.nouns import matches
from training.scenes.parsing import parse_caption

_VALUES = [value for kind in KINDS.values() for value in kind]
_KIND = {value: kind for kind, values in KINDS.items() for value in values}
_STEPS = torch.arange(8, SIDE, 8)
N_MARKS = 1 + len(_VALUES) + 2 * len(_STEPS)


def thing_marks(thing: Thing) -> torch.Tensor:
    """What a thing is and where: (N_MARKS,) uint8."""
    looks = torch.tensor([getattr(thing, _KIND[value]) == value for value in _VALUES])
    return torch.cat(
        [torch.ones(1, dtype=torch.bool), looks, thing.x >= _STEPS, thing.y >= _STEPS]
    ).to(torch.uint8)


def patch_marks(scene: Scene, side: int) -> torch.Tensor:
    """What has its centre in each square of a grid, row by row: (side * side, N_MARKS) uint8."""
    marks = torch.zeros(side * side, N_MARKS, dtype=torch.uint8)
    for thing in scene.things:
        marks[thing.y * side // SIDE * side + thing.x * side // SIDE] |= thing_marks(thing)
    return marks


def named(words: Sequence[str], scene: Scene) -> list[tuple[int, Thing]]:
    """Which words of a question are the last of a name, "the large red ball", and the one thing
    that each of these fits.
    """
    found, start = [], 0
    for end in range(len(words) + 1):
        if end < len(words) and words[end] in (*_KIND, "thing"):
            continue
        if end > start and start and words[start - 1] == "the":
            looks = {_KIND[word]: word for word in words[start:end] if word in _KIND}
            fitting = [thing for thing in scene.things if matches(thing, looks)]
            found += [(end - 1, fitting[0])] if len(fitting) == 1 else []
        start = end + 1
    return found


def described(words: Sequence[str], scene: Scene) -> list[tuple[int, Thing]]:
    """Which words of a caption are the last of what it says of a thing, "tiny violet sphere", and
    the one thing that each of these fits.
    """
    text, found = " ".join(words), []
    for phrase in parse_caption(text).phrases:
        looks = {attribute.kind: attribute.value for attribute in phrase}
        fitting = [thing for thing in scene.things if matches(thing, looks)]
        if phrase and len(fitting) == 1:
            found.append((text.count(" ", 0, phrase[-1].span.end), fitting[0]))
    return found
