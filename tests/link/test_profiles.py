"""Links: what an answer takes on each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from codec.link.profiles import DAY_S, PROFILES, Profile, profile, sending


def test_an_answer_of_44_bytes_goes_eleven_times_a_day_over_the_slowest_lorawan() -> None:
    found = sending(profile("lorawan-eu868-sf12"), 44)
    assert found.n_frames == 1
    assert found.airtime_s == pytest.approx(2.6296, abs=1e-4)
    assert found.answers_a_day == pytest.approx(30 / 2.6296, abs=1e-3)


def test_a_picture_of_851_bytes_takes_17_frames_there() -> None:
    found = sending(profile("lorawan-eu868-sf12"), 851)
    assert found.n_frames == 17
    assert found.airtime_s == pytest.approx(47, abs=1)
    assert found.answers_a_day is not None
    assert found.answers_a_day < 1


def test_the_duty_cycle_binds_where_there_is_no_fair_use() -> None:
    link = Profile("own", "own", 51, "a network of one's own", 12, duty_cycle=0.01)
    found = sending(link, 44)
    assert found.airtime_s is not None
    assert found.answers_a_day == pytest.approx(0.01 * DAY_S / found.airtime_s)


def test_sigfox_allows_140_messages_a_day() -> None:
    assert sending(profile("sigfox"), 12).answers_a_day == 140
    assert sending(profile("sigfox"), 13).answers_a_day == 70


def test_iridium_is_billed_in_steps_of_fifty_bytes() -> None:
    link = profile("iridium-sbd")
    assert [sending(link, n).n_billed_bytes for n in (1, 50, 51, 340)] == [50, 50, 100, 350]
    assert sending(link, 50).answers_a_day is None
    assert sending(link, 50).airtime_s is None
    assert sending(link, 341).n_billed_bytes == 350 + 50


def test_a_message_that_gets_lost_is_sent_again_until_it_arrives() -> None:
    for name in ("lorawan-eu868-sf12", "sigfox", "iridium-sbd"):
        link = profile(name)
        whole, lossy = (
            sending(one, 2 * link.max_payload_bytes) for one in (link, replace(link, loss=0.2))
        )
        assert (whole.n_sent, lossy.n_frames, lossy.n_sent) == (2, 2, 2.5)
        for quantity in ("airtime_s", "n_billed_bytes"):
            before, after = getattr(whole, quantity), getattr(lossy, quantity)
            assert after == (None if before is None else pytest.approx(before / 0.8))
        if whole.answers_a_day is not None:
            assert lossy.answers_a_day == pytest.approx(0.8 * whole.answers_a_day)
        assert (whole.arrives_at_once, lossy.arrives_at_once) == (None, pytest.approx(0.64))


def test_no_profile_claims_a_loss_without_a_source() -> None:
    assert {link.loss for link in PROFILES.values()} == {None}


@pytest.mark.parametrize("loss", [-0.1, 1.0, float("nan")])
def test_a_loss_is_a_share_of_messages_of_which_some_arrive(loss: float) -> None:
    with pytest.raises(ValueError, match="a share from 0 to below 1"):
        replace(profile("sms"), loss=loss)


@pytest.mark.parametrize("link", PROFILES.values(), ids=lambda link: link.name)
def test_a_full_message_goes_and_one_byte_more_is_a_second_frame(link: Profile) -> None:
    most = link.max_payload_bytes
    assert sending(link, most).n_frames == 1
    assert sending(link, most + 1).n_frames == 2
    with pytest.raises(ValueError, match=f"0 to {most} bytes"):
        link.airtime_s(most + 1)


def test_a_message_in_north_america_keeps_to_the_dwell_time() -> None:
    for link in PROFILES.values():
        if link.name.startswith("lorawan-us915"):
            airtime = link.airtime_s(link.max_payload_bytes)
            assert airtime is not None
            assert airtime <= 0.4


def test_an_unknown_link_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"lorawan-eu868-sf12, lorawan-eu868-sf11.*sigfox"):
        profile("lorawan")
    with pytest.raises(ValueError, match="at least one byte"):
        sending(profile("sms"), 0)
