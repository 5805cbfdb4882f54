"""Bundles whose manifest, tables, samples or graph are changed, and mostly signed anew: each opens
and codes a picture to a blob that it reads back, or is refused with a reason.

Input: the files that are changed, see `folders`.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from codec.device.bundle import manifest_digest
from codec.device.encoder import DeviceEncoder
from tests.attacks.folders import Workplace, as_input, json_bytes, npz_bytes, signed
from tests.attacks.mutate import some_bytes, some_json

MANIFEST = "manifest.json"
CODEC = "vit-tiny-cifar10"


class Bundles:
    """The target.

    Args:
        whole: a bundle; None to export one, which takes a while.
    """

    def __init__(self, whole: Path | None = None) -> None:
        folder = Path(tempfile.mkdtemp())
        if whole is None:
            code = (
                "import sys; from pathlib import Path; from codec import FeatureCodec; "
                "from codec.bundle.export import export_bundle; "
                "export_bundle(FeatureCodec.from_pretrained(sys.argv[1]), Path(sys.argv[2]), "
                "'jetson-nano')"
            )
            whole = folder / "whole"
            subprocess.run([sys.executable, "-c", code, CODEC, str(whole)], check=True)
        else:
            whole = Path(shutil.copytree(whole, folder / "whole"))
        self._whole = whole
        self._place = Workplace(whole, folder / "work")
        self._manifest = json.loads((whole / MANIFEST).read_text())
        files = ("tables.npz", "samples.npz", "encoder.onnx")
        self._files = {name: (whole / name).read_bytes() for name in files}
        side = self._manifest["preprocess"]["size"]
        self._picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        self.note = f"a bundle of {self._manifest['name']}"

    def make(self, rng: random.Random) -> bytes:
        kind, files = rng.random(), {}
        values: Any = self._manifest
        if kind < 0.5:
            values = some_json(rng, values)
        elif kind < 0.85:
            name = rng.choice(("tables.npz", "tables.npz", "tables.npz", "samples.npz"))
            files[name] = npz_bytes(rng, self._files[name])
        else:
            files["encoder.onnx"] = _graph(rng, self._files["encoder.onnx"])
        if rng.random() < 0.9 and isinstance(values, dict):
            try:
                values = signed(files, values)
                values["digest"] = manifest_digest(values)
            except TypeError:  # what is no text is among the keys
                pass
            files[MANIFEST] = json.dumps(values).encode()
        elif not files:
            files[MANIFEST] = json_bytes(rng, values)
        return as_input(files)

    def check(self, data: bytes) -> None:
        encoder = DeviceEncoder(str(self._place.put(data)))
        (blob,) = encoder([self._picture])
        symbols, quality = encoder.decode(blob)
        assert quality == encoder.default_quality
        assert np.abs(symbols).max() <= 127


def _graph(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + some_bytes(rng, data[at : at + 256]) + data[at + 256 :]
