"""bytes of a round's messages -> its seconds on the link, and who is there, late or away."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from codec.link.profiles import profile, sending
from training.rounds.recipe import Clients, Link


def up_s(link: Link, n_bytes: int) -> float:
    """Seconds from a client to the server.

    Raises:
        ValueError: the link's profile is not known, or does not say how long a message takes.
    """
    return _seconds(link, n_bytes, link.up_bytes_s)


def down_s(link: Link, n_bytes: int) -> float:
    """Seconds from the server to a client; as `up_s`."""
    return _seconds(link, n_bytes, link.down_bytes_s)


def _seconds(link: Link, n_bytes: int, bytes_s: float) -> float:
    if link.profile is None or not n_bytes:
        return n_bytes / bytes_s
    airtime_s = sending(profile(link.profile), n_bytes).airtime_s
    if airtime_s is None:
        raise ValueError(f"the link {link.profile!r} does not say how long a message takes")
    return airtime_s


def present(clients: Clients, seed: int, number: int) -> list[int]:
    """The clients that take part in round `number`, by a draw; all where none would."""
    drawn = np.random.default_rng((seed, number, 1)).random(clients.n)
    there = [client for client in range(clients.n) if drawn[client] >= clients.absence]
    return there or list(range(clients.n))


def late(link: Link, seconds: Mapping[int, float]) -> dict[int, str]:
    """Those that come after the deadline, with the reason; the first one to come never is."""
    if link.deadline_s is None:
        return {}
    limit = max(link.deadline_s, min(seconds.values()))
    return {
        client: f"it takes {taken:.1f} s, more than {link.deadline_s:g}"
        for client, taken in seconds.items()
        if taken > limit
    }
