"""replies of Flower's nodes -> the next agreed weights and the messages about them: a strategy that
runs the same rounds as the plain loop.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from logging import INFO, WARNING
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log

from training.flower.nodes import Nodes
from training.flower.replies import read_reply
from training.flower.task import to_record
from training.rounds.checkpoint import State, write_checkpoint
from training.rounds.ending import end_round
from training.rounds.loop import Federation, in_words, write_lines
from training.rounds.server import Reply
from training.rounds.weights import hash_of, n_values

ASKED = 3
"""A round in which nobody learned is asked for again, until it was so many times."""


class CodedAverage(Strategy):
    """Mean of the clients' changes, sent as coded updates both ways.

    Args:
        state: what the run begins at, or goes on from.
        out: folder of the checkpoints and the log.
        wait_s: how long it waits for nodes: for all in the first round, for one in the others.
    """

    def __init__(self, federation: Federation, state: State, out: Path, wait_s: float) -> None:
        self.federation, self.state, self.out, self.wait_s = federation, state, out, wait_s
        self.recipe = federation.recipe
        self.nodes = Nodes(4 * n_values(state.weights))
        self.asked: list[int] = []
        self.in_vain = 0
        self.start_s = 0.0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """To each node the messages about the rounds that it has not seen, or the whole weights.

        Raises:
            TimeoutError: no node came in time.
        """
        number, self.start_s = len(self.state.lines), time.perf_counter()
        sha256 = hash_of(self.state.weights)
        # of all clients, since which of them a node is is not known before it replies
        counted = [self.state.last_counted(client) for client in range(self.recipe.clients.n)]
        self.asked = self._wait(grid, self.recipe.clients.n if not number else 1)
        self.nodes.are(self.asked)
        for node in self.asked:
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

    def _wait(self, grid: Grid, wanted: int) -> list[int]:
        """The nodes that are there as soon as so many are, or when the time is over."""
        end_s = time.monotonic() + self.wait_s
        while len(nodes := sorted(grid.get_node_ids())) < wanted:
            if time.monotonic() >= end_s:
                if nodes:
                    break
                raise TimeoutError(
                    f"no client came in {self.wait_s:g} s: is a SuperNode connected?"
                )
            log(INFO, "%s of %s clients are there", len(nodes), wanted)
            time.sleep(min(1, self.wait_s))
        if len(nodes) < wanted:
            told = (len(nodes), wanted, self.wait_s)
            log(WARNING, "begins with %s of %s clients: no other came in %g s", *told)
        return nodes

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """End the round: with the changes of those that learned.

        Raises:
            RuntimeError: nobody learned, and the round was asked for several times.
        """
        number = len(self.state.lines)
        learned, reasons = self._read(replies, number)
        if not learned:
            self.in_vain += 1
            if self.in_vain == ASKED:
                found = "; ".join(reasons) or "all are away"
                raise RuntimeError(
                    f"nobody learned in round {number + 1}, asked for {ASKED} times: {found}"
                )
            log(INFO, "nobody learned in round %s, it is asked for again", number + 1)
            return None, None
        self.in_vain = 0
        self.state, told = end_round(self.state, learned, self.recipe, self.federation.score)
        self.nodes.tell(number, told)
        line = self.state.lines[-1]
        line["cpu_s"] = time.perf_counter() - self.start_s
        write_checkpoint(self.state, self.out / "rounds")
        write_lines(self.state, self.out)
        log(INFO, "%s", in_words(self.state))
        if self.recipe.privacy is not None:
            epsilon, delta = self.recipe.privacy.after(len(self.state.lines))
            log(INFO, "privacy of each client so far: epsilon %.3g, delta %.2g", epsilon, delta)
        return to_record(self.state.weights), MetricRecord({"accuracy": line["accuracy"]})

    def _read(self, replies: Iterable[Message], number: int) -> tuple[dict[int, Reply], list[str]]:
        """What those say that learned, and why others of the nodes that were asked did not."""
        learned, why = {}, dict.fromkeys(self.asked, "it did not reply in time")
        # in order, so that of two nodes that say they are one client the same is always believed
        for reply in sorted(replies, key=lambda reply: reply.metadata.src_node_id):
            node = reply.metadata.src_node_id
            try:
                said = read_reply(reply, self.recipe.clients.n)
                self.nodes.know(node, said.client)
            except ValueError as error:
                why[node] = str(error)
                continue
            why.pop(node, None)
            if said.what == "learned":
                n_pictures = len(self.federation.shares[said.client])
                learned[said.client] = Reply(said.blob, n_pictures)
                self.nodes.hold(node, number)
            elif said.what == "behind":
                why[node] = "it holds other weights, and is sent them whole"
                self.nodes.hold(node, None)
        reasons = [f"node {node}: {reason}" for node, reason in why.items()]
        for reason in reasons:
            log(WARNING, "round %s, %s", number + 1, reason)
        return learned, reasons

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
