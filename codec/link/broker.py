"""mqtt://user:password@host:port -> a broker; and the topics that device and server agree on.

    codec/v1/NAME/DEVICE/TASK          a request; the body is a blob or a picture
    codec/v1/NAME/DEVICE/TASK/reply    its reply, under the request's correlation data
    codec/v1/sessions/DEVICE/open      which codec the server has, by fingerprint
    codec/v1/uplink/APPLICATION/DEVICE/answer     answers to LoRaWAN uplinks

DEVICE is the name of the broker's user: the broker's access rules have to see to that. Headers of
HTTP go as user properties of MQTT 5, with the same names.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

PREFIX = "codec/v1"
REQUESTS = f"{PREFIX}/+/+/+"
"""The filter of all requests; no reply and no answer matches it."""
NO_USER = "anyone"
"""The device's name where the broker asks for no user."""
SESSIONS, OPEN = "sessions", "open"
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


class Broker(NamedTuple):
    """An MQTT broker and who we are there; `password` is not in its repr.

    Attributes:
        tls: whether the connection is encrypted; certificates are checked against the system's, or
            those of SSL_CERT_FILE.
    """

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None

    def __repr__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    @property
    def device(self) -> str:
        """The name that requests go under."""
        return NO_USER if self.user is None else self.user


def is_mqtt(url: str) -> bool:
    """Whether an address is a broker's."""
    return url.partition("://")[0] in ("mqtt", "mqtts")


def broker_at(url: str, password: str | None = None) -> Broker:
    """The broker at an address.

    Args:
        url: mqtt://host, or mqtts:// for TLS, with user, password and port where wanted.
        password: in the place of the address's.

    Raises:
        ValueError: it is no such address; the message does not show it, for it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the broker's address has no valid port") from None
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError("a broker's address is mqtt://host:port or mqtts://host:port")
    tls = parts.scheme == "mqtts"
    user = None if parts.username is None else unquote(parts.username)
    if user is not None and not is_name(user):
        raise ValueError("a broker's user here has up to 64 letters, digits, dots, - or _")
    if password is None and parts.password is not None:
        password = unquote(parts.password)
    if password is not None and user is None:
        raise ValueError("a broker's password needs a user: mqtt://user@host")
    return Broker(parts.hostname, port or (8883 if tls else 1883), tls, user, password)


def is_name(text: str) -> bool:
    """Whether a text can be the name of a device: 1 to 64 letters, digits, dots, - and _."""
    return _NAME.fullmatch(text) is not None


def request_topic(path: str, device: str) -> str:
    """A path of the HTTP server -> the topic of the same request.

    Raises:
        ValueError: the path has no such topic.
    """
    parts = unquote(path).strip("/").split("/")
    if parts == ["v1", SESSIONS]:
        parts.append(OPEN)
    if len(parts) != 3 or parts[0] != "v1" or any(c in part for part in parts for c in "+#\0"):
        raise ValueError(f"{path} is not asked over MQTT")
    return f"{PREFIX}/{parts[1]}/{device}/{parts[2]}"


def reply_filter(device: str) -> str:
    """The filter of all replies to a device."""
    return f"{PREFIX}/+/{device}/+/reply"


def reply_topic(request: str) -> str:
    """The topic that the reply to a request's topic goes to."""
    return f"{request}/reply"


def answer_topic(application: str, device: str) -> str:
    """The topic that answers to a LoRaWAN device's uplinks go to."""
    return f"{PREFIX}/uplink/{application}/{device}/answer"
