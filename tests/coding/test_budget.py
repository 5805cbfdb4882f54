"""What a caller asks for -> qualities, and the refusals in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from codec.coding.budget import (
    best_that_fits,
    check_budget,
    check_quality,
    check_rate,
    chosen_quality,
)


def test_qualities_are_integers_of_python_or_numpy() -> None:
    assert [check_quality(q, 3) for q in (0, np.int64(2), np.uint8(1))] == [0, 2, 1]
    assert type(check_quality(np.int64(2), 3)) is int


@pytest.mark.parametrize("wrong", [3, -1, 1.0, "1", True, np.float32(1), [1], None])
def test_another_quality_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"is not an integer in 0\.\.2"):
        check_quality(wrong, 3)


def test_the_default_is_for_who_asks_for_nothing() -> None:
    assert chosen_quality(None, None, (), 2, 3) == 2
    assert chosen_quality(0, None, (), 2, 3) == 0


def test_a_drop_gives_the_smallest_quality_that_keeps_to_it() -> None:
    drops = (9.0, 0.5, 0.75, -0.1)
    for asked, quality in ((10, 0), (9.0, 0), (8.9, 1), (0.5, 1), (0, 3), (-0.1, 3)):
        assert chosen_quality(None, asked, drops, 2, 4) == quality


@pytest.mark.parametrize(
    ("drop", "drops", "named"),
    [
        (True, (1.0,), "target_drop True is not a number of points"),
        ("1", (1.0,), "target_drop '1' is not a number"),
        (float("nan"), (1.0,), "target_drop nan is not a number"),
        (1, (), "carries no calibration: choose a quality, or max_bytes"),
        (0.25, (3.0, 0.5), "at most 0.25 points; the least is 0.50, at quality 1"),
    ],
)
def test_a_drop_that_cannot_be_kept_to_is_refused(drop: Any, drops: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        chosen_quality(None, drop, drops, 0, len(drops) or 1)


def test_the_rate_is_given_once() -> None:
    for rate in ((1, None, None), (None, 9, None), (None, None, 0.0), (None, None, None)):
        check_rate(*rate)
    for rate in ((1, 9, None), (0, None, 0.0), (None, 1, 1), (1, 1, 1)):
        with pytest.raises(ValueError, match="each set the rate: give one of them"):
            check_rate(*rate)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "9", True, None])
def test_a_budget_is_a_positive_number_of_bytes(wrong: Any) -> None:
    assert check_budget(np.int16(9)) == 9
    with pytest.raises(ValueError, match="is not a positive number of bytes"):
        check_budget(wrong)


SIZES = ((5, 8, 13), (9, 7, 20), (2, 3, 4))
"""Of three pictures' blobs, by quality; the second one's smallest is not its coarsest."""


def write(quality: int, places: list[int]) -> list[bytes]:
    return [bytes(SIZES[i][quality]) for i in places]


def test_each_picture_gets_the_best_quality_that_fits_and_is_coded_no_further() -> None:
    asked = []

    def noted(quality: int, places: list[int]) -> list[bytes]:
        asked.append((quality, places))
        return write(quality, places)

    assert list(map(len, best_that_fits(noted, 3, range(3), 13))) == [13, 7, 4]
    assert asked == [(2, [0, 1, 2]), (1, [1])]
    assert best_that_fits(write, 0, range(3), 5) == []


def test_a_budget_that_nothing_fits_says_which_picture_and_what_it_takes() -> None:
    with pytest.raises(ValueError, match="into 6 bytes: image 2 of 3 takes at least 7"):
        best_that_fits(write, 3, range(3), 6)
    with pytest.raises(ValueError, match="into 4 bytes: this image takes at least 5"):
        best_that_fits(write, 1, range(3), 4)
