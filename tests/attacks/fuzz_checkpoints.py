"""Checkpoints whose config, manifest or weights, or whose backbone's config is changed, and mostly
signed anew: each loads and decodes what it encodes, or is refused with a reason.

Input: the files that are changed, see `folders`; "whole" is loaded as a server does where it is
there, else as a device does.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from codec import FeatureCodec
from codec.files import sha256
from codec.model.checkpoint import CONFIG, MANIFEST, WEIGHTS, needed_files, shipped_root
from codec.model.loading import load_encoder
from tests.attacks.folders import Workplace, as_input, json_bytes, safetensors_bytes, signed
from tests.attacks.mutate import some_json

CODEC, WHOLE = "vit-tiny-cifar10", "whole"
BACKBONE = f"backbones/{CODEC}"


class Checkpoints:
    """The target."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self._whole = folder / "codec"
        self._whole.mkdir()
        for name in (CONFIG, MANIFEST, WEIGHTS):
            shutil.copy(shipped_root() / CODEC / name, self._whole)
        (self._whole / WHOLE).touch()
        shutil.copytree(shipped_root() / BACKBONE, self._whole / BACKBONE)
        (self._whole / BACKBONE / MANIFEST).unlink()
        self._backbone = json.loads((self._whole / BACKBONE / CONFIG).read_text())
        self._config, self._manifest = (
            json.loads((self._whole / name).read_text()) for name in (CONFIG, MANIFEST)
        )
        self._manifest["sha256"] = {
            name.as_posix(): sha256(self._whole / name) for name in needed_files(self._whole)
        }
        (self._whole / MANIFEST).write_text(json.dumps(self._manifest))
        self._weights = (self._whole / WEIGHTS).read_bytes()
        self._place = Workplace(self._whole, folder / "work")
        self.note = f"a checkpoint of {CODEC}"
        torch.set_num_threads(1)
        self.check(as_input({WHOLE: b"1"}))  # the first time takes seconds: imports

    def make(self, rng: random.Random) -> bytes:
        kind, files = rng.random(), {}
        manifest: Any = self._manifest
        if kind < 0.45:
            files[CONFIG] = json_bytes(rng, self._config)
        elif kind < 0.55:
            manifest = some_json(rng, manifest)
        elif kind < 0.7:
            files[f"{BACKBONE}/{CONFIG}"] = json_bytes(rng, self._backbone)
        else:
            files[WEIGHTS] = safetensors_bytes(rng, self._weights)
        if isinstance(manifest, dict) and rng.random() < 0.9:
            manifest = signed(files, manifest)
        files[MANIFEST] = json.dumps(manifest).encode()
        if f"{BACKBONE}/{CONFIG}" in files or rng.random() < 0.3:
            files[WHOLE] = b"1"
        return as_input(files)

    def check(self, data: bytes) -> None:
        folder = self._place.put(data)
        if (folder / WHOLE).stat().st_size:
            codec = FeatureCodec.from_pretrained(folder)
            size = codec.config.preprocess.size
            symbols = codec.symbols(torch.zeros(1, 3, size, size), codec.config.default_quality)
            (blob,) = codec.code(symbols, codec.config.default_quality)
            codec.decode([blob])
            return
        encoder = load_encoder(folder)
        if encoder is None:
            return
        size = encoder.config.preprocess.size
        encoder.encode(torch.zeros(1, 3, size, size))
