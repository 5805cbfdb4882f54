"""What network servers publish, in the documented form: The Things Stack's Data Formats page and
ChirpStack's Event types. The samples were written for these tests after those pages.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from codec.link.airtime import lora_airtime_s
from codec.link.uplinks import CHIRPSTACK, THINGS_STACK, addressed, read_uplink

HERE = Path(__file__).parent / "uplinks"
TOPICS = {
    THINGS_STACK: "v3/gates@ttn/devices/camera-7/up",
    CHIRPSTACK: "application/17c82e96-be03-4f38-aef3-f83d48582d97/device/0101010101010101/event/up",
}


def sample(network: str) -> Any:
    name = {THINGS_STACK: "things_stack", CHIRPSTACK: "chirpstack"}[network]
    return json.loads((HERE / f"{name}.json").read_text())


def read(network: str, message: Any) -> Any:
    return read_uplink(TOPICS[network], json.dumps(message).encode())


@pytest.mark.parametrize("network", TOPICS)
def test_both_networks_say_the_same_of_the_same_frame(network: str) -> None:
    found = read(network, sample(network))
    assert found.frame == bytes([0x21, 5, 6, 7, 8])
    assert (found.counter, found.port) == (12, 1)
    assert found.at_s == pytest.approx(1795773600.201234)
    assert found.airtime_s == lora_airtime_s(13 + 5, 12)
    assert found.budget_s == 30.0
    assert addressed(TOPICS[network]) == (found.network, found.application, found.device)


def test_devices_are_named_by_the_topic_and_sessions_by_the_network() -> None:
    found = read(THINGS_STACK, sample(THINGS_STACK))
    assert found.name == "the-things-stack:gates@ttn:camera-7"
    assert found.session == "AZq3wSbNWk4b9cHcRRkaBA=="
    other = read(CHIRPSTACK, sample(CHIRPSTACK))
    assert other.name.endswith(":0101010101010101")
    assert other.session == "00189440"


def test_members_that_are_zero_may_be_missing() -> None:
    said = sample(THINGS_STACK)
    del said["uplink_message"]["f_cnt"]
    assert read(THINGS_STACK, said).counter == 0


def test_without_settings_there_is_no_airtime_and_outside_europe_no_budget() -> None:
    said = sample(CHIRPSTACK)
    said["txInfo"]["frequency"] = 904_300_000
    assert read(CHIRPSTACK, said).budget_s is None
    said["txInfo"]["frequency"] = float("inf")  # as JSON's 1e999 is read
    assert read(CHIRPSTACK, said).budget_s is None
    said["txInfo"]["modulation"] = {"fsk": {"frequencyDeviation": 25000}}
    assert read(CHIRPSTACK, said).airtime_s is None
    del said["txInfo"], said["time"]
    assert (read(CHIRPSTACK, said).airtime_s, read(CHIRPSTACK, said).at_s) == (None, None)


def test_a_frame_that_carries_nothing_was_on_the_air_too() -> None:
    said = sample(CHIRPSTACK)
    for empty in (said | {"data": ""}, {name: said[name] for name in said if name != "data"}):
        found = read(CHIRPSTACK, empty)
        assert (found.frame, found.airtime_s) == (b"", lora_airtime_s(13, 12))


BAD = [
    (lambda up: up.update(data="!"), "not base64"),
    (lambda up: up.update(data=7), "no text"),
    (lambda up: up.update(fCnt=-1), "fCnt is not a number"),
    (lambda up: up.update(fCnt=True), "fCnt is not a number"),
    (lambda up: up.update(fCnt=1 << 32), "fCnt is not a number"),
    (lambda up: up.update(fPort="1"), "fPort is not a number"),
    (lambda up: up.pop("devAddr"), "no session"),
    (lambda up: up.update(devAddr=["x"]), "no session"),
    (lambda up: up.update(devAddr="\ud800"), "no session"),
]


@pytest.mark.parametrize(("spoil", "reason"), BAD)
def test_what_is_no_uplink_is_refused_with_its_reason(spoil: Any, reason: str) -> None:
    said = copy.deepcopy(sample(CHIRPSTACK))
    spoil(said)
    with pytest.raises(ValueError, match=reason):
        read(CHIRPSTACK, said)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "no object uplink_message"),
        (b'{"join_accept": {}}', "no object uplink_message"),
        (b'{"uplink_message": 7}', "no object uplink_message"),
    ],
)
def test_other_messages_are_refused(message: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_uplink(TOPICS[THINGS_STACK], message)


@pytest.mark.parametrize("text", ["2026-11-27", "yesterday", 7, "9999-99-99T00:00:00Z", {}])
def test_a_time_that_is_none_is_left_out(text: Any) -> None:
    said = sample(CHIRPSTACK) | {"time": text}
    found = read(CHIRPSTACK, said).at_s
    assert found is None or text == "2026-11-27"
