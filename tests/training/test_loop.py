"""The training loop: what a killed process, a full disk and a NaN loss leave behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from codec.device.preprocess import Preprocess
from training.data.images import Images
from training.engine.checkpoints import last_whole_checkpoint
from training.engine.loop import LossIsNaNError, train
from training.engine.schedule import Schedule


class Exploding(torch.nn.Module):
    """Its loss becomes NaN at the seventh step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.steps = 0

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        self.steps += 1
        return {"loss": (self.weight**2).sum() * (float("nan") if self.steps > 6 else 1.0)}


def test_a_checkpoint_cut_short_is_passed_over(pictures: Path, tmp_path: Path) -> None:
    data = Images(str(pictures), "train", Preprocess(32))
    train(
        Exploding(),
        data,
        Schedule(epochs=1, batch_size=8, precision="fp32", save_steps=3, log_steps=1),
        tmp_path,
    )
    newest = last_whole_checkpoint(tmp_path)
    assert newest == str(tmp_path / "checkpoint-6")
    for name in ("optimizer.pt", "model.safetensors", "trainer_state.json", "rng_state.pth"):
        file = Path(newest) / name
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-3"), (
            f"half of {name} was taken for whole"
        )
        file.write_bytes(content)


def test_a_nan_loss_stops_and_leaves_the_checkpoint_before_it(
    pictures: Path, tmp_path: Path
) -> None:
    data = Images(str(pictures), "train", Preprocess(32))
    schedule = Schedule(epochs=2, batch_size=4, precision="fp32", save_steps=3, log_steps=1)
    with pytest.raises(LossIsNaNError, match="at step 7"):
        train(Exploding(), data, schedule, tmp_path)
    last = last_whole_checkpoint(tmp_path)
    assert last == str(tmp_path / "checkpoint-6")


def test_a_nan_loss_between_two_lines_of_the_log_is_never_saved(
    pictures: Path, tmp_path: Path
) -> None:
    data = Images(str(pictures), "train", Preprocess(32))
    schedule = Schedule(epochs=2, batch_size=4, precision="fp32", save_steps=8, log_steps=100)
    with pytest.raises(LossIsNaNError, match="at step 7"):
        train(Exploding(), data, schedule, tmp_path)
    assert last_whole_checkpoint(tmp_path) is None


class Steep(torch.nn.Module):
    """Its loss is finite, and its gradient is not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        return {"loss": self.weight.sqrt().sum() * (self.weight * 0).sum()}


def test_weights_that_are_not_finite_are_never_saved(pictures: Path, tmp_path: Path) -> None:
    data = Images(str(pictures), "train", Preprocess(32))
    schedule = Schedule(epochs=1, batch_size=4, precision="fp32", save_steps=1)
    with pytest.raises(LossIsNaNError, match="weights weight are not finite at step 1"):
        train(Steep(), data, schedule, tmp_path)
    assert last_whole_checkpoint(tmp_path) is None


def test_a_damaged_state_of_the_randomness_does_not_stop_a_resume(
    pictures: Path, tmp_path: Path
) -> None:
    data, said = Images(str(pictures), "train", Preprocess(32)), list[str]()
    schedule = Schedule(epochs=1, batch_size=8, precision="fp32", save_steps=3)
    train(Tied(), data, schedule, tmp_path)
    file = tmp_path / "checkpoint-6" / "rng_state.pth"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 255
    file.write_bytes(content)
    train(Tied(), data, schedule, tmp_path, said.append)
    assert said == [f"resuming from {tmp_path / 'checkpoint-3'}"]


def test_a_full_disk_leaves_the_checkpoint_before_it(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Images(str(pictures), "train", Preprocess(32))
    save = torch.save

    def full(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if "checkpoint-4" in str(path):
            Path(path).write_bytes(b"half a file")
            raise OSError(28, "No space left on device")
        save(value, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train(
            Exploding(),
            data,
            Schedule(epochs=1, batch_size=8, precision="fp32", save_steps=2, log_steps=1),
            tmp_path,
        )
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")


class Tied(torch.nn.Module):
    """One weight under two names, as BLIP's embeddings have."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 3, bias=False)
        self.second = self.first

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        return {"loss": (self.second.weight**2).sum()}


def test_weights_with_two_names_are_kept_and_training_resumes_from_them(
    pictures: Path, tmp_path: Path
) -> None:
    data, said = Images(str(pictures), "train", Preprocess(32)), list[str]()
    train(
        Tied(),
        data,
        Schedule(epochs=1, batch_size=8, precision="fp32", save_steps=3),
        tmp_path,
        said.append,
    )
    with safe_open(tmp_path / "checkpoint-6" / "model.safetensors", framework="pt") as weights:
        kept = [weights.get_tensor(name) for name in ("first.weight", "second.weight")]
    assert torch.equal(*kept)
    resumed = Tied()
    train(
        resumed,
        data,
        Schedule(epochs=1, batch_size=8, precision="fp32", save_steps=3),
        tmp_path,
        said.append,
    )
    assert said == [f"resuming from {tmp_path / 'checkpoint-6'}"]
    assert torch.equal(resumed.first.weight, kept[0])
    assert resumed.second is resumed.first


class Watching(Exploding):
    """Keeps the keys of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[torch.Tensor] = []

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        self.keys.append(keys.clone())
        return {"loss": (self.weight**2).sum()}


@pytest.mark.parametrize(("fresh", "rounds"), [(None, [0, 1, 2, 3]), (2, [0, 1, 0, 1])])
def test_crops_come_again_after_the_fresh_epochs_in_another_order(
    pictures: Path, tmp_path: Path, fresh: int | None, rounds: list[int]
) -> None:
    data, module = Images(str(pictures), "train", Preprocess(32)), Watching()
    train(
        module,
        data,
        Schedule(epochs=4, batch_size=8, precision="fp32", fresh_epochs=fresh),
        tmp_path,
    )
    epochs = torch.cat(module.keys).view(4, -1)
    assert [set((row >> 32).tolist()) for row in epochs] == [{i} for i in rounds]
    assert not torch.equal(epochs[0] & 0xFFFFFFFF, epochs[2] & 0xFFFFFFFF)
