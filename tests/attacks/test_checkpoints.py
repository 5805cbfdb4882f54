"""Checkpoints made by an adversary, signed as whoever wrote them could sign: refused with a reason,
in less than two seconds, before anything large is built.
"""

from __future__ import annotations

import json
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from codec import FeatureCodec
from codec.files import sha256
from codec.model.loading import load_encoder
from tests.attacks.trial import SECONDS

WEIGHTS = "codec.safetensors"


@pytest.fixture
def folder(tiny_codec_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_codec_folder, tmp_path / "codec"))


def refused(folder: Path, reason: str, signed: bool = True) -> None:
    """Both ways to load it say so: the server's, and the device's."""
    if signed:
        manifest = json.loads((folder / "manifest.json").read_text())
        for name in ("config.json", WEIGHTS):
            manifest["sha256"][name] = sha256(folder / name)
        (folder / "manifest.json").write_text(json.dumps(manifest))
    for load in (FeatureCodec.from_pretrained, load_encoder):
        start = time.process_time()
        with pytest.raises((ValueError, OSError), match=reason):
            load(folder)
        assert time.process_time() - start < SECONDS


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "10^6 stages": ({"student_widths": [8] * 100_000, "student_depths": [0] * 100_000}, "stages"),
    "10^6 blocks in a stage": ({"student_depths": [10**6, 0, 0]}, "student_depths"),
    "a stage 10^9 wide": ({"student_widths": [10**9, 8, 8]}, "student_widths"),
    "a stage of width 0": ({"student_widths": [0, 8, 8]}, "student_widths"),
    "10^6 blocks of synthesis": ({"synthesis_depth": 10**6}, "synthesis_depth"),
    "an adapter of rank 10^9": ({"adapter_rank": 10**9}, "adapter_rank"),
    "a latent of 10^9 a side": ({"side": 10**9}, "side"),
    "a latent of 10^9 channels": ({"n_channels": 10**9}, "n_channels"),
    "a cut after block -1": ({"k": -1}, "k is in"),
    "a cut after block 255": ({"k": 255}, ""),
    "17 qualities": ({"n_qualities": 17}, "16 qualities"),
    "a true quality": ({"default_quality": True}, "default_quality"),
    "a quality in words": ({"default_quality": "1"}, "default_quality"),
    "a name that is a list": ({"name": ["x"]}, "name"),
    "an encoder of its own": ({"encoder": "os.system"}, "encoder"),
    "dead zones in words": ({"dead_zone": ["0"] * 3}, "dead_zone"),
    "dead zones of 1": ({"dead_zone": [1.0] * 3}, "dead zone"),
    "a fold of 0": ({"fold": 0}, "fold"),
    "layers as an object": ({"layers": {"0": 1}}, "layers"),
    "a preprocessing of nothing": ({"preprocess": {}}, "preprocess"),
    "pictures of no pixels": ({"preprocess": {"size": 0}}, "size"),
    "a key there is not": ({"__class__": "x"}, "unknown keys"),
    "a calibration of ones": ({"calibration": [1, 1, 1]}, "calibration"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_refused(folder: Path, name: str) -> None:
    changes, reason = CONFIGS[name]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    if name == "a cut after block 255":  # the device's half has no backbone to compare it with
        with pytest.raises(ValueError, match=r"blocks|SHA-256"):
            FeatureCodec.from_pretrained(folder)
        return
    refused(folder, reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"k": 1, "k": 2}', "a key twice"),
        (b'{"k": NaN}', "NaN"),
        (b'{"k": %s}' % (b"9" * 500_000), "20 digits"),
        (b" " * 5_000_000, "more than 1048576 bytes"),
        (b"\xff\xfe{}", "cannot be read"),
        (b"", "cannot be read"),
        (b"null", "not an object"),
    ],
)
def test_a_text_that_is_no_config_is_refused(folder: Path, content: bytes, reason: str) -> None:
    (folder / "config.json").write_bytes(content)
    refused(folder, reason)


def with_last(array: NDArray[np.int32], value: int) -> NDArray[np.int32]:
    """An array whose last row, the last quality, holds one value."""
    made = array.copy()
    made[-1] = value
    return made


PRIORS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "of floats": (lambda p: {"prior.unit": p["prior.unit"].astype("f4")}, "prior.unit is"),
    "of NaN": (lambda p: {"prior.bias": np.full(p["prior.bias"].shape, np.nan)}, "prior.bias is"),
    "of wider integers": (lambda p: {"prior.cdf": p["prior.cdf"].astype("i8")}, "prior.cdf is"),
    "of wider weights": (lambda p: {"prior.out": p["prior.out"].astype("i2")}, "prior.out is"),
    "of another shape": (lambda p: {"prior.out": p["prior.out"][:, :-1].copy()}, "has shape"),
    "of no entries": (lambda p: {"prior.unit": p["prior.unit"][:, :0].copy()}, "channels|shape"),
    "too large to be exact": (
        lambda p: {"prior.hidden_bias": np.full_like(p["prior.hidden_bias"], 2**31 - 1)},
        "too large to be exact",
    ),
    "too large at one quality": (
        lambda p: {"prior.factor": with_last(p["prior.factor"], 2**31 - 1)},
        "too large to be exact",
    ),
    "of a negative shift": (lambda p: {"prior.shift": p["prior.shift"] - 100}, "shift"),
    "of tables that fall": (lambda p: {"prior.cdf": p["prior.cdf"][:, ::-1].copy()}, "runs from 0"),
    "of negative tables": (lambda p: {"prior.cdf": -p["prior.cdf"]}, "runs from 0"),
    "of one table": (lambda p: {"prior.cdf": p["prior.cdf"][:1].copy()}, "192 tables"),
    "without its tables": (lambda p: {"prior.cdf": None}, "lacks 'prior.cdf'"),
}  # fmt: skip


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_is_refused(folder: Path, name: str) -> None:
    change, reason = PRIORS[name]
    tensors: dict[str, Any] = load_file(folder / WEIGHTS)
    tensors |= change(tensors)
    save_file({key: value for key, value in tensors.items() if value is not None}, folder / WEIGHTS)
    refused(folder, reason)


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A safetensors file -> its header and the rest."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def whole(header: bytes, rest: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + rest


