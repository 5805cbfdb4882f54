"""Bytes at a loss, interpolated."""

from __future__ import annotations

import pytest

from eval.measuring.rates import Rate, least, rate_at, times_as_many, value_at


def test_bytes_at_a_drop_are_interpolated_on_a_log_scale() -> None:
    curve = [(100, 1.0), (400, 0.0)]
    assert rate_at(curve, 0.5).n_bytes == pytest.approx(200)
    assert rate_at(curve, 0.5).bound == ""
    assert rate_at(curve, 2) == (100, "<=")
    assert rate_at(curve, -1) == (400, ">")
    noisy = [(50, 0.4), (100, 0.6), (200, 0.5), (400, 0.1)]
    assert 100 <= rate_at(noisy, 0.5).n_bytes <= 200


def test_a_value_at_some_bytes_is_interpolated_on_a_log_scale_and_stops_at_the_ends() -> None:
    curve = [(400, 90.0), (100, 80.0)]
    assert value_at(curve, 200) == pytest.approx(85)
    assert (value_at(curve, 10), value_at(curve, 1000)) == (80, 90)


def test_the_best_of_several_rates_is_the_least_that_reaches_the_loss() -> None:
    never, bound, at = Rate(5, ">"), Rate(30, "<="), Rate(20, "")
    assert least([never, bound, at]) == at
    assert least([never, bound]) == bound
    assert least([never, Rate(7, ">")]) == Rate(7, ">")


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        (Rate(30, ""), Rate(10, ""), "3.0 times as many"),
        (Rate(30, ">"), Rate(10, ""), "more than 3.0 times as many"),
        (Rate(30, ">"), Rate(10, "<="), "more than 3.0 times as many"),
        (Rate(30, ""), Rate(10, "<="), "at least 3.0 times as many"),
        (Rate(30, "<="), Rate(10, ""), "at most 3.0 times as many"),
        (Rate(30, "<="), Rate(10, "<="), "no ratio, as the measured qualities lie all on one side"),
        (Rate(30, ""), Rate(10, ">"), "no ratio, as the measured qualities lie all on one side"),
    ],
)
def test_a_ratio_of_bounds_says_what_it_is_a_bound_of(theirs: Rate, ours: Rate, said: str) -> None:
    assert times_as_many(theirs, ours) == said
