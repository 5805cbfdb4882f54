"""Bundles made by an adversary, signed as whoever wrote them could sign: refused with a reason,
quickly, with little memory; and nothing in them or beside them is ever run.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec.device.bundle import manifest_digest
from tests.signed import sign

Open = Callable[[str, Path], Any]
Manifest = dict[str, Any]


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def manifest_of(bundle: Path) -> Manifest:
    values: Manifest = json.loads((bundle / "manifest.json").read_text())
    return values


def refused(limited: Open, bundle: Path) -> str:
    found = limited("bundle", bundle)
    assert found["outcome"] == "refused", "it was opened"
    said: str = found["said"]
    return said


def test_a_whole_one_is_opened(limited: Open, tiny_bundle: Path) -> None:
    assert limited("bundle", tiny_bundle)["outcome"] == "accepted"


def at(*path: str | int, value: Any) -> Callable[[Manifest], None]:
    """A change of the manifest: the value at a path."""

    def change(manifest: Manifest) -> None:
        inner: Any = manifest
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return change


def without(*names: str) -> Callable[[Manifest], None]:
    """A change of the manifest: files that it no longer lists."""

    def change(manifest: Manifest) -> None:
        for name in names or list(manifest["sha256"]):
            del manifest["sha256"][name]

    return change


MANIFESTS: dict[str, tuple[Callable[[Manifest], None], str]] = {
    "that lists nothing": (without(), "does not list"),
    "that leaves out the tables": (without("tables.npz"), "does not list tables.npz"),
    "that leaves out the graph": (without("encoder.onnx"), "does not list encoder.onnx"),
    "that leaves out the samples": (without("samples.npz"), "does not list samples.npz"),
    "that leaves out the code": (without("taskcodec_device.py"), "does not list taskcodec_dev"),
    "that lists a file above": (at("sha256", "../../x", value="0"), "not a file in the bundle"),
    "that lists an absolute path": (at("sha256", "/etc/passwd", value="0"), "not a file in"),
    "that lists the folder": (at("sha256", ".", value="0"), "not a file in the bundle"),
    "that lists a zero": (at("sha256", "a\0b", value="0"), "not a file in the bundle"),
    "of sums that are no texts": (at("sha256", "tables.npz", value=["x"]), "cut or altered"),
    "of a list of sums": (at("sha256", value=[["tables.npz", "0"]]), "not a bundle's manifest"),
    "of a name that is no text": (at("name", value=["x"]), "not a bundle's manifest"),
    "of a huge format": (at("format", value="9" * 100_000), "this runtime reads 1"),
    "of a latent of 10^9 positions": (at("side", value=10**9), "side is an integer in"),
    "of a side that is true": (at("side", value=True), "side is an integer in"),
    "of a batch of 10^9": (at("shapes", "pixel_values", 0, value=10**9), "a size of pixel"),
    "of a batch of 10^6": (at("shapes", "pixel_values", 0, value=10**6), "does not fit"),
    "of no shape": (at("shapes", "pixel_values", value=[]), "does not fit its tables"),
    "of shapes as a list": (at("shapes", value=[[1, 2]]), "is wrong"),
    "of pictures of 10^6 pixels": (at("preprocess", "size", value=10**6), "size of the prepro"),
    "of pictures of no pixels": (at("preprocess", "size", value=0), "size of the preprocessing"),
    "of a deviation of 0": (at("preprocess", "std", value=[0, 1, 1]), "std of the preprocessing"),
    "of four means": (at("preprocess", "mean", value=[0.5] * 4), "three finite numbers"),
    "of a filter there is not": (at("preprocess", "resample", value=99), "resample of the prep"),
    "of one more setting": (at("preprocess", "x", value=1), "is wrong"),
    "of a short fingerprint": (at("fingerprint", value="00"), "has 32 bytes"),
    "of a fingerprint of numbers": (at("fingerprint", value=7), "is wrong"),
    "of quality 99": (at("default_quality", value=99), "default_quality is an integer in"),
    "of one layer": (at("layers", value=[[0, 500]]), "layers are two or more"),
    "of falling layers": (at("layers", value=[[1, 500], [0, 500]]), "layers are two or more"),
    "of layers beyond its qualities": (at("layers", value=[[0, 500], [9, 500]]), "does not fit"),
    "of layers that are numbers": (at("layers", value=[1, 2]), "is wrong"),
    "of 10^5 layers": (at("layers", value=[[0, 500]] * 100_000), "layers are two or more|1048576"),
    "of a huge drop": (at("calibration", value=[{"drop": 10**19}] * 9), "does not fit"),
    "of a drop in words": (at("calibration", value=[{"drop": "0"}] * 3), "drop is a finite"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_refused(limited: Open, bundle: Path, name: str) -> None:
    change, reason = MANIFESTS[name]
    manifest = manifest_of(bundle)
    change(manifest)
    manifest["digest"] = manifest_digest(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    said = refused(limited, bundle)
    assert any(part in said for part in reason.split("|")), said


TEXTS = {
    "that is no UTF-8": (b"\xff\xfe", "not a bundle's manifest"),
    "that is nested 100,000 deep": (b"[" * 100_000, "nested too deeply"),
    "that is a list": (b"[]", "not an object"),
    "with a key twice": (b'{"format": 1, "format": 1}', "a key twice"),
    "with NaN": (b'{"format": NaN}', "NaN"),
    "with an integer of 10^6 digits": (b'{"format": %s}' % (b"9" * 1_000_000), "20 digits"),
    "of 20 MB": (b'{"format": "%s"}' % (b" " * 20_000_000), "more than 1048576 bytes"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_refused(limited: Open, bundle: Path, name: str) -> None:
    content, reason = TEXTS[name]
    (bundle / "manifest.json").write_bytes(content)
    assert reason in refused(limited, bundle)


class Planted:
    """What leaves a file `ran` where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def longer(tables: dict[str, Any], said: bytes) -> bytes:
    """Tables whose `cdf` says another shape than it has."""
    stream, whole = io.BytesIO(), npz(**tables)
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(stream, "w") as new:
        for part in old.infolist():
            content = old.read(part)
            if part.filename == "cdf.npy":
                content = content.replace(b"(192, 33), }", said)
            new.writestr(part.filename, content)
    return stream.getvalue()


