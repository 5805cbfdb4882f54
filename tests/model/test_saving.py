"""codec.model.saving: a checkpoint is written whole or not at all, and goes to the hub as it is."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from codec import FeatureCodec
from codec.model import saving

REAL = huggingface_hub.HfApi


@pytest.fixture
def saved(tiny_codec_folder: Path, tmp_path: Path) -> Path:
    """A good checkpoint of its own, with a model card and a table beside."""
    folder = tmp_path / "saved"
    shutil.copytree(tiny_codec_folder, folder)
    (folder / "README.md").write_text("a card")
    (folder / "sweep.jsonl").write_text("{}")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if not p.is_dir()}


@pytest.mark.parametrize("failing", ["write_manifest", "_to_disk", "_copy_backbone"])
def test_a_full_disk_leaves_the_good_checkpoint(
    saved: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    codec, before = FeatureCodec.from_pretrained(saved), content(saved)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, failing, full)
    with pytest.raises(OSError, match="No space left"):
        codec.with_config(name="new").save_pretrained(saved)
    assert content(saved) == before


@pytest.mark.parametrize("n_moves", range(8))
def test_a_swap_that_stops_half_way_is_taken_back(
    saved: Path, monkeypatch: pytest.MonkeyPatch, n_moves: int
) -> None:
    codec, before = FeatureCodec.from_pretrained(saved), content(saved)
    rename, done = Path.rename, []

    def few(self: Path, target: Path) -> Path:
        done.append(target)
        if len(done) == n_moves + 1:
            raise OSError("stopped")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", few)
    with pytest.raises(OSError, match="stopped"):
        codec.with_config(name="new").save_pretrained(saved)
    assert content(saved) == before


def test_saving_over_a_checkpoint_keeps_what_is_not_its_own(saved: Path) -> None:
    codec = FeatureCodec.from_pretrained(saved)
    codec.with_config(name="new").save_pretrained(saved)
    loaded = FeatureCodec.from_pretrained(saved)
    assert (loaded.config.name, loaded.fingerprint) == ("new", codec.fingerprint)
    assert (saved / "README.md").read_text() == "a card"
    assert (saved / "sweep.jsonl").is_file()
    assert not [p for p in saved.iterdir() if p.name.startswith(".")]


def test_what_a_killed_save_left_behind_goes_with_the_next_one(saved: Path, tmp_path: Path) -> None:
    codec, start = FeatureCodec.from_pretrained(saved), saving._saving()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "file").write_text("")
    left = saved / f"{start}{ended.pid}-abc"
    (left / "old" / "backbone").mkdir(parents=True)
    (left / "old" / "config.json").write_text("{}")
    others = {
        saved / f"{start}{os.getpid()}-abc",  # a save that runs
        saved / f".saving-another_machine-{ended.pid}-abc",
        saved / ".saving-notes",
    }
    for place in others:
        place.mkdir()
    link = saved / f"{start}{ended.pid}-link"
    link.symlink_to(foreign, target_is_directory=True)
    codec.save_pretrained(saved)
    assert {p for p in saved.iterdir() if p.name.startswith(".")} == {*others, link}
    assert (foreign / "file").is_file()


def test_a_save_that_fails_keeps_what_a_killed_one_moved_away(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = FeatureCodec.from_pretrained(saved)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    left = saved / f"{saving._saving()}{ended.pid}-abc"
    left.mkdir()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "_swap", full)
    with pytest.raises(OSError, match="No space left"):
        codec.save_pretrained(saved)
    assert left.is_dir()


def test_a_saved_manifest_names_the_fingerprint_and_every_file(
    tiny_codec_folder: Path, tiny_codec: FeatureCodec
) -> None:
    manifest = json.loads((tiny_codec_folder / "manifest.json").read_text())
    assert bytes.fromhex(manifest["fingerprint"]) == tiny_codec.fingerprint
    assert set(manifest["sha256"]) == set(content(tiny_codec_folder)) - {"manifest.json"}


def test_of_a_backbones_folder_only_what_is_loaded_is_copied(
    tiny_codec_folder: Path, tiny_blip_folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny_codec_folder, source)
    (source / "manifest.json").unlink()
    for name in ("optimizer.pt", "notes.txt", ".git/config.json", "runs/model.safetensors"):
        (source / "backbone" / name).parent.mkdir(parents=True, exist_ok=True)
        (source / "backbone" / name).write_text("{}")
    FeatureCodec.from_pretrained(source).save_pretrained(tmp_path / "out")
    assert {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")} == {
        "config.json",
        "codec.safetensors",
        "manifest.json",
        "backbone/config.json",
        "backbone/model.safetensors",
        "backbone/preprocessor_config.json",
    }
    words = FeatureCodec.from_pretrained(tiny_blip_folder)
    words.save_pretrained(tmp_path / "words")
    shutil.move(tmp_path / "words", tmp_path / "moved")
    moved = FeatureCodec.from_pretrained(tmp_path / "moved")
    for task in moved.config.tasks:
        assert moved.load_tokenizer(task)("how many?").input_ids


class Hub:
    """Takes what the hub's client takes, by its own signatures, and remembers it."""

    calls: dict[str, dict[str, Any]]

    def __init__(self, **given: Any) -> None:
        Hub.calls = {"HfApi": self._bound(REAL.__init__, given)}

    def create_repo(self, *args: Any, **given: Any) -> None:
        Hub.calls["create_repo"] = self._bound(REAL.create_repo, given, *args)

    def upload_folder(self, **given: Any) -> str:
        bound = self._bound(REAL.upload_folder, given)
        folder = Path(bound.pop("folder_path"))
        Hub.calls["upload_folder"] = bound | {"files": set(content(folder))}
        Hub.calls["card"] = {"text": (folder / "README.md").read_text()}
        Hub.calls["codec"] = {"fingerprint": FeatureCodec.from_pretrained(folder).fingerprint}
        return "commit"

    def _bound(self, function: Any, given: dict[str, Any], *args: Any) -> dict[str, Any]:
        arguments = inspect.signature(function).bind(self, *args, **given).arguments
        return {name: value for name, value in arguments.items() if name != "self"}


