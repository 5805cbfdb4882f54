"""codec.build_engine and the TensorRT side of codec.engines, against stand-ins for the releases of
JetPack 4 to 7 and for TensorRT 11.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from codec.bundle.lowering import FLOAT32
from codec.device import build_engine, built, cuda, engines
from codec.device import command as device_cli
from codec.device.bundle import read_manifest
from codec.device.encoder import DeviceEncoder
from codec.pipeline import Device
from tests import fake_tensorrt
from tests.fake_tensorrt import FakeCuda
from tests.signed import sign

RELEASES = {
    "8.0.1.6": "jetson-nano",
    "8.2.1.8": "jetson-nano",
    "8.5.2.2": "jetson-orin-jp5",
    "8.6.2.3": "jetson-orin-jp6",
} | {
    "10.3.0": "jetson-orin-jp6",
    "10.13.3": "jetson-jp7",
    "11.0.0": "jetson-jp7",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that keeps engines, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "task-codec"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Function (release, **what is wrong with it) -> the stand-in, put in the place of tensorrt,
    with a GPU.
    """
    monkeypatch.setattr(engines, "Cuda", FakeCuda)
    monkeypatch.setattr(build_engine, "Cuda", FakeCuda)

    def put(release: str, **wrong: Any) -> Any:
        module = fake_tensorrt.make(release, **wrong)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        return module

    return put


