"""recipe, pictures -> the weights that clients agreed on after all rounds, and a log of the rounds:
the plain loop, on one machine and without Flower.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

from codec.files import whole_file
from training.data.images import Images
from training.data.scoring import percent
from training.rounds.checkpoint import State, last_checkpoint, write_checkpoint
from training.rounds.client import answer, learn
from training.rounds.ending import end_round
from training.rounds.learner import Learner
from training.rounds.recipe import FederatedRecipe
from training.rounds.server import Reply
from training.rounds.timing import present
from training.rounds.weights import Weights, set_weights


@dataclass(frozen=True)
class Federation:
    """What learning together needs.

    Attributes:
        learner: what is learned.
        start: what all begin at.
        data: the pictures that clients share with nobody, by their indices in `shares`.
        validation: the pictures that rounds are scored on.
    """

    learner: Learner
    start: Weights
    data: Images
    shares: list[list[int]]
    validation: Images
    recipe: FederatedRecipe

    def score(self, weights: Weights) -> float:
        """Accuracy on the validation split, in percent."""
        set_weights(self.learner.model, weights)
        return percent(self.learner.right(self.validation))


def run_rounds(federation: Federation, out: Path) -> State:
    """Learn in rounds, from the last checkpoint in `out` or else from the model's weights.

    Each round writes a checkpoint, then its line into `out/rounds.jsonl`. A run that was killed
    ends at the same weights as one that was not.
    """
    folder = out / "rounds"
    state = last_checkpoint(folder) or State(federation.start)
    if state.lines:
        print(f"resuming after round {len(state.lines)}", flush=True)
    write_lines(state, out)
    while len(state.lines) < federation.recipe.rounds:
        state = one_round(state, federation)
        write_checkpoint(state, folder)
        write_lines(state, out)
        print(in_words(state), flush=True)
    return state


def one_round(state: State, federation: Federation) -> State:
    """The state after the next round: its clients learn one after the other."""
    recipe, number, start = federation.recipe, len(state.lines), time.process_time()
    learner, data = federation.learner, federation.data
    replies, lefts = {}, {}
    for client in present(recipe.clients, recipe.seed, number):
        own = federation.shares[client]
        after = learn(learner, state.weights, data, own, recipe, number, client)
        sent = answer(recipe, state.weights, after, state.left.get(str(client)), number, client)
        replies[client] = Reply(sent.blob, len(own))
        lefts[client] = sent.left
    ended, _ = end_round(state, replies, recipe, federation.score)
    ended.lines[-1]["cpu_s"] = time.process_time() - start
    # who was left out keeps what it had: its message counted for nothing
    kept = {
        str(client): left
        for client, left in lefts.items()
        if left is not None and str(client) not in ended.lines[-1]["left_out"]
    }
    return replace(ended, left=ended.left | kept)


def write_lines(state: State, out: Path) -> None:
    """Write the log, `rounds.jsonl`: a JSON object a round."""
    with whole_file(out / "rounds.jsonl") as file:
        file.write_text("".join(json.dumps(line) + "\n" for line in state.lines))


def in_words(state: State) -> str:
    """The last round in a line for people."""
    line = state.lines[-1]
    ups, downs = (sum(line[key].values()) for key in ("bytes_up", "bytes_down"))
    out = "".join(f"; client {client} left out: {why}" for client, why in line["left_out"].items())
    return (
        f"round {line['round']}: {line['accuracy']:.2f}% on validation, {ups:,} bytes up, "
        f"{downs:,} down, {line['link_s']:.1f} s on the link, {line['cpu_s']:.0f} s of computing"
        + out
    )
