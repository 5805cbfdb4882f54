"""`Authorization: Bearer TOKEN` -> the id of the device that it belongs to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from pathlib import Path

from codec.link.broker import NO_USER

MIN_LENGTH = 16
NOBODY = "anyone"
"""The device id of every request to a server without tokens."""
NOT_ONE = ("", NOBODY, f"mqtt:{NO_USER}")
"""Owners that are not one device, but all of those that do not say who they are."""


class Tokens:
    """The tokens of a server's devices. They are kept as digests, and compared in a time that does
    not depend on them.

    Args:
        devices: device id by token; empty for a server that asks for none.

    Raises:
        ValueError: a token has fewer than 16 characters, or two devices have one.
    """

    def __init__(self, devices: Mapping[str, str]) -> None:
        if any(len(token) < MIN_LENGTH for token in devices):
            raise ValueError(f"a token has at least {MIN_LENGTH} characters")
        self._devices = [(_digest(token), device) for token, device in devices.items()]

    def __len__(self) -> int:
        return len(self._devices)

    def device(self, header: str | None) -> str | None:
        """The device id of an Authorization header; None where it has no token of ours."""
        if not self._devices:
            return NOBODY
        scheme, _, token = (header or "").partition(" ")
        return self._whose(token.strip()) if scheme.lower() == "bearer" else None

    def visitor(self, header: str | None) -> str | None:
        """The device id of an Authorization header that a browser may have made: HTTP Basic (RFC
        7617) with a token as the password and any name; or as `device`. It is for pages that are
        only read: a browser adds such a header to what other sites make it send.
        """
        scheme, _, coded = (header or "").partition(" ")
        if not self._devices or scheme.lower() != "basic":
            return self.device(header)
        try:
            pair = base64.b64decode(coded.strip(), validate=True).decode()
        except ValueError:
            return None
        return self._whose(pair.partition(":")[2])

    def _whose(self, token: str) -> str | None:
        digest, found = _digest(token), None
        for known, device in self._devices:  # all of them, whichever it is
            if hmac.compare_digest(digest, known):
                found = device
        return found


def read_tokens(path: Path) -> Tokens:
    """A file of lines `device-id token`; lines that start with # and empty ones are left out.

    Raises:
        OSError: there is no such file.
        ValueError: a line is something else, or names a device or a token again; no token is in the
            message.
    """
    devices: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split()
        if len(parts) != 2 or not re.fullmatch(r"[\w.-]{1,64}", parts[0]):
            raise ValueError(f"{path}, line {number}: not a device id and a token")
        device, token = parts
        if token in devices or device in devices.values():
            raise ValueError(f"{path}, line {number}: the device or its token is there already")
        if len(token) < MIN_LENGTH:
            raise ValueError(f"{path}, line {number}: a token has at least {MIN_LENGTH} characters")
        devices[token] = device
    if not devices:
        raise ValueError(f"{path} holds no tokens")
    return Tokens(devices)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
