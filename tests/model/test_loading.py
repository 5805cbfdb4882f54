"""codec.model.loading: what was saved comes back; what was damaged is refused with the reason,
before anything is built.
"""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from codec import FeatureCodec
from codec.model import checkpoint
from codec.model.loading import load_encoder
from codec.pipeline import Device

Make = Callable[..., FeatureCodec]
LOADS: list[Callable[[Path], Any]] = [FeatureCodec.from_pretrained, load_encoder]


@pytest.fixture
def copied(tiny_codec_folder: Path, tmp_path: Path) -> Path:
    """A codec's folder to be changed, without a manifest."""
    folder = tmp_path / "copied"
    shutil.copytree(tiny_codec_folder, folder)
    return folder


def change_config(folder: Path, **changes: Any) -> None:
    """Other values in config.json, by a manifest that agrees with them."""
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes))
    own = checkpoint.read_manifest(folder)
    assert own is not None
    checkpoint.write_manifest(folder, own.fingerprint)


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "codec.safetensors")
    change(tensors)
    save_file(tensors, folder / "codec.safetensors")
    change_config(folder)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"side": "4"}, "side of config.json is of type int, not '4'"),
        ({"side": 4.0}, "side of config.json is of type int, not 4.0"),
        ({"k": True}, "k of config.json is of type int, not True"),
        ({"name": None}, "name of config.json is of type str, not None"),
        (
            {"encoder": ["student"]},
            r"encoder of config.json is one of 'student', 'mobile', 'blocks', not \[",
        ),
        ({"encoder": "teacher"}, "is one of 'student', 'mobile', 'blocks', not 'teacher'"),
        ({"preprocess": 32}, "preprocess of config.json is a JSON object, not 32"),
        ({"preprocess": {"size": "32"}}, "size of preprocess of config.json is of type int"),
        ({"preprocess": {"size": 32, "mean": [0.5]}}, "mean of preprocess .* has 3 values, not 1"),
        ({"calibration": [3]}, "value 0 of calibration of config.json is a JSON object, not 3"),
        ({"calibration": {}}, "calibration of config.json is a list"),
        ({"dead_zone": [0.1, "0.1", 0]}, "value 1 of dead_zone of config.json is of type float"),
        ({"student_widths": 8}, "student_widths of config.json is a list, not 8"),
        ({"student_widths": []}, "student"),
        ({"student_widths": [8, 8, -8]}, r"a value of student_widths is in 1\.\."),
        ({"student_depths": [1, 0]}, "as many depths as widths"),
        ({"adapter_rank": -1}, r"adapter_rank is in 0\.\.65536, not -1"),
        ({"synthesis_depth": 10**9}, r"synthesis_depth is in 0\.\.256"),
        ({"n_qualities": 0}, "1 to 16 qualities"),
        ({"colour": 1}, "unknown keys: colour"),
        ({"n_channels": 65536}, "log_gain has shape|does not fit|has shape"),
    ],
)
def test_a_config_with_wrong_values_is_refused_by_the_field(
    copied: Path, load: Callable[[Path], Any], changes: dict[str, Any], reason: str
) -> None:
    change_config(copied, **changes)
    with pytest.raises(ValueError, match=reason):
        load(copied)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("text", ["[]", "3", "{", '"config"', "[" * 100_000, "{}"])
def test_a_config_that_is_none_is_refused(
    copied: Path, load: Callable[[Path], Any], text: str
) -> None:
    (copied / "config.json").write_text(text)
    (copied / "manifest.json").unlink()
    if load is load_encoder:
        load = Device.from_pretrained
    with pytest.raises(ValueError, match=r"JSON object|cannot be read|lacks name, backbone"):
        load(copied)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop("log_gain"), r"does not fit its config\.json: \['log_gain'\]"),
        (lambda t: t.update({"encoder.more": torch.zeros(1)}), "encoder.more"),
        (lambda t: t.update(log_gain=torch.zeros(2, 2).half()), r"log_gain has shape \(2, 2\)"),
        (lambda t: t.update(log_gain=t["log_gain"].int()), "log_gain is torch.int32, not"),
        (lambda t: t.pop("prior.cdf"), "lacks 'prior.cdf'"),
        (lambda t: t.update({"prior.cdf": t["prior.cdf"].float()}), "prior.cdf is torch.float32"),
        (lambda t: t.update({"prior.out": t["prior.out"].int()}), "prior.out is torch.int32"),
        (lambda t: t.update({"prior.unit": t["prior.unit"][0]}), "prior's unit is"),
        (lambda t: t.update({"prior.shift": t["prior.shift"][:1]}), "shift of the prior has shape"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    copied: Path, load: Callable[[Path], Any], change: Any, reason: str
) -> None:
    change_tensors(copied, change)
    with pytest.raises(ValueError, match=reason):
        load(copied)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ({"sha256": {}}, "is not one of the files that manifest.json lists"),
        ({"sha256": None}, "is not a manifest"),
        ({"sha256": {"config.json": 3}}, "is not a manifest"),
        ([], "is not a manifest"),
        ({"sha256": {}, "fingerprint": "ab"}, "a fingerprint has 32 bytes"),
        ({"sha256": {}, "fingerprint": 3}, "is not a manifest"),
    ],
)
def test_a_manifest_that_lists_less_than_there_is_verifies_nothing(
    copied: Path, load: Callable[[Path], Any], manifest: Any, reason: str
) -> None:
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=reason):
        load(copied)


