"""a client's weights after learning -> clipped and with noise, where the recipe promises privacy:
Flower's own mod, behind the one that codes.
"""

from __future__ import annotations

from flwr.app import Context, Message
from flwr.clientapp.mod import LocalDpMod
from flwr.clientapp.typing import ClientAppCallable

from training.flower.task import recipe_of


def noise(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Clip the change and add Gaussian noise, by the recipe's `privacy`; nothing without it."""
    privacy = recipe_of(context.run_config).privacy
    if privacy is None:
        return call_next(message, context)
    mod = LocalDpMod(privacy.clip, privacy.sensitivity, privacy.epsilon, privacy.delta)
    return mod(message, context, call_next)
