"""The way that is taken, by the link, the deadline and the last way."""

from __future__ import annotations

import pytest

from codec.link.estimate import LinkState
from codec.link.policy import Way, choose, predicted_ms

PICTURE = Way("picture:webp@224 q50", 8250, 400, 4, 10, 90.1)
BLOB = Way("blob q5", 290, 400, 30, 8, 90.0)
SMALL = Way("blob q0", 260, 400, 30, 8, 85.0)
ALONE = Way("device alone", 0, 0, 60, 0, 70.0)
WAYS = [PICTURE, BLOB, SMALL, ALONE]


def link(rate: float, loss: float = 0.0) -> LinkState:
    return LinkState(rate, 0.02, loss, 1.0, rate)


def test_without_a_deadline_the_fastest_near_the_best_score_is_taken() -> None:
    assert choose(WAYS, link(10e6)).way == PICTURE
    assert choose(WAYS, link(30e3)).way == BLOB
    assert choose(WAYS, link(30)).way == BLOB  # the small one loses 5 points


def test_a_tolerance_says_what_may_be_given_up_for_speed() -> None:
    assert choose(WAYS, link(30), tolerance=6).way == SMALL
    assert choose(WAYS, link(30), tolerance=100).way == ALONE
    assert choose(WAYS, link(30), tolerance=0).way == PICTURE


def test_a_deadline_takes_the_best_score_that_keeps_to_it() -> None:
    assert choose(WAYS, link(30e3), 1000, tolerance=0).way == PICTURE
    assert choose(WAYS, link(30e3), 100).way == BLOB
    assert choose(WAYS, link(100), 6700).way == SMALL
    assert choose(WAYS, link(100), 100).way == ALONE


def test_where_no_way_keeps_to_the_deadline_the_fastest_is_taken() -> None:
    found = choose(WAYS, link(100), 10)
    assert found.way == ALONE
    assert "no way answers by 10 ms" in found.why
    assert choose([PICTURE, SMALL], link(100), 10).way == SMALL


def test_a_price_of_bytes_moves_the_choice() -> None:
    assert choose(WAYS, link(10e6)).way == PICTURE
    assert choose(WAYS, link(10e6), ms_per_byte=0.01).way == BLOB


def test_losses_favour_what_needs_no_link() -> None:
    ways = [BLOB, Way("device alone", 0, 0, 120, 0, 90.0)]
    assert choose(ways, link(30e3)).way == BLOB
    assert choose(ways, link(30e3, loss=0.9)).way == ways[1]


def test_the_last_way_stays_where_another_gains_little() -> None:
    other = Way("blob q6", 290, 400, 30.2, 8, 90.0)
    assert choose([BLOB, other], link(30e3)).way == BLOB
    found = choose([BLOB, other], link(30e3), last=other)
    assert found.way == other
    assert "blob q5 gains little" in found.why
    assert choose(WAYS, link(30), last=PICTURE).way == BLOB
    assert choose([BLOB, SMALL], link(30e3), last=SMALL).way == BLOB  # it loses points
    assert choose([BLOB], link(30e3), last=other).way == BLOB  # it is there no more


def test_why_names_way_time_link_and_reason() -> None:
    why = choose(WAYS, link(30e3), 500).why
    parts = ("blob q5: 81", "30 KB/s", "20 ms round trip", "90.10", "by 500 ms", "2 within 0.2")
    assert all(part in why for part in parts), why
    assert "lost" in choose(WAYS, link(30e3, loss=0.2)).why
    assert "nothing is sent" in choose([ALONE], link(30e3)).why
    unknown = LinkState(1e4, 0.1, 0.0, float("inf"), 1e4)
    assert "nothing was sent yet" in choose(WAYS, unknown).why


def test_the_prediction_is_the_sum_of_its_stages() -> None:
    assert predicted_ms(BLOB, link(1000)) == pytest.approx(38 + 20 + 690)
    assert predicted_ms(ALONE, link(1000)) == 60


def test_no_ways_and_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="no way"):
        choose([], link(1))
    for wrong in (-1.0, float("nan"), float("inf")):
        for name in ("deadline_ms", "tolerance", "ms_per_byte"):
            with pytest.raises(ValueError, match="from 0"):
                choose(WAYS, link(1), **{name: wrong})