@pytest.mark.parametrize("left_out", ["config.json", "codec.safetensors"])
def test_a_file_that_the_manifest_leaves_out_is_named(copied: Path, left_out: str) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    for name in (left_out, f"backbone/{left_out.replace('codec', 'model')}"):
        values = manifest | {"sha256": {k: v for k, v in manifest["sha256"].items() if k != name}}
        (copied / "manifest.json").write_text(json.dumps(values))
        with pytest.raises(ValueError, match=f"{name} is not one of the files"):
            FeatureCodec.from_pretrained(copied)


def test_a_codec_that_is_not_the_one_its_manifest_names_is_refused(copied: Path) -> None:
    checkpoint.write_manifest(copied, bytes(32))
    with pytest.raises(ValueError, match="is not the one that its manifest names"):
        FeatureCodec.from_pretrained(copied)


def test_a_checkpoint_without_fingerprint_loads_as_before(
    copied: Path, tiny_codec: FeatureCodec
) -> None:
    checkpoint.write_manifest(copied)
    assert FeatureCodec.from_pretrained(copied).fingerprint == tiny_codec.fingerprint
    (copied / "manifest.json").unlink()
    assert FeatureCodec.from_pretrained(copied).fingerprint == tiny_codec.fingerprint
    assert load_encoder(copied) is None
    assert Device.from_pretrained(copied).codec.fingerprint == tiny_codec.fingerprint


@pytest.mark.parametrize("load", [*LOADS, Device.from_pretrained])
def test_loading_leaves_torchs_random_state_and_default_dtype(
    tiny_codec_folder: Path, load: Callable[[Path], Any]
) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        loaded = load(tiny_codec_folder)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)
    module = loaded.codec if isinstance(loaded, Device) else loaded
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def encoded(codec: Any, pixels: torch.Tensor) -> list[bytes]:
    blobs: list[bytes] = codec.encode(pixels)
    return blobs


@pytest.mark.long
def test_a_codec_can_be_sent_to_another_process(tiny_codec_folder: Path) -> None:
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    codec, device = FeatureCodec.from_pretrained(tiny_codec_folder), load_encoder(tiny_codec_folder)
    assert device is not None
    again = pickle.loads(pickle.dumps(codec))
    blobs = codec.encode(pixels)
    assert (again.fingerprint, encoded(again, pixels)) == (codec.fingerprint, blobs)
    with torch.inference_mode():
        ours, theirs = (
            one.tail(one.decode(blobs), output_hidden_states=True) for one in (codec, again)
        )
    assert torch.equal(ours.logits, theirs.logits)
    assert len(ours.hidden_states) == len(theirs.hidden_states) == 3
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        sent = [pool.apply(encoded, (one, pixels)) for one in (codec, device)]
    assert sent == [blobs, blobs]


@pytest.mark.parametrize("encoder", ["student", "blocks"])
def test_the_devices_half_has_the_encoders_parameters_alone_and_writes_the_same_blobs(
    make_codec: Make, tmp_path: Path, encoder: str
) -> None:
    codec = make_codec(encoder=encoder, dead_zone=(0.2, 0.1, 0.0))
    codec.save_pretrained(tmp_path)
    half = load_encoder(tmp_path)
    assert half is not None
    assert {name.partition(".")[0] for name, _ in half.named_parameters()} == {
        "encoder",
        "log_gain",
    }
    assert set(half.state_dict()) < set(codec.state_dict())
    assert not [b for b in half.buffers() if b.is_meta]
    pixels = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert half.fingerprint == codec.fingerprint
    for given in ({}, {"quality": 2}, {"max_bytes": 100}, {"target_drop": 1.0}):
        blobs = codec.encode(pixels, **given)  # type: ignore[arg-type]
        assert half.encode(pixels, **given) == blobs  # type: ignore[arg-type]
    assert half.restore(half.shorten(blobs[0])) == blobs[0]
    assert half.truncate(codec.encode(pixels, 2)[0], 100) == codec.truncate(
        codec.encode(pixels, 2)[0], 100
    )
