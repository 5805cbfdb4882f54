"""address of a server or a broker -> the connection that requests go over."""

from __future__ import annotations

from codec.link.broker import is_mqtt
from codec.link.http import Connection
from codec.link.mqtt import MqttConnection

Link = Connection | MqttConnection
"""A connection that requests go over; both have the same calls."""


def connect(url: str, token: str | None = None, timeout_s: float = 30.0) -> Link:
    """The connection for an address: http://, https://, mqtt:// or mqtts://.

    Args:
        token: of the device; over MQTT its user's password.
        timeout_s: seconds until a whole reply must be there.

    Raises:
        ValueError: the address is none, or what it takes is missing.
    """
    kind = MqttConnection if is_mqtt(url) else Connection
    return kind(url, token, timeout_s)
