"""folder of a run -> the checkpoint that training goes on from: the newest one that is whole."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open


def last_whole_checkpoint(out: Path) -> str | None:
    """The newest checkpoint in `out` whose every file can be read; one that a kill or a full disk
    cut short is passed over.
    """
    folders = sorted(
        out.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]), reverse=True
    )
    return next((str(folder) for folder in folders if _is_whole(folder)), None)


def _is_whole(folder: Path) -> bool:
    try:
        json.loads((folder / "trainer_state.json").read_text())
        with safe_open(folder / "model.safetensors", framework="pt") as weights:
            weights.keys()
        for name in ("optimizer.pt", "scheduler.pt"):
            torch.load(folder / name, map_location="cpu", weights_only=True)
        # there may be none; the checksums inside say whether one is whole
        for file in folder.glob("rng_state*.pth"):
            with zipfile.ZipFile(file) as archive:
                if archive.testzip() is not None:
                    return False
    except (
        OSError,
        ValueError,
        RuntimeError,
        EOFError,
        SafetensorError,
        UnpicklingError,
        zipfile.BadZipFile,
    ):
        return False
    return True
