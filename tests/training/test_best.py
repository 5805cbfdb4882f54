"""The best epoch: what each one scores is said, and the weights of the best are those kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors import safe_open

from codec.device.preprocess import Preprocess
from training.data.images import Images
from training.engine.best import FILE, Best
from training.engine.loop import train
from training.engine.schedule import Schedule


class Counting(torch.nn.Module):
    """Its weight goes down by the learning rate in each step; what is frozen stays."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.frozen = torch.nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        return {"loss": self.weight + 0 * self.frozen}


def epochs_of(module: Counting, scores: list[float], out: Path, said: list[str]) -> Best:
    """A run of as many epochs as there are scores; the weight is the epoch's number."""
    given: Iterator[float] = iter(scores)
    best = Best(module, lambda: {"score": next(given), "bytes": 9.0}, out, said.append)
    for epoch in range(1, len(scores) + 1):
        with torch.no_grad():
            module.weight.fill_(epoch)
        state = SimpleNamespace(is_world_process_zero=True, epoch=float(epoch))
        best.on_epoch_end(None, state, None)
    return best


def test_each_epoch_is_said_and_the_best_comes_back(tmp_path: Path) -> None:
    module, said = Counting(), list[str]()
    epochs_of(module, [50.0, 70.0, 60.0], tmp_path, said).restore()
    assert module.weight.item() == 2
    assert said == [
        "epoch 1.00: score 50.00, bytes 9.00, the best so far",
        "epoch 2.00: score 70.00, bytes 9.00, the best so far",
        "epoch 3.00: score 60.00, bytes 9.00",
    ]
    with safe_open(tmp_path / FILE, framework="pt") as held:
        assert list(held.keys()) == ["weight"], "what is not trained is not kept"


def test_a_run_that_goes_on_knows_the_best_of_before(tmp_path: Path) -> None:
    epochs_of(Counting(), [70.0], tmp_path, [])
    later = Counting()
    epochs_of(later, [60.0, 65.0], tmp_path, []).restore()
    assert later.weight.item() == 1
    epochs_of(later, [70.5], tmp_path, [])
    with safe_open(tmp_path / FILE, framework="pt") as held:
        assert held.metadata() == {"score": "70.5"}


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    best = Best(Counting(), lambda: {"score": 1.0}, tmp_path, lambda _: None)
    best.on_epoch_end(None, SimpleNamespace(is_world_process_zero=False, epoch=1.0), None)
    assert not (tmp_path / FILE).exists()
    best.restore()


def test_training_ends_in_the_weights_of_the_best_epoch(pictures: Path, tmp_path: Path) -> None:
    module, seen, said = Counting(), list[float](), list[str]()

    def validate() -> dict[str, float]:
        seen.append(module.weight.item())
        return {"score": -len(seen)}  # the first is the best

    schedule = Schedule(epochs=2, batch_size=16, lr=1e-2, precision="fp32", report_to=())
    data = Images(str(pictures), "train", Preprocess(32))
    train(module, data, schedule, tmp_path, said.append, validate=validate)
    assert module.weight.item() == seen[0] != seen[1]
    assert said[0] == "epoch 1.00: score -1.00, the best so far"
