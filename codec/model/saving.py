"""codec -> folder or hub: a checkpoint is written whole or not at all."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from codec.model.checkpoint import (
    CONFIG,
    MANIFEST,
    WEIGHTS,
    find_backbone,
    is_path,
    needed_files,
    shipped_root,
    write_manifest,
)
from codec.model.config import CodecConfig

PARTS = (CONFIG, WEIGHTS, MANIFEST, "backbone")
"""What a codec's folder is made of; whatever else is in it (a model card) stays."""
REPOSITORY = ("private", "visibility", "resource_group_id", "region")
"""Settings of a repository on the hub, used where it is made."""


def save_checkpoint(
    out: Path,
    config: CodecConfig,
    tensors: Mapping[str, torch.Tensor],
    fingerprint: bytes,
    loaded_from: Path,
) -> None:
    """Write a codec into `out`: config.json, codec.safetensors, manifest.json, and its backbone
    unless that ships or is on the hub.

    All of it is written beside what is there, then takes its place. Where writing fails, what was
    there stays. At the end, what saves left behind that were killed is removed.

    Args:
        tensors: the codec's own weights and its prior.
        fingerprint: 32 bytes.
        loaded_from: folder that the configuration's backbone is looked up in.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{_saving()}{os.getpid()}-", dir=out) as place:
        new, old = Path(place) / "new", Path(place) / "old"
        new.mkdir()
        old.mkdir()
        inside = replace(config, backbone="backbone")
        for task, reference in config.backbones.items():
            source = Path(find_backbone(reference, loaded_from))
            if not source.is_dir() and is_path(str(source)):
                raise FileNotFoundError(f"no backbone {reference!r}: it is saved with the codec")
            if source.is_dir() and shipped_root() not in source.parents:
                _copy_backbone(source, new / inside.backbones[task])
                config = inside
        (new / CONFIG).write_text(config.to_json())
        save_file(dict(tensors), new / WEIGHTS)
        write_manifest(new, fingerprint)
        for file in new.rglob("*"):
            if file.is_file():
                _to_disk(file)
        _swap(new, out, old)
    _remove_left_behind(out)


def _saving() -> str:
    """How the names of temporary folders of this machine's saves begin."""
    return f".saving-{re.sub(r'[^A-Za-z0-9.]', '_', platform.node())}-"


def _remove_left_behind(out: Path) -> None:
    """Remove the temporary folders in `out` of saves whose process, on this machine, is dead.

    They may hold what the killed save had moved away: they go only when a whole codec is there.
    """
    if os.name != "posix":  # elsewhere `os.kill` would end the process that it asks for
        return
    for place in out.glob(".saving-*"):
        pid = re.fullmatch(rf"{re.escape(_saving())}(\d{{1,9}})-\w+", place.name)
        if pid and not place.is_symlink() and place.is_dir() and not _lives(int(pid[1])):
            shutil.rmtree(place, ignore_errors=True)


def _lives(pid: int) -> bool:
    """Whether there is such a process; signal 0 asks, and does nothing (POSIX, `kill`)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def _copy_backbone(source: Path, target: Path) -> None:
    """Copy the files that a backbone is loaded from, and nothing else that is in its folder."""
    target.mkdir(parents=True)
    for name in needed_files(source, ""):
        shutil.copyfile(source / name, target / name)


def _to_disk(file: Path) -> None:
    """On the disk before it is under its name: a power cut leaves the old file or the new one."""
    with file.open("rb+") as written:
        os.fsync(written.fileno())


def _swap(new: Path, out: Path, old: Path) -> None:
    """Put the parts in `new` into `out`, and its former ones into `old`: all, or none."""
    moved: list[tuple[Path, Path]] = []
    try:
        for name in PARTS:
            for source, target in ((out / name, old / name), (new / name, out / name)):
                if source.exists():
                    source.rename(target)
                    moved.append((source, target))
    except OSError:
        for source, target in reversed(moved):
            target.rename(source)
        raise


def upload(repo_id: str, folder: Path, **settings: Any) -> str:
    """Upload a folder to the hub, into a repository that is made where there is none.

    Args:
        settings: `token`; those of `REPOSITORY` and `repo_type`, as in `HfApi.create_repo`; others,
            and `repo_type` too, as in `HfApi.upload_folder`.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=settings.pop("token", None))
    made = {name: settings.pop(name) for name in REPOSITORY if name in settings}
    api.create_repo(repo_id, repo_type=settings.get("repo_type"), exist_ok=True, **made)
    return str(api.upload_folder(repo_id=repo_id, folder_path=folder, **settings))
