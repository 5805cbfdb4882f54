"""Seconds on the air: against values that others published."""

from __future__ import annotations

import pytest

from codec.link.airtime import lora_airtime_s, sigfox_airtime_s


@pytest.mark.parametrize(
    ("spreading_factor", "airtime_ms"),
    [(7, 61.696), (8, 113.152), (9, 205.824), (10, 370.688), (11, 823.296), (12, 1482.752)],
)
def test_a_lorawan_uplink_of_ten_bytes_takes_the_published_airtime(
    spreading_factor: int, airtime_ms: float
) -> None:
    """23 bytes on the air at 125 kHz: what Semtech's and The Things Network's calculators say."""
    assert 1000 * lora_airtime_s(23, spreading_factor) == pytest.approx(airtime_ms)


def test_the_low_data_rate_is_that_of_the_symbols_length() -> None:
    # SF12 at 250 kHz has symbols of 16.4 ms, at 500 kHz of 8.2 ms
    assert 1000 * lora_airtime_s(23, 12, 250_000) == pytest.approx(1482.752 / 2)
    assert lora_airtime_s(23, 12, 500_000) < lora_airtime_s(23, 12, 250_000) / 2
    assert 1000 * lora_airtime_s(255, 7, 125_000) == pytest.approx(399.616)


def test_a_stronger_code_takes_longer() -> None:
    times = [lora_airtime_s(40, 9, coding_rate=rate) for rate in (1, 2, 3, 4)]
    assert times == sorted(set(times))


def test_a_full_sigfox_message_is_six_seconds_on_the_air() -> None:
    assert sigfox_airtime_s(12) == pytest.approx(6.24)
    assert sigfox_airtime_s(9) == sigfox_airtime_s(12) > sigfox_airtime_s(8)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((23, 6), "spreading factor"),
        ((23, 13), "spreading factor"),
        ((23, 7, 100_000), "bandwidth"),
        ((23, 7, 125_000, 0), "coding rate"),
        ((256, 7), "0 to 255"),
        ((-1, 7), "0 to 255"),
    ],
)
def test_what_no_radio_does_is_refused(arguments: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        lora_airtime_s(*arguments)


def test_a_sigfox_message_has_twelve_bytes_at_most() -> None:
    with pytest.raises(ValueError, match="0 to 12"):
        sigfox_airtime_s(13)