@pytest.fixture
def bundle(bundles: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Function (target) -> a bundle that a test may change."""
    return lambda target: Path(shutil.copytree(bundles(target), tmp_path / target))


def build(folder: Path, *options: str) -> int:
    return build_engine.main([str(folder), *options])


def engine_of(folder: Path) -> Path:
    """Where the engine of a bundle is kept."""
    return built.engine_path(read_manifest(str(folder))["digest"])


def record_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(engine_of(folder).with_suffix(".json").read_text())
    return values


def refusal(capsys: pytest.CaptureFixture[str], folder: Path, *options: str) -> str:
    """The one line of a build that fails as it should, and leaves no engine."""
    assert build(folder, *options) == 2
    _, err = capsys.readouterr()
    assert err.startswith("build_engine: error: ")
    assert err.count("\n") == 1
    assert not list(Path(os.environ["XDG_CACHE_HOME"]).glob("*/encoder-*"))
    return err


def calls(module: Any, name: str) -> list[Any]:
    return [entry[1] for entry in module.log if entry[0] == name]


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("release", RELEASES)
def test_an_engine_is_built_checked_and_then_used(
    release: str,
    fp16: bool,
    install: Callable[..., Any],
    bundle: Callable[[str], Path],
    traced: Callable[[str], Any],
    picture: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, module = bundle(RELEASES[release]), install(release)
    assert build(folder, *(["--fp16"] if fp16 else [])) == 0
    assert "of the sample symbols as recorded" in capsys.readouterr().out
    record = record_of(folder)
    assert (record["tensorrt"], record["gpu"], record["precision"]) == (
        release,
        FakeCuda.name,
        "fp16" if fp16 else "fp32",
    )
    assert record["agreement"] > 0.97
    encoder = DeviceEncoder(str(folder))
    assert encoder.engine.name == "tensorrt"
    image = picture(1, 50, 40)
    if not fp16:
        assert encoder(image, 2) == Device(traced("student")[0])(image, 2)
    typed = fp16 and int(release.split(".")[0]) >= 10
    assert calls(module, "parse") == [
        (folder / ("encoder.fp16.onnx" if typed else "encoder.onnx")).stat().st_size
    ]
    assert "TF32" in calls(module, "clear")
    major = int(release.split(".")[0])
    assert calls(module, "network") == [1 if major < 10 else 4 if major == 10 else 0]
    assert calls(module, "parser flag") == (
        ["native instance norm"] if release.startswith("8.6") else []
    )


@pytest.mark.parametrize("release", ["8.0.1.6", "8.2.1.8", "8.5.2.2", "8.6.2.3"])
def test_norms_projection_and_quantiser_are_held_in_float32_before_10(
    release: str, install: Callable[..., Any], bundle: Callable[[str], Path]
) -> None:
    folder, module = bundle(RELEASES[release]), install(release)
    assert build(folder, "--fp16") == 0
    obey = "STRICT_TYPES" if release.startswith("8.0") else "OBEY_PRECISION_CONSTRAINTS"
    assert calls(module, "set") == ["FP16", obey]
    (network,) = calls(module, "build")
    layers = {layer.name: layer for layer in network.layers}
    held = {name for name, layer in layers.items() if layer.precision == "float32"}
    assert {name.split("/")[0].rstrip("0123456789") for name in held} == {
        "norm",
        "project",
        "quantise",
    }
    assert all(layers[name].held == [(0, "float32")] for name in held)
    free = set(layers) - held
    assert any(layers[name].name.startswith("node_conv2d") for name in free)
    assert not [
        name for name in free if name.startswith(FLOAT32) and layers[name].kind == "float32"
    ]
    assert "quantise/cast" in free


def _pairs(module: Any) -> list[Any]:
    return [entry for entry in module.log if len(entry) == 2]


def test_float32_engines_set_no_precision(
    install: Callable[..., Any], bundle: Callable[[str], Path]
) -> None:
    module = install("8.2.1.8")
    assert build(bundle("jetson-nano")) == 0
    assert calls(module, "set") == []


def test_the_timing_cache_is_kept_for_the_next_time(
    install: Callable[..., Any], bundle: Callable[[str], Path]
) -> None:
    folder, module = bundle("jetson-orin-jp5"), install("8.5.2.2")
    assert build(folder, "--workspace", "64") == build(folder) == 0
    assert [data for name, data in _pairs(module) if name == "given cache"] == [b"", b"timed "]
    assert engine_of(folder).with_suffix(".timing").read_bytes() == b"timed timed "
    assert calls(module, "workspace") == [64 << 20, 256 << 20]


@pytest.mark.parametrize(
    ("wrong", "options", "named"),
    [
        ({"symbols_wrong": 0.01}, [], "99.9% are asked for"),
        ({"symbols_wrong": 0.2}, ["--fp16"], "97% are asked for"),
        ({"nan": True}, ["--fp16"], "not finite (NaN or infinity); build it without --fp16"),
        ({"refuses": "parse"}, [], "refuses the ONNX file: In node 3: UNSUPPORTED_NODE"),
        ({"refuses": "build"}, [], "cannot build an engine"),
        ({"refuses": "load"}, [], "cannot load the engine"),
        ({"refuses": "context"}, [], "has no memory to run it"),
        ({"refuses": "start"}, [], "cannot start: pybind11::init()"),
    ],
)
def test_an_engine_that_is_wrong_is_not_accepted(
    wrong: dict[str, Any],
    options: list[str],
    named: str,
    install: Callable[..., Any],
    bundle: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    install("8.2.1.8", **wrong)
    assert named in refusal(capsys, bundle("jetson-nano"), *options)


def test_a_slightly_different_float16_engine_is_accepted(
    install: Callable[..., Any], bundle: Callable[[str], Path]
) -> None:
    folder = bundle("jetson-nano")
    install("8.2.1.8", symbols_wrong=0.01)
    assert build(folder, "--fp16") == 0
    assert 0.985 < record_of(folder)["agreement"] < 0.995


CHANGES = {
    "tensorrt": "TensorRT was 8.2.1.8, here it is 8.2.3.0",
    "gpu": "the GPU was NVIDIA Tegra X1, here it is Orin",
    "cut": "was cut or replaced",
    "replaced": "was cut or replaced",
    "a link": "is not a file of this user alone",
    "open to others": "is not a file of this user alone",
    "a record open to others": "is not a file of this user alone",
    "a damaged record": "lacks a whole .json",
    "an empty record": "lacks a whole .json",
    "no record": "lacks a whole .json",
}


@pytest.mark.parametrize("changed", CHANGES)
def test_an_engine_that_is_not_the_one_built_here_is_refused_with_the_reason(
    changed: str,
    install: Callable[..., Any],
    bundle: Callable[[str], Path],
    picture: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = bundle("jetson-nano")
    install("8.2.1.8")
    assert build(folder) == 0
    capsys.readouterr()
    picture(0).save(tmp_path / "photo.png")
    named = CHANGES[changed]
    engine = engine_of(folder)
    record = engine.with_suffix(".json")
    if changed == "tensorrt":
        install("8.2.3.0")
    elif changed == "gpu":
        monkeypatch.setattr(FakeCuda, "name", "Orin")
    elif changed == "cut":
        engine.write_bytes(engine.read_bytes()[:-1])
    elif changed == "replaced":
        engine.write_bytes(
            fake_tensorrt.MARK + (folder / "encoder.onnx").read_bytes() + b"\x20\x00"
        )
    elif changed == "a link":
        engine.rename(tmp_path / "elsewhere")
        engine.symlink_to(tmp_path / "elsewhere")
    elif changed == "open to others":
        engine.chmod(0o666)
    elif changed == "a record open to others":
        record.chmod(0o620)
    elif changed == "a damaged record":
        record.write_text(record.read_text()[:-5])
    elif changed == "an empty record":
        record.write_text("{}")
    else:
        record.unlink()
    module = install("8.2.3.0" if changed == "tensorrt" else "8.2.1.8")
    assert (
        device_cli.main(
            ["encode", str(folder), str(tmp_path / "photo.png"), "-o", str(tmp_path / "o")]
        )
        == 2
    )
    _, err = capsys.readouterr()
    assert named in err
    assert err.count("\n") == 1
    assert "build it again with build_engine.py" in err
    assert not calls(module, "deserialised")


def plant(folder: Path, serialized: bytes) -> None:
    """Put an engine in a bundle, under every name that one has had, with records that fit it."""
    digest = read_manifest(str(folder))["digest"]
    facts = {
        "tensorrt": "8.2.1.8",
        "gpu": FakeCuda.name,
        "precision": "fp32",
        "agreement": 1.0,
        "onnx_sha256": hashlib.sha256((folder / "encoder.onnx").read_bytes()).hexdigest(),
        "engine_sha256": hashlib.sha256(serialized).hexdigest(),
    }
    for place in (folder, folder / "task-codec", folder / ".cache" / "task-codec"):
        place.mkdir(parents=True, exist_ok=True)
        for name in ("encoder.engine", f"encoder-{digest}.engine"):
            (place / name).write_bytes(serialized)
            for record in (f"{name}.json", str(Path(name).with_suffix(".json"))):
                (place / record).write_text(json.dumps(facts))
        (place / "timing.cache").write_bytes(b"planted")
        (place / f"encoder-{digest}.timing").write_bytes(b"planted")


@pytest.mark.parametrize("cache_home", [None, "", ".", "../jetson-nano"])
def test_an_engine_planted_in_a_bundle_is_never_loaded(
    cache_home: str | None,
    install: Callable[..., Any],
    bundle: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, module = bundle("jetson-nano"), install("8.2.1.8")
    plant(folder, fake_tensorrt.MARK + (folder / "encoder.onnx").read_bytes())
    monkeypatch.chdir(folder)
    if cache_home is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert DeviceEncoder(str(folder)).engine.name == "onnxruntime"
    assert DeviceEncoder(".").engine.name == "onnxruntime"
    assert not calls(module, "deserialised")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match="neither onnxruntime nor a"):
        DeviceEncoder(".")
    assert not calls(module, "deserialised")
    built_here = cache_home is None
    assert build(folder) == (0 if built_here else 2)
    assert ("no home folder" in capsys.readouterr().err) is not built_here
    assert b"planted" not in calls(module, "given cache")


def test_building_writes_nothing_into_the_bundle(
    cache: Path, install: Callable[..., Any], bundle: Callable[[str], Path]
) -> None:
    folder = bundle("jetson-nano")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    install("8.2.1.8")
    assert build(folder) == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    kept = list(cache.glob("encoder-*"))
    assert sorted(path.suffix for path in kept) == [".engine", ".json", ".timing"]
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}


def test_an_engine_is_of_one_bundle(
    install: Callable[..., Any], bundle: Callable[[str], Path]
) -> None:
    """Two of one encoder too: the samples that an engine was checked on are part of a bundle."""
    folder = bundle("jetson-nano")
    install("8.2.1.8")
    assert build(folder) == 0
    manifest = json.loads((folder / "manifest.json").read_text())
    sign(folder, manifest | {"name": "another"})
    assert DeviceEncoder(str(folder)).engine.name == "onnxruntime"


def test_an_engine_without_tensorrt_is_refused_and_not_passed_over(
    install: Callable[..., Any], bundle: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle("jetson-nano")
    install("8.2.1.8")
    assert build(folder) == 0
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ValueError, match="no tensorrt module"):
        DeviceEncoder(str(folder))


def test_without_tensorrt_or_a_whole_bundle_nothing_is_built(
    install: Callable[..., Any],
    bundle: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = bundle("onnxruntime")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert "this Python has no TensorRT" in refusal(capsys, folder)
    install("10.3.0")
    assert "encoder.fp16.onnx is not in this bundle" in refusal(capsys, folder, "--fp16")
    (folder / "samples.npz").unlink()
    assert "samples.npz is missing" in refusal(capsys, folder)


def test_names_that_no_layer_has_are_an_error_not_a_float16_norm(
    install: Callable[..., Any], bundle: Callable[[str], Path]
) -> None:
    model = onnx.load(bundle("jetson-nano") / "encoder.onnx").SerializeToString()
    with pytest.raises(ValueError, match="no layer of the network has the name"):
        build_engine.build(install("8.2.1.8"), model, True, ["other"], 64, b"")


def test_the_file_in_the_bundle_runs_beside_the_runtime(bundle: Callable[[str], Path]) -> None:
    folder = bundle("jetson-nano")
    done = subprocess.run(
        [sys.executable, "build_engine.py", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("build_engine: error: ")
    assert done.stderr.count("\n") == 1


def test_without_a_driver_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(cuda.ctypes, "CDLL", refuse)
    with pytest.raises(ValueError, match=r"no CUDA driver: libcuda\.so\.1"):
        cuda.Cuda()


def test_cuda_calls_the_driver_and_names_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Driver:
        def __getattr__(self, name: str) -> Any:
            def call(*arguments: Any) -> int:
                seen.append(name)
                if name == "cuDeviceGetName":
                    arguments[0].value = b"Orin"
                return 2 if name == "cuMemAlloc_v2" else 0

            return call

    monkeypatch.setattr(cuda.ctypes, "CDLL", lambda name: Driver())
    driver = cuda.Cuda()
    assert seen == ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent"]
    assert driver.device_name() == "Orin"
    with pytest.raises(ValueError, match="cuMemAlloc_v2 failed with code 2"):
        driver.allocate(4)
    driver.to_device(0, np.zeros(4, np.float32))
    driver.wait()
    assert seen[-2:] == ["cuMemcpyHtoD_v2", "cuCtxSynchronize"]
