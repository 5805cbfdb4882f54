"""replies of Flower's nodes -> the next agreed weights and the messages about them: a strategy that
runs the same rounds as the plain loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from logging import INFO
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log

from training.flower.nodes import Nodes
from training.flower.task import to_record
from training.rounds.checkpoint import State, write_checkpoint
from training.rounds.ending import end_round
from training.rounds.loop import said, write_lines
from training.rounds.recipe import FederatedRecipe
from training.rounds.server import Reply
from training.rounds.weights import Weights, hash_of, n_values


class CodedAverage(Strategy):
    """Mean of the clients' changes, sent as coded updates both ways.

    Args:
        state: what the run begins at, or goes on from.
        score: accuracy in percent on the validation split.
        out: folder of the checkpoints and the log.
    """

    def __init__(
        self, recipe: FederatedRecipe, state: State, score: Callable[[Weights], float], out: Path
    ) -> None:
        self.recipe, self.state, self.score, self.out = recipe, state, score, out
        self.nodes = Nodes(4 * n_values(state.weights))
        self.start_s = 0.0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """To each node the messages about the rounds that it has not seen, or the whole weights."""
        number, self.start_s = len(self.state.lines), time.perf_counter()
        sha256 = hash_of(self.state.weights)
        # of all clients, since which of them a node is is not known before it replies
        counted = [self.state.last_counted(client) for client in range(self.recipe.clients.n)]
        while len(nodes := sorted(grid.get_node_ids())) < self.recipe.clients.n and not number:
            log(INFO, "%s of %s clients are there", len(nodes), self.recipe.clients.n)
            time.sleep(1)
        self.nodes.are(nodes)
        for node in nodes:
            missed = self.nodes.missed(node, number)
            told: dict[str, Any] = {
                "round": number,
                "sha256": sha256,
                "counted": counted,
            }
            content = RecordDict()
            if missed is None:
                content["arrays"] = to_record(self.state.weights)
            else:
                told |= {"numbers": list(missed), "blobs": list(missed.values())}
            content["config"] = ConfigRecord(told)
            yield Message(content=content, message_type=MessageType.TRAIN, dst_node_id=node)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """End the round: with the changes of those that learned."""
        number = len(self.state.lines)
        learned = {}
        for reply in replies:
            node = reply.metadata.src_node_id
            if reply.has_error():
                log(INFO, "node %s failed: %s", node, reply.error.reason)
                continue
            answer: Any = reply.content["reply"]
            if answer["said"] == "learned":
                client = int(answer["client"])
                learned[client] = Reply(answer["blob"], int(answer["n-pictures"]))
                self.nodes.hold(node, number)
            elif answer["said"] == "behind":
                log(INFO, "node %s holds other weights, and is sent them whole", node)
                self.nodes.hold(node, None)
        if not learned:
            log(INFO, "round %s has no reply, and is asked for again", number + 1)
            return None, None
        self.state, told = end_round(self.state, learned, self.recipe, self.score)
        self.nodes.tell(number, told)
        line = self.state.lines[-1]
        line["cpu_s"] = time.perf_counter() - self.start_s
        write_checkpoint(self.state, self.out / "rounds")
        write_lines(self.state, self.out)
        log(INFO, "%s", said(self.state))
        if self.recipe.privacy is not None:
            epsilon, delta = self.recipe.privacy.after(len(self.state.lines))
            log(INFO, "privacy of each client so far: epsilon %.3g, delta %.2g", epsilon, delta)
        return to_record(self.state.weights), MetricRecord({"accuracy": line["accuracy"]})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """None: the server scores the weights itself."""
        return []

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        return None

    def summary(self) -> None:
        log(INFO, "\tcoded updates: %s", self.recipe.updates)
