"""message of a LoRaWAN network server -> the frame in it, and what is known of how it came.

The Things Stack v3 publishes `v3/APPLICATION@TENANT/devices/DEVICE/up` (The Things Stack: Data
Formats, Uplink Messages; MQTT Server), ChirpStack v4 `application/ID/device/DEVEUI/event/up`
(ChirpStack: Integrations, Event types; integration.proto, UplinkEvent). Both are JSON; members that
are 0, false or empty may be missing.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from codec.link.airtime import LORAWAN_OVERHEAD_BYTES, lora_airtime_s
from codec.link.profiles import profile

THINGS_STACK, CHIRPSTACK = "the-things-stack", "chirpstack"
FILTERS = ("v3/+/devices/+/up", "application/+/device/+/event/up")
"""What a server subscribes to."""
MAX_COUNTER = (1 << 32) - 1
_TOPICS = {
    THINGS_STACK: re.compile(r"v3/([^/]{1,200})/devices/([^/]{1,64})/up"),
    CHIRPSTACK: re.compile(r"application/([^/]{1,200})/device/([^/]{1,64})/event/up"),
}
_EU868 = profile("lorawan-eu868-sf12").airtime_budget_s


@dataclass(frozen=True)
class Uplink:
    """A frame that a device sent.

    Attributes:
        network: `THINGS_STACK` or `CHIRPSTACK`.
        application, device: as the topic names them: the broker's rules guard topics, not JSON.
        session: another one after each join: the session key's id, or the device's address.
        counter: of the frame, in the session.
        port: LoRaWAN's FPort.
        frame: the application's payload; empty where the frame carried MAC commands alone.
        at_s: when the network received it, in seconds since 1970; None where it does not say.
        airtime_s: that it took; None where the network does not say how it was sent.
        budget_s: seconds a day that such a device may be on the air; None where nothing says so.
    """

    network: str
    application: str
    device: str
    session: str
    counter: int
    port: int
    frame: bytes
    at_s: float | None
    airtime_s: float | None
    budget_s: float | None

    @property
    def n_bytes(self) -> int:
        """On the air, with LoRaWAN's own but without MAC commands."""
        return len(self.frame) + LORAWAN_OVERHEAD_BYTES

    @property
    def address(self) -> Address:
        """Whose it is."""
        return Address(self.network, self.application, self.device)

    @property
    def name(self) -> str:
        """See `Address`."""
        return self.address.name

    @property
    def owner(self) -> str:
        """See `Address`."""
        return self.address.owner


class Address(NamedTuple):
    """Of a device of LoRaWAN among all of them."""

    network: str
    application: str
    device: str

    @property
    def owner(self) -> str:
        """Its application, which owns its devices as a token does."""
        return f"{self.network}:{self.application}"

    @property
    def name(self) -> str:
        """Its own. No device of HTTP or MQTT has a colon in its name."""
        return f"{self.owner}:{self.device}"


def addressed(topic: str) -> Address:
    """Whose uplinks a topic is for.

    Raises:
        ValueError: it is no topic of uplinks.
    """
    for network, form in _TOPICS.items():
        if (found := form.fullmatch(topic)) is not None:
            return Address(network, found[1], found[2])
    raise ValueError(f"{topic} is no topic of uplinks")


def read_uplink(topic: str, message: bytes) -> Uplink:
    """A network server's message -> the uplink in it.

    Raises:
        ValueError: the message is not of that form, or another event; it says what is wrong.
    """
    network, application, device = addressed(topic)
    try:
        said = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise ValueError("the uplink is no JSON") from error
    if not isinstance(said, dict):
        raise ValueError("the uplink is no JSON object")
    if network == THINGS_STACK:
        inner, received = _member(said, "uplink_message"), said.get("received_at")
        names = ("f_cnt", "f_port", "frm_payload")
        session = inner.get("session_key_id") or _member(said, "end_device_ids").get("dev_addr")
        settings = inner.get("settings")
        rate, frequency = _inside(settings, "data_rate", "lora"), _inside(settings, "frequency")
        factor, received = "spreading_factor", inner.get("received_at") or received
    else:
        inner, received = said, said.get("time")
        names, session = ("fCnt", "fPort", "data"), said.get("devAddr")
        sent = said.get("txInfo")
        rate, frequency = _inside(sent, "modulation", "lora"), _inside(sent, "frequency")
        factor = "spreadingFactor"
    counter, port = _number(inner, names[0], MAX_COUNTER), _number(inner, names[1], 255)
    if not isinstance(session, str) or not 1 <= len(session) <= 64 or not session.isprintable():
        raise ValueError("the uplink names no session and no device address")
    frame = _frame(inner, names[2])
    airtime_s = _airtime_s(len(frame), _inside(rate, factor), _inside(rate, "bandwidth"))
    at_s, budget_s = _seconds(received), _budget_s(frequency)
    return Uplink(
        network, application, device, session, counter, port, frame, at_s, airtime_s, budget_s
    )


def _member(said: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = said.get(name)
    if not isinstance(found, dict):
        raise ValueError(f"the uplink has no object {name}")
    return found


def _inside(value: Any, *names: str) -> Any:
    """A member of a member; None where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _number(said: Mapping[str, Any], name: str, most: int) -> int:
    found = said.get(name, 0)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= most:
        raise ValueError(f"the uplink's {name} is not a number from 0 to {most}")
    return found


def _frame(said: Mapping[str, Any], name: str) -> bytes:
    coded = said.get(name, "")
    if not isinstance(coded, str):
        raise ValueError(f"the uplink's {name} is no text")
    try:
        return base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the uplink's {name} is not base64") from error


def _seconds(text: Any) -> float | None:
    """A time of RFC 3339, of up to nanoseconds, in seconds since 1970."""
    if not isinstance(text, str):
        return None
    shorter = re.sub(r"(\.\d{1,6})\d*", r"\1", text.replace("Z", "+00:00"))
    shorter = re.sub(r"\.\d{1,5}(?!\d)", lambda part: part[0].ljust(7, "0"), shorter)
    try:
        return datetime.fromisoformat(shorter).timestamp()
    except (ValueError, OverflowError):
        return None


def _airtime_s(n_bytes: int, spreading_factor: Any, bandwidth_hz: Any) -> float | None:
    """Seconds on the air, with LoRaWAN's own bytes but without MAC commands, and coding rate 4/5 as
    all of LoRaWAN's uplinks have; None where the network does not say how the frame was sent.
    """
    if not isinstance(spreading_factor, int) or not isinstance(bandwidth_hz, int):
        return None
    try:
        return lora_airtime_s(n_bytes + LORAWAN_OVERHEAD_BYTES, spreading_factor, bandwidth_hz)
    except ValueError:
        return None


def _budget_s(frequency_hz: Any) -> float | None:
    """Seconds a day, of the band that a frequency is in: EU863-870; other bands have no budget."""
    try:
        frequency_hz = int(frequency_hz)  # The Things Stack writes it as text
    except (TypeError, ValueError, OverflowError):
        return None
    return _EU868 if 863_000_000 <= frequency_hz <= 870_000_000 else None
