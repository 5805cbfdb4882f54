"""What is learned of a link from its traffic."""

from __future__ import annotations

import math

import pytest

from codec.link.estimate import Estimate, LinkState


def fed(rate: float, trip_s: float, bodies: list[int], start_s: float = 0.0) -> Estimate:
    """An estimate after exchanges over a link of a known rate, one a second."""
    estimate = Estimate()
    for n, body in enumerate(bodies):
        seconds = trip_s + (body + 400) / rate
        estimate.add(body, 400, seconds, start_s + n * max(1.0, seconds))
    return estimate


@pytest.mark.parametrize("rate", [30.0, 1e3, 30e3, 1e6])
@pytest.mark.parametrize("trip_s", [0.005, 0.05, 0.5])
def test_an_exchange_like_those_before_is_predicted(rate: float, trip_s: float) -> None:
    state = fed(rate, trip_s, [290, 1500, 290, 1500, 290, 1500]).state(10.0)
    for body in (290, 1500):
        assert state.network_s(body, 400) == pytest.approx(trip_s + (body + 400) / rate, rel=0.4)


def test_large_and_small_exchanges_together_tell_the_rate() -> None:
    state = fed(20e3, 0.05, [300, 6000] * 5).state(10.0)
    assert state.bytes_per_s_up == pytest.approx(20e3, rel=0.3)
    assert state.round_trip_s == pytest.approx(0.05, rel=0.4)


def test_one_outlier_moves_little_and_a_change_moves_it_for_good() -> None:
    bodies = [300, 3000] * 4
    estimate = fed(50e3, 0.03, bodies)
    usual = estimate.state(8.0).network_s(3000, 400)
    estimate.add(3000, 400, 100 * usual, 8.5)
    assert estimate.state(8.5).network_s(3000, 400) < 2.5 * usual
    for n in range(5):
        estimate.add(3000, 400, 100 * usual, 9.0 + 12 * n)
    assert estimate.state(70.0).network_s(3000, 400) == pytest.approx(100 * usual, rel=0.25)


def test_what_is_known_ages_out() -> None:
    estimate = fed(100.0, 0.05, [300, 3000] * 4)
    end_s = 300.0
    now = estimate.state(240.0)
    later = estimate.state(end_s + 3600)
    assert now.bytes_per_s_up < 200
    assert later.bytes_per_s_up == pytest.approx(Estimate().state(0.0).bytes_per_s_up, rel=1e-6)
    assert later.age_s > 3600


def test_asking_changes_nothing() -> None:
    estimate = fed(1e4, 0.05, [300, 900])
    assert estimate.state(900.0) != estimate.state(3.0)
    assert estimate.state(3.0) == fed(1e4, 0.05, [300, 900]).state(3.0)


def test_losses_are_counted_and_forgotten() -> None:
    estimate = fed(1e5, 0.05, [300] * 4)
    assert estimate.state(4.0).loss == 0
    for n in range(4):
        estimate.failed(5.0 + n)
    assert 0.5 < estimate.state(9.0).loss < 1
    for n in range(8):
        estimate.add(300, 400, 0.06, 10.0 + n)
    assert estimate.state(18.0).loss < 0.1


def test_a_clock_that_goes_back_forgets_nothing() -> None:
    estimate = fed(100.0, 0.05, [300, 3000] * 4, start_s=1e6)
    before = estimate.state(1e6 + 400)
    assert estimate.state(0.0).bytes_per_s_up <= before.bytes_per_s_up
    estimate.add(300, 400, 7.05, 0.0)
    assert estimate.state(0.0).age_s == 0
    assert estimate.state(0.0).bytes_per_s_up == pytest.approx(100, rel=0.5)


def test_nothing_sent_yet_says_so_and_impossible_values_are_refused() -> None:
    estimate = Estimate()
    assert estimate.state(5.0).age_s == math.inf
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="seconds"):
            estimate.add(1, 1, wrong, 0.0)
    with pytest.raises(ValueError, match="time"):
        estimate.failed(math.nan)


def test_a_lost_exchange_is_tried_again() -> None:
    state = LinkState(1000.0, 0.5, 0.5, 0.0, 1000.0)
    assert state.network_s(250, 250) == pytest.approx(2 * (0.5 + 0.5))


def test_the_last_three_exchanges_of_a_size_decide() -> None:
    estimate = fed(50e3, 0.03, [300] * 50)
    for n in range(3):
        estimate.add(300, 400, 0.6, 51.0 + n)
    assert estimate.state(53.0).network_s(300, 400) == pytest.approx(0.6, rel=0.25)
