"""headers of a request or reply <-> properties of an MQTT 5 message: what goes beside the body.

The body's type is the property Content Type; what tells a reply's request is Correlation Data;
every other header of HTTP is a user property of the same name (MQTT 5.0, sec. 3.3.2.3).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from codec.link.session import BLOB_TYPE

CONTENT_TYPE = "Content-Type"
PROBLEM_TYPE = "application/problem+json"


class Said(NamedTuple):
    """What the properties of a message say.

    Attributes:
        headers: by lower-case name, without the type.
        kind: the body's media type; of a request without one, a blob's.
        correlation: of a request, to be given back with its reply.
    """

    headers: dict[str, str]
    kind: str
    correlation: bytes | None


def written(
    headers: Mapping[str, str], correlation: bytes | None, expires_s: float | None = None
) -> Any:
    """The properties of a message, as paho-mqtt takes them.

    Args:
        expires_s: the broker drops the message if it has not been delivered by then.
    """
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    made = Properties(PacketTypes.PUBLISH)
    own = dict(headers)
    kind = own.pop(CONTENT_TYPE, BLOB_TYPE)
    if kind != BLOB_TYPE:
        made.ContentType = kind
    if correlation is not None:
        made.CorrelationData = correlation
    if expires_s is not None:
        made.MessageExpiryInterval = max(round(expires_s), 1)
    if own:
        made.UserProperty = list(own.items())
    return made


def read(properties: Any) -> Said:
    """What the properties of a message say; None of them where there are none."""
    headers = {name.lower(): value for name, value in getattr(properties, "UserProperty", [])}
    kind = getattr(properties, "ContentType", BLOB_TYPE)
    return Said(headers, kind, getattr(properties, "CorrelationData", None))


def packet_bytes(topic: str, properties: Any, n_body_bytes: int) -> int:
    """The bytes of a message of QoS 1, whole: PUBLISH (MQTT 5.0, sec. 3.3)."""
    n_properties = 1 if properties is None else len(properties.pack())
    rest = 2 + len(topic.encode()) + 2 + n_properties + n_body_bytes
    return 1 + -(-rest.bit_length() // 7) + rest  # the length has 7 bits a byte


def status_of(kind: str, body: bytes) -> int:
    """The status of HTTP that a reply has: a problem says its own, any other reply is 200."""
    if kind != PROBLEM_TYPE:
        return 200
    try:
        return int(json.loads(body)["status"])
    except (ValueError, KeyError, TypeError):
        return 500
