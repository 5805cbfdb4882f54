"""reply of a node -> what it says, as far as the server believes it.

A node says which client it is, and whether it learned. Of how many pictures a client learns is
known from the partition, so nobody is asked.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flwr.app import ConfigRecord, Message

SAID = ("learned", "away", "behind")


class Said(NamedTuple):
    """What a node says: which client it is, one of `SAID`, and what it learned as a message."""

    client: int
    what: str
    blob: bytes


def read_reply(reply: Message, n_clients: int) -> Said:
    """What a node says, in the types and the range that it must have.

    Raises:
        ValueError: it failed, or what it says cannot be; the message says which.
    """
    if reply.has_error():
        raise ValueError(f"it failed: {reply.error.reason}")
    record = reply.content.get("reply")
    if not isinstance(record, ConfigRecord):
        raise ValueError("its message is no reply")
    said: Any = record
    client, what, blob = (said.get(name) for name in ("client", "said", "blob"))
    if type(client) is not int or not 0 <= client < n_clients:
        raise ValueError(
            f"it says that it is client {client!r}, and there are 0 to {n_clients - 1}"
        )
    if what not in SAID:
        raise ValueError(f"client {client} says {what!r}, and not one of {', '.join(SAID)}")
    if what == "learned" and not isinstance(blob, bytes):
        raise ValueError(f"client {client} learned, and what it sends are not bytes")
    return Said(client, what, blob if what == "learned" else b"")
