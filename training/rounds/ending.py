"""replies of a round -> the state after it, with its line of the log: what the server does, in the
plain loop and on Flower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from training.rounds.checkpoint import State
from training.rounds.client import pictures_a_round
from training.rounds.messages import coding_of, left_before
from training.rounds.recipe import FederatedRecipe
from training.rounds.server import Reply, agree
from training.rounds.timing import down_s, late, up_s
from training.rounds.weights import Key, Weights, hash_of, n_values

SERVER = "server"
"""Whose the part of `State.left` is that the messages about the mean left out."""


def end_round(
    state: State,
    replies: Mapping[int, Reply],
    recipe: FederatedRecipe,
    score: Callable[[Weights], float],
) -> tuple[State, bytes]:
    """The state after a round that these clients took part in, and the message that tells them.

    Bytes down are those of the round's own message, to each client that took part, and those that
    a client had missed: it catches up before it learns, by the messages or by the weights in
    float32, whichever are fewer bytes.

    Args:
        score: accuracy in percent on the validation split.
    """
    number, updates, link = len(state.lines), recipe.updates, recipe.link
    whole = 4 * n_values(state.weights)
    missed = {client: min(state.behind.get(client, 0), whole) for client in replies}
    learned = {
        client: recipe.clients.seconds(client, pictures_a_round(recipe, reply.n_pictures))
        for client, reply in replies.items()
    }
    sending = {
        client: down_s(link, missed[client]) + up_s(link, len(reply.blob))
        for client, reply in replies.items()
    }
    taken = {client: learned[client] + sending[client] for client in replies}
    too_late = late(link, taken)
    agreed = agree(
        state.weights,
        {client: reply for client, reply in replies.items() if client not in too_late},
        coding_of(updates, updates.rate),
        coding_of(updates, updates.down_rate),
        left_before(updates, state.left.get(SERVER)),
        updates.most,
        Key(recipe.seed, number, 0),
    )
    left_out = too_late | agreed.left_out
    told, told_s = len(agreed.blob), down_s(link, len(agreed.blob))
    waited = [client for client in replies if client not in too_late]
    line: dict[str, Any] = {
        "round": number + 1,
        "bytes_up": {str(client): len(reply.blob) for client, reply in sorted(replies.items())},
        "bytes_down": {str(client): missed[client] + told for client in sorted(replies)},
        "away": [client for client in range(recipe.clients.n) if client not in replies],
        "left_out": {str(client): left_out[client] for client in sorted(left_out)},
        "link_s": max(sending[client] for client in waited) + told_s,
        "learning_s": max(learned[client] for client in waited),
        "round_s": max(taken[client] for client in waited) + told_s,
        "accuracy": score(agreed.weights),
        "sha256": hash_of(agreed.weights),
    }
    behind = {
        client: 0 if client in replies else state.behind.get(client, 0) + told
        for client in range(recipe.clients.n)
    }
    left = state.left | ({} if agreed.left is None else {SERVER: agreed.left})
    ended = replace(
        state, weights=agreed.weights, left=left, lines=[*state.lines, line], behind=behind
    )
    return ended, agreed.blob
