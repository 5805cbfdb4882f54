"""backbone and budget -> shape of a student encoder and its latent, where a recipe leaves them out.

What is given stays; the rest is what has done well in the recipes that ship: a cut in the middle, a
latent of some 16 to 49 positions, stages that double their width, residual blocks in the last 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

DERIVED = (
    "k",
    "encoder",
    "side",
    "n_channels",
    "student_widths",
    "student_depths",
    "synthesis_depth",
    "rate_weights",
    "shift",
)
"""The keys of a codec's recipe that `derived` finds."""
MOST_SIDE, MOST_CHANNELS, MOST_DEPTH = 7, 96, 4
SHARE = 20
"""Without a budget the encoder has one 20th of the backbone's multiply-accumulates."""
RATE_WEIGHTS = (3.0e-3, 1.4e-3, 6.6e-4, 3.1e-4, 1.5e-4, 6.8e-5, 3.2e-5, 1.5e-5)
"""Nats per bit: what a bit may cost an answer does not depend on the picture's size."""


class BackboneFacts(NamedTuple):
    """Of a backbone and its pictures: pixels of a side, side of the token grid, width of a token,
    number of blocks.
    """

    size: int
    grid: int
    width: int
    n_blocks: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one picture: patches, and for n tokens of width d in each block
        12 n d^2 of projections (with an MLP four times as wide) and 2 n^2 d of attention.
        """
        n, d = self.grid**2 + 1, self.width
        return 3 * self.size**2 * d + self.n_blocks * (12 * n * d**2 + 2 * n**2 * d)


class Student(NamedTuple):
    """Widths and depths of a student's stages."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]


def derived(facts: BackboneFacts, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a codec's recipe that follow from a backbone and `device_macs`; what is `given`
    wins, and the rest fits it: the depths fit widths that are given alone, and widths such depths.

    Raises:
        ValueError: no student of that budget, none that ends in a latent's side, widths and depths
            of different numbers of stages, or an encoder of another kind.
    """
    if given.get("encoder", "student") != "student":
        raise ValueError(f"device_macs is for a student, not for the encoder {given['encoder']!r}")
    fold = given.get("fold", 1)
    widths, depths = (given.get(key) for key in ("student_widths", "student_depths"))
    n_given = {len(value) for value in (widths, depths) if value is not None}
    side = given.get("side") or (fold * facts.size >> max(n_given) if n_given else _side(facts))
    n_stages = (fold * facts.size // max(side, 1)).bit_length() - 1
    if n_given - {n_stages}:
        raise ValueError(
            f"a student that leads from {facts.size} pixels to a side of {side} has {n_stages} "
            f"stages: student_widths {widths} and student_depths {depths} are not as many"
        )
    n_channels = given.get("n_channels") or min(MOST_CHANNELS, max(8, facts.width // 4 // 8 * 8))
    found = {
        "k": max(1, facts.n_blocks // 2),
        "encoder": "student",
        "side": side,
        "n_channels": n_channels,
        "synthesis_depth": 1 if facts.n_blocks < 8 else 2,
        "rate_weights": list(RATE_WEIGHTS),
        "shift": max(1, facts.size // 14),
    }
    if widths is None or depths is None:
        budget = given.get("device_macs") or facts.macs // SHARE
        n_out = n_channels * fold**2
        student = student_of(budget, facts.size, n_stages, n_out, facts.width, widths, depths)
        found |= {"student_widths": list(student.widths), "student_depths": list(student.depths)}
    return found | dict(given)


def _side(facts: BackboneFacts) -> int:
    """The largest side that halving the pictures leads to, of at most `MOST_SIDE` positions and
    those of the token grid.
    """
    side = facts.size
    while side > min(MOST_SIDE, facts.grid):
        if side % 2:
            raise ValueError(
                f"halving {facts.size} pixels leads to a side of {side} and no further: give a "
                "student's side yourself, or an image processor of another size"
            )
        side //= 2
    return side


def student_of(
    budget: int,
    size: int,
    n_stages: int,
    n_out: int,
    most_width: int,
    widths: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
) -> Student:
    """The widest student of at most `budget` multiply-accumulates, with as few residual blocks as
    come within a quarter of it; no stage is wider than `most_width`.

    Args:
        size: pixels of a side.
        n_stages: each halves the resolution, and has twice the width of the one before.
        n_out: channels that it ends in.
        widths, depths: that it has; None to find them.

    Raises:
        ValueError: the smallest student takes more.
    """
    best, least = None, 0
    for deep in _depths(n_stages) if depths is None else [tuple(depths)]:
        found = None
        for wide in _widths(n_stages, most_width) if widths is None else [tuple(widths)]:
            macs = student_macs(size, wide, deep, n_out)
            least = least or macs
            if macs > budget:
                break
            found = Student(wide, deep)
        # blocks are worth more than width, as far as the budget has room for some of both
        if found is None or (best is not None and _narrow(found, best)):
            break
        best = found
        if any(deep) and 4 * student_macs(size, found.widths, deep, n_out) >= 3 * budget:
            break
    if best is None:
        raise ValueError(
            f"device_macs is {budget:,}, and the smallest student takes {least:,} "
            "multiply-accumulates"
        )
    return best


def _depths(n_stages: int) -> Iterator[tuple[int, ...]]:
    """More and more blocks in the last three stages."""
    for depth in range(MOST_DEPTH + 1):
        yield tuple(depth if stage >= n_stages - 3 else 0 for stage in range(n_stages))


def _widths(n_stages: int, most_width: int) -> Iterator[tuple[int, ...]]:
    """Wider and wider stages, until the first has the most."""
    base, widest = 4.0, max(4, most_width)
    while True:
        widths = tuple(
            min(max(4, round(base * 2**stage / 4) * 4), widest) for stage in range(n_stages)
        )
        yield widths
        if widths[0] >= most_width:
            return
        base += 0.25


def _narrow(found: Student, best: Student) -> bool:
    """Whether blocks would leave a student with less than a third of its width."""
    return 3 * found.widths[-1] < best.widths[-1]


def student_macs(size: int, widths: Sequence[int], depths: Sequence[int], n_out: int) -> int:
    """Multiply-accumulates of `codec.model.transforms.StudentAnalysis` for one picture: of its
    convolutions over 3 x 3, and of the last one over 1 x 1.
    """
    total, side = 0, size
    for n_in, width, depth in zip((3, *widths[:-1]), widths, depths, strict=True):
        side = math.ceil(side / 2)
        total += side**2 * 9 * width * (n_in + 2 * depth * width)
    return total + side**2 * widths[-1] * n_out
