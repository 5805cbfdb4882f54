"""folder of a bundle -> its manifest and the facts it states, checked before anything is built of
them: a bundle can come from anyone.

Part of the one file for devices: Python 3.6.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from typing import Any, NamedTuple

from codec.coding.container import MAX_QUALITIES
from codec.device.engines import ALONE_FILE, LATENT, ONNX_FILE, PIXELS, SYMBOLS, TYPED_FILE
from codec.device.preprocess import MAX_SIDE, Preprocess
from codec.files import read_json, sha256

BUNDLE_FORMAT = 1
MANIFEST_FILE, TABLES_FILE, SAMPLES_FILE = "manifest.json", "tables.npz", "samples.npz"
WAYS_FILE = "ways.json"
NETWORK = ("unit", "hidden", "hidden_bias", "shift", "out", "out_bias", "factor", "bias")
READ = (ONNX_FILE, TABLES_FILE)
"""What every bundle has; a manifest lists these, and the files below where they are there."""
KNOWN = (
    *(*READ, TYPED_FILE, SAMPLES_FILE, WAYS_FILE, ALONE_FILE),
    *("taskcodec_device.py", "build_engine.py"),
)
MAX_VALUES = 1 << 28
"""Most values of a batch of pixels."""
MAX_LABELS, MAX_LABEL = 1 << 16, 200
"""Most labels of a classifier, and most characters of one."""


class Facts(NamedTuple):
    """What a manifest says, in the right types and ranges.

    Attributes:
        drops: points of score that each quality loses; none in a bundle that has no calibration.
        layers, halves: as `codec.coding.progressive.progressive_prior` takes them.
        shapes: of the engine's tensors, by name.
        labels: of the classifier for the device alone; none in a bundle without one.
    """

    preprocess: Preprocess
    fingerprint: bytes
    side: int
    default_quality: int
    drops: list[float]
    layers: list[int]
    halves: list[int]
    shapes: dict[str, tuple[int, ...]]
    labels: list[str]


def read_manifest(folder: str) -> dict[str, Any]:
    """The manifest of a bundle, with itself and every file it lists checked.

    Raises:
        FileNotFoundError: no bundle there, or a file of it is missing.
        ValueError: a file was cut or altered or is not listed, or the bundle is of another format.
    """
    path = os.path.join(folder, MANIFEST_FILE)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no bundle in {folder}: it has no {MANIFEST_FILE}")
    try:
        manifest = read_json(path)
        version, sums, digest = manifest["format"], manifest["sha256"], manifest["digest"]
        if not isinstance(sums, dict):
            raise TypeError("sha256 is an object")
        if not isinstance(manifest["name"], str):
            raise TypeError("name is a text")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a bundle's manifest: {error}") from error
    if version != BUNDLE_FORMAT:
        raise ValueError(
            f"the bundle is of format {_short(version)}, this runtime reads {BUNDLE_FORMAT}: "
            "export it anew"
        )
    if manifest_digest(manifest) != digest:
        raise ValueError(f"{path} was altered: its digest is not that of what it says")
    for name in KNOWN:
        if name not in sums and (name in READ or os.path.exists(os.path.join(folder, name))):
            raise ValueError(f"{path} does not list {name}: nothing says whether it is whole")
    for name, expected in sorted(sums.items()):
        if name in ("", ".", "..") or re.search(r"[/\\:\0]", name):
            raise ValueError(f"{path} lists {_short(name)}, which is not a file in the bundle")
        part = os.path.join(folder, name)
        if not os.path.isfile(part):
            raise FileNotFoundError(f"the bundle is incomplete: {name} is missing")
        if sha256(part) != expected:
            raise ValueError(
                f"{part} was cut or altered: its SHA-256 is not the one in {MANIFEST_FILE}"
            )
    return manifest


def manifest_digest(manifest: dict[str, Any]) -> str:
    """SHA-256 of all that a manifest says beside its own digest, in hex."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def facts_of(manifest: dict[str, Any], folder: str) -> Facts:
    """What a bundle's manifest says -> its facts, of the right types and sizes.

    Raises:
        ValueError: one is missing or wrong.
    """
    try:
        layers = [
            (_integer(q, 0, MAX_QUALITIES - 1, "a layer"), _integer(half, 1, 500, "a half"))
            for q, half in _list(manifest["layers"], "layers")
        ]
        rising = [q for q, _ in layers]
        if rising != sorted(set(rising)) or len(rising) == 1:
            raise ValueError(f"layers are two or more, rising, not {_short(rising)}")
        fingerprint = bytes.fromhex(manifest["fingerprint"])
        if len(fingerprint) != 32:
            raise ValueError("a fingerprint has 32 bytes")
        return Facts(
            preprocess=Preprocess.from_dict(manifest["preprocess"]),
            fingerprint=fingerprint,
            side=_integer(manifest["side"], 1, MAX_SIDE, "side"),
            default_quality=_integer(
                manifest["default_quality"], 0, MAX_QUALITIES - 1, "default_quality"
            ),
            # a bundle from before has none
            drops=[
                _number(row["drop"], "drop")
                for row in _list(manifest.get("calibration", []), "calibration")
            ],
            layers=rising,
            halves=[half for _, half in layers],
            shapes={
                name: tuple(
                    _integer(n, 1, MAX_VALUES, f"a size of {name}")
                    for n in _list(manifest["shapes"][name], name)
                )
                for name in (PIXELS, SYMBOLS, LATENT)
            },
            labels=_labels(manifest),
        )
    except KeyError as error:
        raise ValueError(f"the bundle in {folder} lacks {error}: export it anew") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{MANIFEST_FILE} in {folder} is wrong: {error}") from error


def check_fits(facts: Facts, n_qualities: int, n_channels: int, folder: str) -> None:
    """Check a bundle's facts against its tables.

    Raises:
        ValueError: they are of another codec, or a batch of pixels would be enormous.
    """
    m, size = facts.side**2, facts.preprocess.size
    batch = facts.shapes[PIXELS][0] if facts.shapes[PIXELS] else 0
    shapes = {
        PIXELS: (batch, 3, size, size),
        SYMBOLS: (batch, n_qualities, m, n_channels),
        LATENT: (batch, m, n_channels),
    }
    qualities = [facts.default_quality, *facts.layers]
    if (
        facts.shapes != shapes
        or batch * 3 * size**2 > MAX_VALUES
        or max(qualities) >= n_qualities
        or len(facts.drops) not in (0, n_qualities)
    ):
        raise ValueError(f"the manifest in {folder} does not fit its tables: export it anew")


def _labels(manifest: dict[str, Any]) -> list[str]:
    """The labels of the classifier for the device alone, which are there where its file is."""
    if ("alone_labels" in manifest) != (ALONE_FILE in manifest["sha256"]):
        raise ValueError(f"{ALONE_FILE} and alone_labels come together")
    labels = _list(manifest.get("alone_labels", []), "alone_labels")
    if "alone_labels" in manifest and not 2 <= len(labels) <= MAX_LABELS:
        raise ValueError(f"alone_labels are 2 to {MAX_LABELS}, not {len(labels)}")
    for label in labels:
        if not isinstance(label, str) or not 1 <= len(label) <= MAX_LABEL:
            raise ValueError(f"a label is a text of 1 to {MAX_LABEL}, not {_short(label)}")
    return labels


def _integer(value: Any, least: int, most: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{what} is an integer in {least}..{most}, not {_short(value)}")
    return value


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{what} is a finite number, not {_short(value)}")
    return float(value)


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{what} is a list, not {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
