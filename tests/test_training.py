"""Training: recipes, randomness that belongs to the sample, resuming, several processes, and the real backbone's path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification

from codec import FeatureCodec
from codec.bitstream import HEADER_BYTES
from codec.preprocess import Preprocess
from training.backbone import BackboneRecipe
from training.data import Images, augment, uniform
from training.loop import LossIsNaNError, Schedule, last_whole_checkpoint, train
from training.recipe import RECIPES, read_recipe
from training.train import CodecRecipe, run

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 labelled pictures in folders, four colours of noise."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(48):
        pixels = rng.integers(0, 90, (32, 32, 3)).astype(np.uint8)
        pixels[..., i % 3] += 60 * (i % 4 > 0)
        place = folder / "train" / f"kind{i % 4}" / f"{i:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    return folder


@pytest.fixture
def recipe(pictures: Path, tiny_backbone: Path) -> CodecRecipe:
    schedule = Schedule(epochs=2, batch_size=8, lr=2e-3, bf16=False, save_steps=5, log_steps=1)
    return CodecRecipe(
        name="small",
        backbone=str(tiny_backbone),
        data=str(pictures),
        train_split="train[:40]",
        validation_split="train[40:]",
        k=1,
        encoder="student",
        side=4,
        n_channels=4,
        rate_weights=(1e-3, 1e-4),
        match=schedule,
        answer=schedule,
        student_widths=(8, 8, 8),
        student_depths=(0, 1, 0),
        adapter_rank=2,
    )


@pytest.fixture(autouse=True)
def _no_compilation() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):
        yield


def losses(folder: Path) -> list[float]:
    """Losses a finished stage logged, from its last checkpoint."""
    last = last_whole_checkpoint(folder)
    assert last
    return [row["loss"] for row in json.loads((Path(last) / "trainer_state.json").read_text())["log_history"] if "loss" in row]


@pytest.mark.parametrize("encoder", ["student", "blocks"])
def test_training_ends_in_a_codec_whose_blobs_decode(recipe: CodecRecipe, encoder: Any, tmp_path: Path) -> None:
    run(replace(recipe, encoder=encoder), tmp_path)
    stage = losses(tmp_path / "match")
    assert np.mean(stage[-3:]) < np.mean(stage[:3])
    codec = FeatureCodec.from_pretrained(tmp_path / "final")
    x = torch.randn(3, 3, 32, 32)
    for q in codec.qualities:
        for image, blob in zip(codec.symbols(x, q), codec.encode(x, q), strict=True):
            assert len(blob) - HEADER_BYTES <= 1.01 * codec.tables[q].bits(image.T) / 8 + 2
    assert codec.tail(codec.decode(codec.encode(x))).logits.shape == (3, 4)
    card = (tmp_path / "final" / "README.md").read_text()
    assert "| 0 |" in card
    assert str(tmp_path.parent) not in card


def test_a_killed_run_continues_to_the_numbers_of_an_uninterrupted_one(recipe: CodecRecipe, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    run(recipe, tmp_path / "whole")
    original = torch.nn.Module.__call__
    calls = 0

    def count(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        if type(self).__name__ == "CodecTask":
            calls += 1
            if calls == 8:
                raise KilledError
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):  # noqa: PT012
        patch.setattr(torch.nn.Module, "__call__", count)
        run(recipe, tmp_path / "cut")
    assert last_whole_checkpoint(tmp_path / "cut" / "match")
    run(recipe, tmp_path / "cut")
    for stage in ("match", "answer"):
        np.testing.assert_allclose(losses(tmp_path / "cut" / stage), losses(tmp_path / "whole" / stage), rtol=1e-5)
    first, second = (FeatureCodec.from_pretrained(tmp_path / name / "final") for name in ("whole", "cut"))
    assert first.fingerprint == second.fingerprint


def test_a_checkpoint_cut_short_is_passed_over(recipe: CodecRecipe, tmp_path: Path) -> None:
    run(recipe, tmp_path)
    stage = tmp_path / "match"
    newest = last_whole_checkpoint(stage)
    assert newest == str(stage / "checkpoint-10")
    for name in ("optimizer.pt", "model.safetensors", "trainer_state.json"):
        file = Path(newest) / name
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        assert last_whole_checkpoint(stage) == str(stage / "checkpoint-5"), f"half of {name} was taken for whole"
        file.write_bytes(content)


class Exploding(torch.nn.Module):
    """Its loss becomes NaN at the seventh step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.steps = 0

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor) -> dict[str, torch.Tensor]:
        self.steps += 1
        return {"loss": (self.weight**2).sum() * (float("nan") if self.steps > 6 else 1.0)}


def test_a_nan_loss_stops_and_leaves_the_checkpoint_before_it(pictures: Path, tmp_path: Path) -> None:
    data = Images(str(pictures), "train", Preprocess(32))
    schedule = Schedule(epochs=2, batch_size=4, bf16=False, save_steps=3, log_steps=1)
    with pytest.raises(LossIsNaNError, match="at step 7"):
        train(Exploding(), data, schedule, tmp_path)
    last = last_whole_checkpoint(tmp_path)
    assert last == str(tmp_path / "checkpoint-6")


