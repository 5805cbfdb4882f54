"""Traces replayed by fixed ways, the policy and the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from codec.link.policy import ALONE, Way
from codec.link.replay import Setting, replay
from codec.link.traces import SYNTHETIC, Trace, fixed, with_outages
from codec.link.ways import Measured, Stages

STAGES = Stages(round_trip_ms=20, packet_bytes=0)
BLOB = Measured(Way("blob q1", 290, 400, 40, 5, 90.0), 40, 40)
PICTURE = Measured(Way("picture:webp q50", 1250, 400, 4, 6, 90.0), 1000, 1000)
COARSE = Measured(Way("blob q0", 260, 400, 40, 5, 80.0), 10, 10)
WAYS = [BLOB, PICTURE, COARSE]


def test_a_request_is_device_bytes_round_trip_server_and_reply() -> None:
    found = replay(fixed(10e3), WAYS, STAGES, Setting(n_requests=5))
    blob, picture, _ = found.fixed
    assert blob.latency_ms == pytest.approx(40 + 29 + 20 + 5 + 40)
    assert picture.latency_ms == pytest.approx(4 + 125 + 20 + 6 + 40)
    assert blob.n_bytes == pytest.approx(690)


@pytest.mark.parametrize("rate", [*SYNTHETIC, 5e3, 20e3, 60e3])
def test_the_policy_is_as_quick_as_the_best_fixed_way(rate: float) -> None:
    """Also at 27 KB/s and near it, where blob and picture take the same time."""
    found = replay(fixed(rate), WAYS, STAGES, Setting(200, every_s=max(1.0, 2000 / rate)))
    assert found.policy.median_ms <= 1.05 * found.best_fixed.median_ms + 2
    assert found.policy.mean_score == 90
    assert found.policy.regret(found.oracle) < 0.05


def test_the_policy_follows_a_rate_that_changes() -> None:
    slow_fast = Trace("slow, fast", (0.0, 100.0), (2e3, 2e6), 200.0)
    found = replay(slow_fast, WAYS, STAGES, Setting(600))
    assert found.policy.ways["blob q1"] > 200
    assert found.policy.ways["picture:webp q50"] > 200
    regret = found.policy.regret(found.oracle)
    assert regret < 0.03 < min(one.regret(found.oracle) for one in found.fixed)


def test_the_oracle_is_never_behind_and_regret_is_never_negative() -> None:
    for trace in (fixed(300.0), with_outages(20e3)):
        found = replay(trace, WAYS, STAGES, Setting(100))
        for one in (found.policy, *found.fixed[:2]):
            assert np.all(one.latency_ms >= found.oracle.latency_ms)
            assert one.regret(found.oracle) >= 0


def test_with_a_deadline_the_oracle_takes_score_before_time() -> None:
    found = replay(fixed(1e3), [BLOB, COARSE], STAGES, Setting(50, 2.0, deadline_ms=740))
    assert set(found.oracle.ways) == {"blob q0"}  # 725 ms; the better blob takes 755
    assert found.oracle.score_by(740) == 80
    found = replay(fixed(1e3), [BLOB, COARSE], STAGES, Setting(50, 2.0, deadline_ms=1000))
    assert set(found.oracle.ways) == {"blob q1"}
    found = replay(fixed(1e3), [BLOB, COARSE], STAGES, Setting(50, 2.0, deadline_ms=10))
    assert set(found.oracle.ways) == {"blob q0"}
    assert found.oracle.score_by(10) == 0


def test_a_dead_link_ends_and_the_device_alone_takes_over() -> None:
    alone = Measured(Way(ALONE, 0, 0, 300, 0, 90.0), 0, 0)
    setting = Setting(100, timeout_s=5)
    found = replay(fixed(0.0), WAYS, STAGES, setting)
    assert found.policy.failed.all()
    assert found.policy.latency_ms == pytest.approx(5000)
    assert found.policy.mean_score == 0
    found = replay(fixed(0.0), [*WAYS, alone], STAGES, setting)
    assert found.policy.ways[ALONE] > 80
    assert found.oracle.latency_ms == pytest.approx(300)


def test_a_replay_says_the_same_twice_and_is_bounded() -> None:
    once, again = (replay(with_outages(1e4), WAYS, STAGES, Setting(50)) for _ in range(2))
    assert np.array_equal(once.policy.latency_ms, again.policy.latency_ms)
    with pytest.raises(ValueError, match="20000"):
        Setting(n_requests=20_001)
    with pytest.raises(ValueError, match="above 0"):
        Setting(every_s=0)
    with pytest.raises(ValueError, match="no way"):
        replay(fixed(1.0), [], STAGES, Setting())


def test_the_policy_learns_of_an_exchange_only_when_it_has_ended() -> None:
    quick = replay(fixed(10e6), WAYS, STAGES, Setting(20, every_s=0.001))
    assert quick.policy.ways == {"blob q1": 20}  # all were asked before the first had answered
    slow = replay(fixed(10e6), WAYS, STAGES, Setting(20, every_s=1.0))
    assert slow.policy.ways == {"blob q1": 1, "picture:webp q50": 19}


def test_packets_take_time_too() -> None:
    """A message is at least two packets, its headers and its body, and more of a long one."""
    around = replay(fixed(1e4), WAYS[:1], Stages(packet_bytes=50), Setting(5)).fixed[0]
    without = replay(fixed(1e4), WAYS[:1], STAGES, Setting(5)).fixed[0]
    assert around.latency_ms - without.latency_ms == pytest.approx(20)  # 4 of 50 bytes at 10 KB/s
    assert Stages(packet_bytes=50).on_link(np.array(3000.0)) == 3000 + 4 * 50
