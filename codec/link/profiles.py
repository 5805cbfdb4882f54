"""bytes of an answer -> frames, seconds on the air and answers a day, by the link that carries
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from codec.link.airtime import LORAWAN_OVERHEAD_BYTES, lora_airtime_s, sigfox_airtime_s

DAY_S = 86_400


@dataclass(frozen=True)
class Profile:
    """A link that carries small messages, and what it allows.

    Attributes:
        name: what `profile` takes.
        title: for people.
        max_payload_bytes: the most bytes of one message.
        source: where the limits are from.
        spreading_factor, bandwidth_hz: of LoRa; None of other links.
        sigfox: whether a message takes Sigfox's airtime.
        duty_cycle: the share of the time that a device may be on the air, None for no limit.
        airtime_a_day_s: seconds a day on the air, by the network's fair use; None for no limit.
        messages_a_day: messages a day, by contract; None for no limit.
        billed_bytes: messages are paid in steps of so many bytes; None where they are not.
        loss: the share of messages that get lost, from 0 to below 1; None where no figure is
            known, as for all `PROFILES`: it depends on the place. `dataclasses.replace` puts in
            what was counted there.

    Raises:
        ValueError: `loss` is no such share.
    """

    name: str
    title: str
    max_payload_bytes: int
    source: str
    spreading_factor: int | None = None
    bandwidth_hz: int = 125_000
    sigfox: bool = False
    duty_cycle: float | None = None
    airtime_a_day_s: float | None = None
    messages_a_day: int | None = None
    billed_bytes: int | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        if self.loss is not None and not 0 <= self.loss < 1:
            raise ValueError(f"loss is a share from 0 to below 1, not {self.loss:g}")

    @property
    def airtime_budget_s(self) -> float | None:
        """Seconds a day that a device may be on the air; None where nothing limits them."""
        duty = None if self.duty_cycle is None else self.duty_cycle * DAY_S
        limits = [one for one in (self.airtime_a_day_s, duty) if one is not None]
        return min(limits, default=None)

    def airtime_s(self, n_bytes: int) -> float | None:
        """Seconds on the air of one message of `n_bytes`; None where the link does not say.

        Raises:
            ValueError: the message is too long.
        """
        if not 0 <= n_bytes <= self.max_payload_bytes:
            raise ValueError(
                f"a message over {self.name} has 0 to {self.max_payload_bytes} bytes, not {n_bytes}"
            )
        if self.sigfox:
            return sigfox_airtime_s(n_bytes)
        if self.spreading_factor is None:
            return None
        n_bytes += LORAWAN_OVERHEAD_BYTES
        return lora_airtime_s(n_bytes, self.spreading_factor, self.bandwidth_hz)


@dataclass(frozen=True)
class Sending:
    """What it takes to send an answer of so many bytes over a link.

    Attributes:
        n_bytes: of the answer.
        n_frames: messages that it is cut into.
        airtime_s: seconds on the air of all of them; None where the link does not say.
        answers_a_day: how many fit into a day's limits; None where there are none. Below 1 an
            answer takes several days.
        n_billed_bytes: bytes that are paid for; None where the link is not paid by bytes.
        n_sent: messages that are sent in the mean until each has arrived; `airtime_s`,
            `answers_a_day` and `n_billed_bytes` are of them. `n_frames` where no loss is known.
        arrives_at_once: the chance that all messages arrive when each is sent once; None where no
            loss is known.
    """

    n_bytes: int
    n_frames: int
    airtime_s: float | None
    answers_a_day: float | None
    n_billed_bytes: float | None
    n_sent: float
    arrives_at_once: float | None


def sending(link: Profile, n_bytes: int) -> Sending:
    """What an answer of `n_bytes` takes; a longer one than a message is cut into full ones and a
    rest. No byte is counted for putting them together again, which favours long answers. A message
    that is lost, each with the chance `link.loss` by itself, is sent again until it arrives: in the
    mean 1 / (1 - loss) times. What tells the device so is not counted, nor is its loss.

    Raises:
        ValueError: fewer than one byte.
    """
    if n_bytes < 1:
        raise ValueError(f"an answer has at least one byte, not {n_bytes}")
    sizes = frame_sizes(n_bytes, link.max_payload_bytes)
    airtimes = [link.airtime_s(size) for size in sizes]
    times = 1 if link.loss is None else 1 / (1 - link.loss)
    airtime = None
    if link.airtime_s(0) is not None:
        airtime = times * sum(one for one in airtimes if one is not None)
    limits = []
    if link.messages_a_day is not None:
        limits.append(link.messages_a_day / (times * len(sizes)))
    if link.airtime_budget_s is not None and airtime is not None:
        limits.append(link.airtime_budget_s / airtime)
    step = link.billed_bytes
    billed = None if step is None else times * sum(step * math.ceil(size / step) for size in sizes)
    at_once = None if link.loss is None else (1 - link.loss) ** len(sizes)
    a_day = min(limits, default=None)
    return Sending(n_bytes, len(sizes), airtime, a_day, billed, times * len(sizes), at_once)


def frame_sizes(n_bytes: int, most: int) -> list[int]:
    """The messages that `n_bytes` are cut into: full ones of `most` bytes, and a rest."""
    return [min(most, n_bytes - start) for start in range(0, n_bytes, most)]


_REGIONAL = "LoRaWAN Regional Parameters RP002-1.0.4"
_FAIR_USE = "The Things Network's fair use, 30 s of uplink airtime a day"


def _eu868(spreading_factor: int, max_payload_bytes: int) -> Profile:
    return Profile(
        f"lorawan-eu868-sf{spreading_factor}",
        f"LoRaWAN, Europe, SF{spreading_factor}",
        max_payload_bytes,
        f"{_REGIONAL}, EU863-870; 1% duty cycle; {_FAIR_USE}",
        spreading_factor,
        duty_cycle=0.01,
        airtime_a_day_s=30.0,
    )


def _us915(spreading_factor: int, max_payload_bytes: int) -> Profile:
    return Profile(
        f"lorawan-us915-sf{spreading_factor}",
        f"LoRaWAN, North America, SF{spreading_factor}",
        max_payload_bytes,
        f"{_REGIONAL}, US902-928; 400 ms dwell time; {_FAIR_USE}",
        spreading_factor,
        airtime_a_day_s=30.0,
    )


_ALL = (
    *(_eu868(sf, n) for sf, n in ((12, 51), (11, 51), (10, 51), (9, 115), (8, 222), (7, 222))),
    *(_us915(sf, n) for sf, n in ((10, 11), (9, 53), (8, 125), (7, 222))),
    Profile(
        "sigfox",
        "Sigfox",
        12,
        "Sigfox: 12 bytes up, 140 messages a day",
        sigfox=True,
        messages_a_day=140,
    ),
    Profile(
        "iridium-sbd",
        "Iridium 9602 SBD",
        340,
        "Iridium 9602: 340 bytes up, billed in steps of 50 bytes",
        billed_bytes=50,
    ),
    Profile("sms", "SMS", 140, "3GPP TS 23.040: 140 octets of user data"),
    Profile("sidewalk-lora", "Amazon Sidewalk, LoRa", 44, "Amazon Sidewalk: 44 bytes"),
    Profile("sidewalk-ble", "Amazon Sidewalk, BLE", 255, "Amazon Sidewalk: 255 bytes"),
    Profile("esp-now", "ESP-NOW", 250, "ESP-NOW: 250 bytes"),
)
PROFILES: dict[str, Profile] = {link.name: link for link in _ALL}
"""The links that are known, by name. Payloads of LoRaWAN are those for networks with repeaters."""


def profile(name: str) -> Profile:
    """The link of this name.

    Raises:
        ValueError: there is none; the message lists them.
    """
    if name not in PROFILES:
        raise ValueError(f"no link profile {name!r}; there are: {', '.join(PROFILES)}")
    return PROFILES[name]
