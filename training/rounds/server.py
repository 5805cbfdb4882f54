"""messages of a round's clients -> the next agreed weights, the message that tells them, and which
changes were left out for what reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from codec.coding.container import BitstreamError
from codec.updates import UpdateRefused
from training.rounds.messages import Coding, send
from training.rounds.weights import Key, Weights, added, less, norm_of


class Reply(NamedTuple):
    """What a client sends after it has learned: its message, and from how many pictures."""

    blob: bytes
    n_pictures: int


class Agreed(NamedTuple):
    """The end of a round.

    Attributes:
        weights: what both ends have now.
        blob: the message that tells the clients.
        left: what that message left out of the mean, for the next one; None for nothing kept.
        left_out: the reason of each client whose change is not in the mean.
    """

    weights: Weights
    blob: bytes
    left: Weights | None
    left_out: dict[int, str]


def agree(
    weights: Weights,
    replies: Mapping[int, Reply],
    up: Coding,
    down: Coding,
    left: Weights | None,
    most: float,
    key: Key,
) -> Agreed:
    """Mean of the clients' changes by their number of pictures (McMahan et al. 2017, arXiv
    1602.05629, algorithm 1), as the clients will have it from the message about it.

    The sum is made in float64 in the order of the clients' numbers, so that it is the same in
    whatever order they reply. A message that cannot be read is left out, and so is a change that is
    not finite, or whose norm is more than `most` times the median.
    """
    changes, left_out = _read(weights, replies, up, key)
    norms = {client: norm_of(change) for client, change in changes.items()}
    finite = [norm for norm in norms.values() if np.isfinite(norm)]
    median = float(np.median(finite)) if finite else 0.0
    for client, norm in norms.items():
        if not np.isfinite(norm):
            left_out[client] = "its change is not finite"
        elif len(finite) > 2 and norm > most * median:
            left_out[client] = f"the norm of its change is {norm:.3g}, the median {median:.3g}"
    kept = sorted(client for client in changes if client not in left_out)
    total = sum(replies[client].n_pictures for client in kept)
    mean = {name: np.zeros(value.shape, np.float64) for name, value in weights.items()}
    for client in kept:
        share = replies[client].n_pictures / total
        for name in mean:
            mean[name] += share * changes[client][name].astype(np.float64)
    wanted = added(weights, {name: value.astype(np.float32) for name, value in mean.items()})
    sent = send(down, weights, wanted, left, key)
    return Agreed(down.decode(weights, sent.blob, key), sent.blob, sent.left, left_out)


def _read(
    weights: Weights, replies: Mapping[int, Reply], up: Coding, key: Key
) -> tuple[dict[int, Weights], dict[int, str]]:
    changes, left_out = {}, {}
    for client in sorted(replies):
        if not replies[client].blob:
            left_out[client] = "it says that its change is not finite"
            continue
        try:
            changes[client] = less(up.decode(weights, replies[client].blob, key), weights)
        except (BitstreamError, UpdateRefused) as error:
            left_out[client] = f"its message cannot be read: {error}"
    return changes, left_out
