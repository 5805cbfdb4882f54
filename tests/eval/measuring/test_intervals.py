"""Intervals of a drop, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from eval.measuring.intervals import paired_margin


def test_the_interval_of_answers_is_clustered_by_picture() -> None:
    rng = np.random.default_rng(0)
    right, uncut = rng.integers(0, 2, (2, 50)).astype(float)
    single = paired_margin(right, uncut, np.arange(50))
    assert single == pytest.approx(196 * np.std(uncut - right) / 50**0.5)
    twice = paired_margin(np.repeat(right, 2), np.repeat(uncut, 2), np.repeat(np.arange(50), 2))
    assert twice == pytest.approx(single), "asking the same again says nothing new"
    assert paired_margin(np.repeat(right, 2), np.repeat(uncut, 2), np.arange(100)) == pytest.approx(
        single / 2**0.5
    )
    # a picture without questions, too
    uneven = paired_margin(np.array([0.0, 1, 1, 1]), np.ones(4), np.array([1, 1, 2, 2]))
    assert uneven == pytest.approx(196 * (2 * 0.5**2) ** 0.5 / 4)
