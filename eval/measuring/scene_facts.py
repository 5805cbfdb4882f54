"""captions of scenes -> the share of stated facts that are true, and of visible things that are
named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from codec.tasks.captions import check_pairs
from training.scenes.facts import judge_caption
from training.scenes.layout import Scene


class FactScore(NamedTuple):
    """Over all captions: facts stated and true, things visible and named."""

    n_stated: int
    n_true: int
    n_visible: int
    n_named: int

    @property
    def true(self) -> float:
        """Share of the stated facts that are true, in percent; 0 where nothing is stated."""
        return 100 * self.n_true / self.n_stated if self.n_stated else 0.0

    @property
    def named(self) -> float:
        """Share of the visible things that are named, in percent."""
        return 100 * self.n_named / self.n_visible


def caption_facts(captions: Sequence[str], scenes: Sequence[Scene]) -> FactScore:
    """Facts that captions of scenes state, by `judge_caption` of `training.scenes`, summed over all
    captions.

    Raises:
        ValueError: nothing to score, or unequal counts.
    """
    check_pairs(captions, scenes, "captions", "scenes")
    verdicts = [
        judge_caption(caption, scene) for caption, scene in zip(captions, scenes, strict=True)
    ]
    return FactScore(
        sum(verdict.stated for verdict in verdicts),
        sum(verdict.true for verdict in verdicts),
        sum(verdict.visible for verdict in verdicts),
        sum(verdict.named for verdict in verdicts),
    )