def with_shape(data: bytes, shape: list[int]) -> bytes:
    header, rest = parts(data)
    header["log_gain"]["shape"] = shape
    return whole(json.dumps(header).encode(), rest)


def twice(data: bytes) -> bytes:
    header, rest = parts(data)
    text = json.dumps(header)
    again = json.dumps({"log_gain": {**header["log_gain"], "shape": [1]}})[1:-1]
    return whole((text[:-1] + ", " + again + "}").encode(), rest)


FILES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda d: b"",
    "a header of 2^63 bytes": lambda d: whole(d[8:100], b"", 2**63),
    "a header of 2^64 - 1 bytes": lambda d: whole(d[8:100], b"", 2**64 - 1),
    "a header of 100 MB": lambda d: whole(b" " * 100_000_001, b""),
    "a header of no bytes": lambda d: whole(b"", d[8:], 0),
    "a header that ends early": lambda d: struct.pack("<Q", 50) + d[8:],
    "a tensor of 10^12 numbers": lambda d: with_shape(d, [10**6, 10**6]),
    "a tensor of a negative size": lambda d: with_shape(d, [-1, 3]),
    "a tensor twice": twice,
    "cut": lambda d: d[:-100],
    "longer": lambda d: d + bytes(100),
    "a pickle": lambda d: b"\x80\x04cposix\nmkdir\nVran\n\x85R.",
}


@pytest.mark.parametrize("name", FILES)
def test_weights_are_refused(folder: Path, name: str) -> None:
    file = folder / WEIGHTS
    file.write_bytes(FILES[name](file.read_bytes()))
    refused(folder, "")


MANIFESTS: dict[str, tuple[Any, str]] = {
    "that lists nothing": ({"sha256": {}}, "not one of the files"),
    "that lists a file above": ({"sha256": {"../../x": "0"}}, "is not a file in the folder"),
    "that lists an absolute path": ({"sha256": {"/etc/passwd": "0"}}, "not a file in the folder"),
    "that lists numbers": ({"sha256": {"config.json": 1}}, "not a manifest"),
    "that is a list": ([], "not a manifest"),
    "of a short fingerprint": ({"sha256": {}, "fingerprint": "00"}, "32 bytes"),
    "of a fingerprint of numbers": ({"sha256": {}, "fingerprint": 5}, "not a manifest"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_refused(folder: Path, name: str) -> None:
    values, reason = MANIFESTS[name]
    (folder / "manifest.json").write_text(json.dumps(values))
    refused(folder, reason, signed=False)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
@pytest.mark.parametrize("target", ["/dev/zero", "/", "/etc/hostname"])
def test_links_elsewhere_are_refused(folder: Path, name: str, target: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to(target)
    refused(folder, "", signed=False)


BACKBONES: dict[str, tuple[dict[str, Any], str]] = {
    "10^6 blocks": ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
    "1,000 blocks": ({"num_hidden_layers": 1000}, "num_hidden_layers"),
    "-1 blocks": ({"num_hidden_layers": -1}, "num_hidden_layers"),
    "10^5 wide": ({"hidden_size": 10**5}, "lacks weights"),
    "10^7 wide inside": ({"intermediate_size": 10**7}, "lacks weights"),
    "pictures of 10^6 pixels": ({"image_size": 10**6}, "lacks weights"),
    "10^5 classes": ({"id2label": {str(i): "x" for i in range(10**5)}}, "lacks weights"),
    "attention from the hub": ({"attn_implementation": "someone/kernel"}, "code from elsewhere"),
    "attention in a package": ({"attn_implementation": "flash_attention_2"}, "code from elsewhere"),
    "packed by another library": ({"quantization_config": {"quant_method": "gptq"}}, "quantised"),
    "a family that is not cut": ({"model_type": "resnet", "depths": [10**6]}, "cannot split"),
    "code of its own": ({"model_type": "own", "auto_map": {"AutoConfig": "own.C"}}, "custom code"),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_a_config_of_a_backbone_is_refused(folder: Path, name: str) -> None:
    changes, reason = BACKBONES[name]
    file = folder / "backbone" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    refused_backbone(folder, reason)


def test_a_backbone_with_an_adapter_is_refused(folder: Path) -> None:
    """The adapter would name the model to load, wherever it is."""
    adapter = {"base_model_name_or_path": "someone/model", "peft_type": "LORA"}
    (folder / "backbone" / "adapter_config.json").write_text(json.dumps(adapter))
    refused_backbone(folder, "merge it into the weights")


def refused_backbone(folder: Path, reason: str) -> None:
    (folder / "manifest.json").unlink()
    start = time.process_time()
    with pytest.raises((ValueError, OSError), match=reason):
        FeatureCodec.from_pretrained(folder)
    assert time.process_time() - start < SECONDS