def test_pushing_uploads_what_saving_writes_and_the_model_card(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    codec = FeatureCodec.from_pretrained(saved)
    given = {"private": True, "token": "t", "commit_message": "first"}
    assert codec.push_to_hub("me/mine", **given) == "commit"
    assert Hub.calls["HfApi"] == {"token": "t"}
    repository = Hub.calls["create_repo"]
    assert repository == {
        "repo_id": "me/mine",
        "repo_type": None,
        "exist_ok": True,
        "private": True,
    }
    files = Hub.calls["upload_folder"].pop("files")
    assert Hub.calls["upload_folder"] == {"repo_id": "me/mine", "commit_message": "first"}
    assert files == set(content(saved)) - {"sweep.jsonl"}
    assert Hub.calls["codec"] == {"fingerprint": codec.fingerprint}


def test_pushing_a_codec_without_folder_takes_no_card_of_another(
    tiny_codec: FeatureCodec, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    fresh = tiny_codec.with_config(name="fresh")
    fresh.folder = Path()
    (tmp_path / "README.md").write_text("of something else")
    shutil.copytree(saved / "backbone", tmp_path / "backbone")
    monkeypatch.chdir(tmp_path)
    fresh.push_to_hub("me/mine", repo_type="model", revision="r")
    assert "of something else" not in Hub.calls["card"]["text"]
    assert "# fresh: a task-oriented codec" in Hub.calls["card"]["text"]
    assert Hub.calls["create_repo"]["repo_type"] == Hub.calls["upload_folder"]["repo_type"]
    assert Hub.calls["upload_folder"]["revision"] == "r"