def packed(tables: dict[str, Any]) -> bytes:
    """A bomb: 256 MB of zeros in 256 kB."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("cdf.npy", bytes(1 << 28))
    return stream.getvalue()


TABLES: dict[str, tuple[Callable[[dict[str, Any]], bytes], str]] = {
    "pickled": (lambda t: npz(**t | {"cdf": np.array([Planted()])}), "not of integers or floats"),
    "a pickle": (lambda t: b"\x80\x04cposix\nmkdir\nVran\n\x85R.", "not a zip file"),
    "packed a thousandfold": (packed, "compressed"),
    "cut": (lambda t: npz(**t)[:-50], "not a file of arrays"),
    "longer than the file": (lambda t: longer(t, b"(19200000000, 33), }"), "integers or floats"),
    "of 10^9 rows": (lambda t: longer(t, b"(192000000, 33), }"), "not as long as it says"),
    "of code as a shape": (lambda t: longer(t, b"(9**9**9, 33), }"), "not of integers or floats"),
    "of floats": (lambda t: npz(**t | {"unit": t["unit"].astype("f8")}), "array of int32"),
    "of complex numbers": (lambda t: npz(**t | {"unit": t["unit"].astype("c8")}), "of integers"),
    "too large to be exact": (
        lambda t: npz(**t | {"hidden_bias": np.full_like(t["hidden_bias"], 2**31 - 1)}),
        "too large to be exact",
    ),
    "that do not rise": (lambda t: npz(**t | {"cdf": t["cdf"][:, ::-1].copy()}), "runs from 0"),
    "of one shape less": (lambda t: npz(**t | {"out": t["out"][0]}), "its out"),
    "without one": (lambda t: npz(**{k: v for k, v in t.items() if k != "out"}), "lacks 'out'"),
    "nothing": (lambda t: b"", "not a zip file"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_refused(limited: Open, bundle: Path, name: str) -> None:
    make, reason = TABLES[name]
    with np.load(bundle / "tables.npz") as file:
        (bundle / "tables.npz").write_bytes(make(dict(file)))
    sign(bundle, manifest_of(bundle))
    assert reason in refused(limited, bundle)
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["encoder.onnx", "tables.npz", "manifest.json"])
def test_links_to_devices_and_folders_are_refused(limited: Open, bundle: Path, name: str) -> None:
    for elsewhere in ("/dev/zero", "/", str(bundle.parent / "nothing")):
        (bundle / name).unlink()
        (bundle / name).symlink_to(elsewhere)
        assert "FileNotFoundError" in refused(limited, bundle)


def test_a_graph_of_another_codec_is_refused_when_it_is_run(bundle: Path) -> None:
    from onnx import TensorProto, helper, save

    from codec.device.encoder import DeviceEncoder

    pixels = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1, 3, 32, 32])
    outs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("symbols", "latent")
    ]
    nodes = [helper.make_node("Identity", ["pixel_values"], [out.name]) for out in outs]
    graph = helper.make_graph(nodes, "other", [pixels], outs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    save(model, str(bundle / "encoder.onnx"))
    sign(bundle, manifest_of(bundle))
    with pytest.raises(ValueError, match="other shapes than the manifest's"):
        DeviceEncoder(str(bundle))(np.zeros((32, 32, 3), dtype=np.uint8))


PLANTED = 'import pathlib; pathlib.Path(r"{ran}").touch()\n'
NAMES = (
    *("sitecustomize.py", "usercustomize.py", "taskcodec_device.py", "numpy.py", "codec.py"),
    *("coder.py", "onnxruntime.py", "json.py", "PIL/__init__.py", "__init__.py"),
    *("codec/__init__.py", "constriction.py", "tensorrt.py", "__pycache__/coder.py"),
)


def test_no_python_file_in_a_bundle_is_run_when_the_library_opens_it(
    bundle: Path, tmp_path: Path
) -> None:
    """From a working directory that is the bundle, too."""
    ran = tmp_path / "ran"
    for name in NAMES:
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text(PLANTED.format(ran=ran))
    sign(bundle, manifest_of(bundle))
    code = "from codec.device.encoder import DeviceEncoder; DeviceEncoder('.')"
    program = tmp_path / "elsewhere" / "opens.py"
    program.parent.mkdir()
    program.write_text(code)
    root = str(Path(__file__).parent.parent.parent)
    environment = os.environ | {"PYTHONPATH": root}
    for folder in (bundle, tmp_path):
        text = code.replace("'.'", "'bundle'") if folder == tmp_path else code
        program.write_text(text)
        done = subprocess.run(
            [sys.executable, str(program)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert not ran.exists()
