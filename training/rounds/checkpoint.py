"""state of a run after a round <-> one file, whole or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from codec.files import whole_file
from training.rounds.weights import Weights

KEPT = 2
"""Checkpoints that are kept, the newest ones."""


@dataclass
class State:
    """What a run goes on from.

    Attributes:
        weights: that both ends agree on.
        left: what the messages of each client, and of the server under "server", left out so far.
        lines: of the log, one a round.
        behind: bytes of the messages that each client has missed.
    """

    weights: Weights
    left: dict[str, Weights] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    behind: dict[int, int] = field(default_factory=dict)

    def last_counted(self, client: int) -> int:
        """Number of the last round, from 0 on, whose mean has the client's change; -1 for none."""
        name = str(client)
        for number in reversed(range(len(self.lines))):
            line = self.lines[number]
            if name in line["bytes_up"] and name not in line["left_out"]:
                return number
        return -1


def write_checkpoint(state: State, folder: Path) -> None:
    """Write the state after its last round, `checkpoint-N.safetensors`; older ones are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"weights/{name}": value for name, value in state.weights.items()}
    for owner, left in state.left.items():
        tensors |= {f"left/{owner}/{name}": value for name, value in left.items()}
    said = {"lines": state.lines, "behind": state.behind}
    with whole_file(folder / f"checkpoint-{len(state.lines)}.safetensors") as file:
        save_file(tensors, file, {"state": json.dumps(said)})
    for old in _newest_first(folder)[KEPT:]:
        old.unlink()


def last_checkpoint(folder: Path) -> State | None:
    """The newest state that can be read; None where there is none."""
    for file in _newest_first(folder):
        try:
            return _read(file)
        except (OSError, ValueError, KeyError, SafetensorError):
            continue
    return None


def _read(file: Path) -> State:
    with safe_open(file, framework="numpy") as opened:
        said = json.loads(opened.metadata()["state"])
        state = State({}, {}, said["lines"], {int(k): n for k, n in said["behind"].items()})
        for key in opened.keys():  # noqa: SIM118 - it is no mapping
            kind, _, name = key.partition("/")
            if kind == "weights":
                state.weights[name] = opened.get_tensor(key)
            else:
                owner, _, name = name.partition("/")
                state.left.setdefault(owner, {})[name] = opened.get_tensor(key)
    return state


def _newest_first(folder: Path) -> list[Path]:
    files = folder.glob("checkpoint-*.safetensors")
    return sorted(files, key=lambda p: int(p.stem.rpartition("-")[2]), reverse=True)
