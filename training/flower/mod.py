"""a round's messages <-> whole weights: the mod that puts coded updates between Flower and an app
that learns.

The client holds the agreed weights, and what its messages left out so far, in Flower's
`Context.state`. It is told of each round by the message about it; one that does not hold the
weights that the server means says so, and is sent them whole.

Whether a message counted, only the server knows: it may be left out, and it may get lost. So the
server says each time which message of the client was the last that counted, by its round. The
client goes on from what that one left out, and forgets what the others did.
"""

from __future__ import annotations

from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from codec.coding.container import BitstreamError
from training.flower.task import federation_of, from_record, recipe_of, to_record
from training.rounds.client import answer
from training.rounds.messages import coding_of
from training.rounds.recipe import FederatedRecipe
from training.rounds.timing import present
from training.rounds.weights import Key, Weights, hash_of

HELD, HELD_NUMBER, LEFT = "held", "held-number", "left-"
"""Records of `Context.state`: agreed weights, the round that began at them, and, for the last
message that counted and the newest, `left-` and its round: what it left out.
"""


def coded_updates(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Take the agreed weights from the messages about them, let the app learn, and reply with the
    coded change.
    """
    asked: Any = message.content["config"]
    recipe, number = recipe_of(context.run_config), int(asked["round"])
    client = int(context.node_config["partition-id"])
    if client not in present(recipe.clients, recipe.seed, number):
        return _reply(message, {"client": client, "said": "away"})
    weights = _agreed(message.content, context, recipe)
    if weights is None or hash_of(weights) != asked["sha256"]:
        return _reply(message, {"client": client, "said": "behind"})
    record: Any = to_record(weights)
    context.state[HELD] = record
    context.state[HELD_NUMBER] = ConfigRecord({"round": number})
    message.content = RecordDict({"arrays": record, "config": ConfigRecord({"round": number})})
    learned = call_next(message, context)
    if learned.has_error():
        return learned
    after = from_record(learned.content["arrays"])  # type: ignore[arg-type]
    counted = f"{LEFT}{asked['counted'][client]}"
    sent = answer(recipe, weights, after, _weights(context, counted), number, client)
    for name in [name for name in context.state if name.startswith(LEFT) and name != counted]:
        del context.state[name]
    if sent.left is not None:
        context.state[f"{LEFT}{number}"] = to_record(sent.left)
    return _reply(message, {"client": client, "said": "learned", "blob": sent.blob})


def _agreed(content: Any, context: Context, recipe: FederatedRecipe) -> Weights | None:
    """The weights that the server sends whole, or those that are held and the changes since; None
    where these are changes of other weights. Changes that are held already, since a reply got
    lost, are passed over.
    """
    if "arrays" in content:
        return from_record(content["arrays"])
    held = _weights(context, HELD)
    weights, begins = federation_of(recipe).start if held is None else held, 0
    if held is not None:
        place: Any = context.state[HELD_NUMBER]
        begins = int(place["round"])
    coding = coding_of(recipe.updates, recipe.updates.down_rate)
    asked = content["config"]
    try:
        for blob, number in zip(asked["blobs"], asked["numbers"], strict=True):
            if number >= begins:
                weights = coding.decode(weights, blob, Key(recipe.seed, number, 0))
    except BitstreamError:
        return None
    return weights


def _weights(context: Context, name: str) -> Weights | None:
    record = context.state.get(name)
    return from_record(record) if isinstance(record, ArrayRecord) else None


def _reply(message: Message, said: dict[str, Any]) -> Message:
    return Message(content=RecordDict({"reply": ConfigRecord(said)}), reply_to=message)
