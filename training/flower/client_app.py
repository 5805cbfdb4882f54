"""agreed weights -> a client's weights after a round: Flower's ClientApp, which does not know how
weights are sent.

`app` has two mods around it: the outer one codes messages, the inner one adds noise where the
recipe promises privacy. Other mods go behind the first: they see whole weights, before and after.
"""

from __future__ import annotations

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from training.flower.mod import coded_updates
from training.flower.noise import noise
from training.flower.task import federation_of, from_record, recipe_of, to_record
from training.rounds.client import learn

app = ClientApp(mods=[coded_updates, noise])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Learn from the pictures of this client, the one that `partition-id` names."""
    recipe = recipe_of(context.run_config)
    federation, client = federation_of(recipe), int(context.node_config["partition-id"])
    own, number = federation.shares[client], int(message.content["config"]["round"])
    weights = from_record(message.content["arrays"])
    after = learn(federation.learner, weights, federation.data, own, recipe, number, client)
    content = {"arrays": to_record(after), "metrics": MetricRecord({"num-examples": len(own)})}
    return Message(content=RecordDict(content), reply_to=message)
