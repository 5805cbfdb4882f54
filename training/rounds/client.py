"""agreed weights, a client's pictures -> its weights after a round of learning.

What a client does is a function of the weights, the recipe, its number and the round: it is the
same in any process, and after any stop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from training.data.images import Images, collate
from training.rounds.learner import Learner
from training.rounds.messages import Sent, coding_of, left_before, send
from training.rounds.recipe import FederatedRecipe
from training.rounds.weights import Key, Weights, added, less, norm_of, set_weights, weights_of

POISON = 1000.0
"""How many times its size a poisoned change has."""


def n_steps(recipe: FederatedRecipe, n_pictures: int) -> int:
    """Steps that a client with so many pictures makes in a round."""
    return max(1, round(recipe.local.epochs * n_pictures / recipe.local.batch_size))


def pictures_a_round(recipe: FederatedRecipe, n_pictures: int) -> int:
    """From how many pictures a client with so many learns in a round."""
    return n_steps(recipe, n_pictures) * recipe.local.batch_size


def rate_of(recipe: FederatedRecipe, number: int) -> float:
    """The learning rate in round `number`, from 0 on."""
    return recipe.local.lr * 0.5 * (1 + math.cos(math.pi * number / recipe.rounds))


def learn(
    learner: Learner,
    weights: Weights,
    data: Images,
    own: Sequence[int],
    recipe: FederatedRecipe,
    number: int,
    client: int,
) -> Weights:
    """The weights of `client` after round `number`, which begins at `weights`.

    Args:
        learner: what it held before does not matter.
        data: the pictures of all clients, of which only those in `own` are read.
    """
    local, model = recipe.local, learner.model
    set_weights(model, weights)
    model.train()
    draws = np.random.default_rng((recipe.seed, number, client, 1))
    torch.manual_seed(int(draws.integers(1 << 31)))  # of dropout
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        parameters,
        lr=rate_of(recipe, number),
        momentum=local.momentum,
        nesterov=local.momentum > 0,
        weight_decay=local.weight_decay,
    )
    rng = np.random.default_rng((recipe.seed, number, client))
    steps = n_steps(recipe, len(own))
    passes = math.ceil(steps * local.batch_size / len(own))
    order = np.concatenate([rng.permutation(own) for _ in range(passes)])
    data.set_epoch(number)
    for step in range(steps):
        chosen = order[step * local.batch_size : (step + 1) * local.batch_size]
        loss = learner.loss(collate([data[int(i)] for i in chosen]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, local.max_grad_norm)
        optimizer.step()
    return weights_of(model)


def answer(
    recipe: FederatedRecipe,
    weights: Weights,
    after: Weights,
    left: Weights | None,
    number: int,
    client: int,
) -> Sent:
    """What a client sends after it has learned, and what it keeps for its next message; `left` is
    what it kept from the last one. Where its change is not finite, it sends an empty message.
    """
    if client in recipe.clients.poisoned:
        change = {name: POISON * value for name, value in less(after, weights).items()}
        after = added(weights, change)
    if not math.isfinite(norm_of(less(after, weights))):
        return Sent(b"", left)
    return send(
        coding_of(recipe.updates, recipe.updates.rate),
        weights,
        after,
        left_before(recipe.updates, left),
        Key(recipe.seed, number, 1 + client),
    )
