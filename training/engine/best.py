"""weights after each epoch -> a score on held-out pictures; those of the best epoch are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import TrainerCallback

from codec.files import whole_file

FILE = "best.safetensors"


class Best(TrainerCallback):
    """Scores a module at the end of each epoch, and keeps what is trained of it where that is the
    best so far. A run that goes on knows the best of before.

    Args:
        module: what is trained.
        validate: gives the scores in percent by name; the first is what epochs are compared by, and
            more is better.
        out: the folder of the stage.
        report: is told the scores of each epoch in a line.
    """

    def __init__(
        self,
        module: nn.Module,
        validate: Callable[[], dict[str, float]],
        out: Path,
        report: Callable[[str], None],
    ) -> None:
        self.module, self.validate, self.report = module, validate, report
        self.file = out / FILE
        self.best = float("-inf")
        if self.file.is_file():
            with safe_open(self.file, framework="pt") as held:
                self.best = float((held.metadata() or {})["score"])

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        scores = self.validate()
        first = next(iter(scores.values()))
        said = ", ".join(f"{name} {score:.2f}" for name, score in scores.items())
        kept = state.is_world_process_zero and first > self.best
        if kept:
            self.best = first
            trained = {
                name: p.detach().cpu().contiguous()
                for name, p in self.module.named_parameters()
                if p.requires_grad
            }
            with whole_file(self.file) as file:
                save_file(trained, file, metadata={"score": str(first)})
        self.report(f"epoch {state.epoch:.2f}: {said}{', the best so far' if kept else ''}")

    @torch.no_grad()
    def restore(self) -> None:
        """Give the module the weights of the best epoch."""
        if not self.file.is_file():
            return
        parameters = dict(self.module.named_parameters())
        with safe_open(self.file, framework="pt") as held:
            for name in held.keys():  # noqa: SIM118 - it is no dictionary
                parameters[name].copy_(held.get_tensor(name))