def test_a_full_disk_leaves_the_checkpoint_before_it(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Images(str(pictures), "train", Preprocess(32))
    save = torch.save

    def full(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if "checkpoint-4" in str(path):
            Path(path).write_bytes(b"half a file")
            raise OSError(28, "No space left on device")
        save(value, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train(Exploding(), data, Schedule(epochs=1, batch_size=8, bf16=False, save_steps=2, log_steps=1), tmp_path)
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")


def test_two_processes_train_to_the_same_loss_as_one(recipe: CodecRecipe, tmp_path: Path) -> None:
    run(recipe, tmp_path / "one")
    values = {
        "name": "small", "backbone": recipe.backbone, "data": recipe.data, "train_split": "train[:40]",
        "validation_split": "train[40:]", "k": 1, "encoder": "student", "side": 4, "n_channels": 4, "rate_weights": [1e-3, 1e-4],
        "student_widths": [8, 8, 8], "student_depths": [0, 1, 0], "adapter_rank": 2,
    }  # fmt: skip
    schedule = {"epochs": 2, "batch_size": 4, "lr": 2e-3, "bf16": False, "save_steps": 5, "log_steps": 1}
    file = tmp_path / "small.yaml"
    file.write_text(json.dumps(values | {"match": schedule, "answer": schedule}))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--rdzv_backend=c10d",
               "--rdzv_endpoint=localhost:0", "-m", "training.train", str(file), "--out", str(tmp_path / "two")]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    # sums in another order differ in their last bits, and rounding to symbols makes that grow from step to step
    for stage, tolerance in (("match", 1e-2), ("answer", 1e-1)):
        one, two = (losses(tmp_path / name / stage) for name in ("one", "two"))
        np.testing.assert_allclose(two, one, rtol=tolerance)
        np.testing.assert_allclose(two[0], one[0], rtol=5e-3)


def test_the_real_backbone_trains_on_the_same_path(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ViTForImageClassification(ViTConfig(num_labels=1000))
    model.save_pretrained(tmp_path / "vit-base")
    processor = {"do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2, "size": 224}
    (tmp_path / "vit-base" / "preprocessor_config.json").write_text(json.dumps(processor))
    rng = np.random.default_rng(0)
    for i in range(6):
        place = tmp_path / "pictures" / "train" / "abcdef"[i] / "x.png"
        place.parent.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 255, (200, 260, 3)).astype(np.uint8)).save(place)
    overrides = [
        f"backbone={tmp_path / 'vit-base'}",
        f"data={tmp_path / 'pictures'}",
        "train_split=train[:4]",
        "validation_split=train[4:]",
    ]
    for stage in ("match", "answer"):
        overrides += [f"{stage}.epochs=1", f"{stage}.batch_size=4", f"{stage}.num_workers=0", f"{stage}.log_steps=1"]
    codec = run(read_recipe(CodecRecipe, "vit-base-imagenet-student", overrides), tmp_path / "out")
    x = torch.randn(1, 3, 224, 224)
    tokens = codec.decode(codec.encode(x))
    assert tokens.shape == (1, 197, 768)
    assert codec.tail(tokens).logits.shape == (1, 1000)


def test_every_shipped_recipe_can_be_read() -> None:
    for file in RECIPES.glob("*.yaml"):
        kind: Any = CodecRecipe if "\nbackbone:" in file.read_text() else BackboneRecipe
        assert read_recipe(kind, file.stem).name


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("k=two", "'k' wants int, not 'two'"),
        ("match.epoch=3", "unknown recipe key 'match.epoch'"),
        ("rate_weights=3", "'rate_weights' is a list"),
        ("encoder=magic", "'encoder' is one of student, blocks"),
        ("match=3", "'match' is a section"),
        ("k", "not of the form key=value"),
        ("k.x=1", "'k' is not a section"),
    ],
)
def test_a_wrong_override_is_named(override: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_recipe(CodecRecipe, "vit-tiny-cifar10-student", [override])


def test_an_unknown_recipe_says_which_ship() -> None:
    with pytest.raises(FileNotFoundError, match="vit-tiny-cifar10-student"):
        read_recipe(CodecRecipe, "no-such-recipe")


def test_a_samples_randomness_is_its_own_whatever_the_batch() -> None:
    keys = torch.arange(1000)
    whole = uniform(keys, 50, stream=1)
    assert torch.equal(whole[7:9], uniform(keys[7:9], 50, stream=1))
    assert not torch.equal(whole, uniform(keys, 50, stream=0))
    assert 0 <= whole.min() < whole.max() < 1
    assert abs(whole.mean() - 0.5) < 0.01
    assert abs(whole.std() - 12**-0.5) < 0.01
    assert abs(np.corrcoef(whole[:, 0], whole[:, 1])[0, 1]) < 0.1


def test_augmentation_shifts_and_flips_and_keeps_the_picture() -> None:
    pixels = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).expand(200, 3, 8, 8)
    moved = augment(pixels, torch.arange(200), shift=2)
    assert moved.shape == pixels.shape
    centres = {int(v) for v in moved[:, 0, 4, 4]}
    assert len(centres) > 20
    unshifted = augment(pixels, torch.arange(200), shift=0)
    flipped = [not torch.equal(a, b) for a, b in zip(unshifted, pixels, strict=True)]
    assert 60 < sum(flipped) < 140
    for a, b, f in zip(unshifted, pixels, flipped, strict=True):
        assert torch.equal(a.flip(-1) if f else a, b)
