"""The Bjontegaard delta rate over scores."""

from __future__ import annotations

import pytest

from eval.measuring.bd_rate import bd_rate

CURVE = [(10.0, 60.0), (20.0, 70.0), (40.0, 75.0)]


def test_half_the_bytes_at_every_score_is_minus_fifty_percent() -> None:
    found = bd_rate([(n / 2, score) for n, score in CURVE], CURVE)
    assert found is not None
    assert found.percent == pytest.approx(-50)
    assert (found.low, found.high) == (60, 75)


def test_only_scores_that_both_reach_count() -> None:
    found = bd_rate([(10.0, 70.0), (20.0, 80.0)], CURVE)
    assert found is not None
    assert (found.low, found.high) == (70, 75)
    assert found.percent < -50


def test_points_that_others_better_do_not_count() -> None:
    worse = [*CURVE, (30.0, 65.0), (15.0, 59.0)]
    assert bd_rate(worse, CURVE) == bd_rate(CURVE, CURVE)


def test_curves_without_a_common_score_have_none() -> None:
    assert bd_rate([(10.0, 10.0), (20.0, 20.0)], CURVE) is None
