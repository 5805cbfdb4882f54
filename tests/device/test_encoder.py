"""The device's runtime: the library's own code in one file, alone, on old interpreters, with errors
of one line.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import dataclasses
import io
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from codec import BitstreamError, FeatureCodec
from codec.bundle import old_syntax, onefile
from codec.bundle.export import export_bundle
from codec.coding import compiled
from codec.device import command as device_cli
from codec.device import engines, old_python
from codec.device.encoder import DeviceEncoder
from codec.model.checkpoint import shipped_root
from codec.model.config import Calibration
from codec.pipeline import Device, Server
from tests import recorded
from tests.make_golden import tables_of
from tests.signed import sign

Bundles = Callable[[str], Path]
SHIPPED = "vit-tiny-cifar10"
GOLDEN = Path(__file__).parent.parent / "golden" / "device.json"
MODULES = {
    "argparse",
    "bisect",
    "contextlib",
    "ctypes",
    "functools",
    "hashlib",
    "io",
    "itertools",
    "json",
    "os",
    "pathlib",
    "re",
    "resource",
    "math",
    "stat",
    "struct",
    "sys",
    "threading",
    "time",
    "weakref",
    "zipfile",
} | {
    *(
        "platform",
        "shutil",
        "subprocess",
        "tempfile",
        "typing",
        "urllib",
        "http",
        "warnings",
        "zlib",
        "numpy",
        "PIL",
        "onnxruntime",
        "tensorrt",
        "constriction",
    )
}
INSTALLED = ("numpy", "PIL", "onnxruntime", "flatbuffers", "google", "packaging")


@pytest.fixture
def bundle(bundles: Bundles, tmp_path: Path) -> Path:
    """A bundle that a test may change."""
    return Path(shutil.copytree(bundles("onnxruntime"), tmp_path / "bundle"))


@pytest.fixture(scope="module")
def encoder(bundles: Bundles) -> DeviceEncoder:
    return DeviceEncoder(str(bundles("onnxruntime")))


@pytest.fixture
def photo(picture: Callable[..., Image.Image], tmp_path: Path) -> Path:
    picture(3, 57, 41).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture(scope="module")
def bare_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from that holds numpy, PIL and ONNX Runtime with what these need, and
    nothing else.
    """
    site = tmp_path_factory.mktemp("site")
    for name in INSTALLED:
        __import__(name)
        for place in sys.modules[name].__path__:
            for found in (
                Path(place),
                *Path(place).parent.glob(f"{'pillow' if name == 'PIL' else name}.libs"),
            ):
                if not (site / found.name).exists():
                    (site / found.name).symlink_to(found, target_is_directory=True)
    return site


def alone(site: Path, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a file of Python with nothing to import but the standard library and `site`."""
    start = f"import sys, runpy; sys.path.insert(0, {str(site)!r}); sys.argv = sys.argv[1:]; "
    start += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-I", "-S", "-c", start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr of a command that fails as it should."""
    assert device_cli.main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("taskcodec: error: ")
    assert err.count("\n") == 1
    return err


# ---- the same bytes as the library, alone


def test_the_bundle_of_a_codec_with_layers_writes_its_blobs(
    make_codec: Callable[..., FeatureCodec],
    traced: Callable[[str], Any],
    photo: Path,
    tmp_path: Path,
) -> None:
    codec = make_codec(dead_zone=(0.2, 0.1, 0.0), layers=(0, 1, 2))
    encoder = DeviceEncoder(
        str(export_bundle(codec, tmp_path / "bundle", "onnxruntime", traced=traced("student")[1]))
    )
    device = Device(codec)
    for quality in codec.qualities:
        blob = encoder(photo, quality)
        assert blob == device(photo, quality)
        symbols, _ = encoder.decode(blob)
        np.testing.assert_array_equal(symbols, codec.read([blob])[0][0])
    assert list(codec.cuts(blob)) == [0, 1]
    for quality in (0, 1):
        assert (
            encoder.decode(codec.cut(blob, quality))[0] == codec.read([codec.cut(blob, quality)])[0]
        ).all()


def test_alone_it_writes_the_blobs_that_torch_writes(
    bundles: Bundles, traced: Callable[[str], Any], bare_site: Path, photo: Path, tmp_path: Path
) -> None:
    folder, device = bundles("onnxruntime"), Device(traced("student")[0])
    for options, expected in (
        (["--quality", "2"], device(photo, 2)),
        (["--max-bytes", "70"], device(photo, max_bytes=70)),
        ([], device(photo)),
    ):
        out = tmp_path / "photo.blob"
        done = alone(
            bare_site,
            folder / "taskcodec_device.py",
            "encode",
            folder,
            photo,
            "-o",
            out,
            *options,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert out.read_bytes() == expected
        assert done.stdout == f"{out}: {len(expected)} bytes, quality {expected[0] & 15}\n"


def test_alone_it_measures(bundles: Bundles, bare_site: Path) -> None:
    done = alone(
        bare_site, bundles("onnxruntime") / "taskcodec_device.py", "bench", bundles("onnxruntime")
    )
    assert done.returncode == 0, done.stderr
    rows = dict(
        line.strip().split("  ", 1) for line in done.stdout.splitlines() if "coding" not in line
    )
    assert list(rows) == [
        *(
            "loading, once",
            "preprocess",
            "encoder, onnxruntime",
            "picture to blob",
            "quality 1",
            "quality 2",
            "most memory so far",
        )
    ]
    coding = [line.split("coding, ")[1] for line in done.stdout.splitlines() if "coding" in line]
    assert len(coding) == 6
    assert (
        sum(
            line.startswith("constriction") and "not here: constriction is not installed" in line
            for line in coding
        )
        == 2
    )
    if shutil.which("cc"):
        assert (
            sum(
                line.startswith("c, used ") and line.endswith(" times as fast as numpy")
                for line in coding
            )
            == 2
        )


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler here")
def test_alone_every_coder_writes_one_blob(
    bundles: Bundles, bare_site: Path, photo: Path, tmp_path: Path
) -> None:
    folder, blobs = bundles("onnxruntime"), set()
    for coder in ("c", "numpy"):
        out = tmp_path / coder
        done = alone(
            bare_site,
            folder / "taskcodec_device.py",
            "encode",
            folder,
            photo,
            "-o",
            out,
            "--coder",
            coder,
        )
        assert done.returncode == 0, done.stderr
        blobs.add(out.read_bytes())
    assert len(blobs) == 1
    done = alone(
        bare_site,
        folder / "taskcodec_device.py",
        "encode",
        folder,
        photo,
        "-o",
        out,
        "--coder",
        "constriction",
    )
    assert (done.returncode, done.stderr) == (
        2,
        "taskcodec: error: constriction is not installed\n",
    )


def test_it_imports_nothing_but_numpy_and_what_the_system_has() -> None:
    tree = ast.parse(onefile.device_source())
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= MODULES


def test_blobs_go_both_ways_between_device_and_server(
    encoder: DeviceEncoder, traced: Callable[[str], Any], photo: Path
) -> None:
    codec = traced("student")[0]
    for quality in codec.qualities:
        blob = encoder(photo, quality)
        symbols, q = encoder.decode(blob)
        assert q == quality
        np.testing.assert_array_equal(codec.read([blob])[0][0], symbols)
        assert Server(codec)(blob)
    wild = np.random.default_rng(0).integers(-127, 128, (1, 16, 6), dtype=np.int32)
    (raw,) = codec.code(wild, 0)
    assert raw[0] >> 4 == 3
    np.testing.assert_array_equal(encoder.decode(raw)[0], wild[0])
    with pytest.raises(BitstreamError, match="damaged"):
        encoder.decode(raw[:-1])


def test_a_batch_of_any_size_goes_through_a_fixed_one(
    encoder: DeviceEncoder, traced: Callable[[str], Any]
) -> None:
    codec, pixels = traced("student")[0], torch.randn(3, 3, 32, 32)
    found = encoder.symbols(pixels.numpy())
    np.testing.assert_array_equal(found[:, 1], codec.symbols(pixels, 1))
    encoder = DeviceEncoder.__new__(DeviceEncoder)
    encoder.batch = 2
    encoder.shapes = {
        "pixel_values": (2, 3, 32, 32),
        "symbols": (2, 1, 4),
        "latent": (2, 32, 32),
    }
    encoder.engine = SimpleNamespace(run=lambda x: (x[:, :1, 0, :4].astype(np.int32), x[:, 0]))  # type: ignore[assignment]
    assert encoder.symbols(
        np.arange(3, dtype=np.float32)[:, None, None, None] + np.zeros((3, 3, 32, 32))
    )[:, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.long
def test_a_thousand_recorded_arrays_are_written_to_the_bytes_they_always_were(
    tmp_path: Path,
) -> None:
    tables = tables_of(FeatureCodec.from_pretrained(SHIPPED))
    golden = json.loads(GOLDEN.read_text())
    (tmp_path / "taskcodec_device.py").write_text(onefile.device_source())
    runtime = recorded.load(tmp_path / "taskcodec_device.py")
    for coder in ("constriction", "numpy", *(["c"] if shutil.which("cc") else [])):
        assert recorded.digest(runtime, tables, coder) == golden[SHIPPED]
    assert (
        recorded.digest(runtime, tables, "numpy", layers=recorded.LAYERS)
        == golden[f"{SHIPPED} in layers"]
    )


def test_no_library_in_a_bundle_or_beside_it_is_ever_loaded(
    bundle: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted under every name that the coder in C has or had, whole with its record."""
    loaded: list[str] = []
    real = ctypes.CDLL
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiled._library.cache_clear()
    DeviceEncoder(str(bundle))
    kept = list((tmp_path / "cache" / "task-codec").iterdir())
    for place in ("__pycache__", ".", "task-codec", ".cache/task-codec"):
        (bundle / place).mkdir(exist_ok=True, parents=True)
        for file in kept:
            shutil.copy(file, bundle / place)
    monkeypatch.chdir(bundle)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", ".")
    monkeypatch.setattr(compiled.ctypes, "CDLL", lambda path: loaded.append(path) or real(path))
    compiled._library.cache_clear()
    try:
        encoder = DeviceEncoder(".")
        assert encoder(photo)
        assert [path for path in loaded if bundle in Path(path).resolve().parents] == []
        assert len(loaded) == (1 if kept else 0)
    finally:
        compiled._library.cache_clear()


# ---- as Device, for pictures, rates and refusals


@pytest.fixture(scope="module")
def calibrated(
    make_codec: Callable[..., FeatureCodec],
    traced: Callable[[str], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[FeatureCodec, Path]:
    """A calibrated codec and its bundle."""
    drops = (3.0, 0.5, 0.25)
    rows = tuple(Calibration(10, 9.0 + q, drop, 90.0) for q, drop in enumerate(drops))
    codec, place = make_codec(calibration=rows), tmp_path_factory.mktemp("calibrated") / "bundle"
    folder = export_bundle(codec, place, "onnxruntime", traced=traced("student")[1])
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["calibration"] = [dataclasses.asdict(row) for row in rows]
    sign(folder, manifest)
    return codec, folder


@pytest.fixture(scope="module")
def both(calibrated: tuple[FeatureCodec, Path]) -> tuple[Device, DeviceEncoder]:
    """Device and DeviceEncoder of one codec, calibrated."""
    codec, folder = calibrated
    return Device(codec), DeviceEncoder(str(folder))


@pytest.mark.parametrize(
    "rate",
    [
        {},
        {"quality": 0},
        {"quality": np.int64(2)},
        {"max_bytes": 80},
        {"target_drop": 0.5},
        {"target_drop": 7},
    ],
)
def test_one_picture_or_a_batch_is_taken_as_device_takes_it(
    both: tuple[Device, DeviceEncoder],
    picture: Callable[..., Image.Image],
    photo: Path,
    rate: dict[str, Any],
) -> None:
    array = np.asarray(picture(5, 40, 30))
    for images in (
        photo,
        str(photo),
        photo.read_bytes(),
        torch.from_numpy(array).permute(2, 0, 1) / 255,
        np.stack([array, array[::-1]]).transpose(0, 3, 1, 2),
        picture(4, 33, 32),
        array,
        array[..., 0],
        [photo, picture(4, 33, 32), array],
        (photo,),
        np.stack([array, array[::-1]]),
    ):
        expected, found = (side(images, **rate) for side in both)
        assert found == expected
        assert isinstance(found, bytes) == (not isinstance(images, (list, tuple))) or (
            getattr(images, "ndim", 0) == 4
        )


@pytest.mark.parametrize(
    ("images", "rate"),
    [
        ([], {}),
        (np.zeros((0, 5, 5, 3), np.uint8), {}),
        (None, {}),
        (b"bytes", {}),
        ("nowhere.png", {}),
        (np.full((5, 6, 3), 1.5, np.float32), {}),
        (np.zeros((3, 6, 3), np.uint8), {}),
        (io.StringIO("text"), {}),
        ("https://a.b/c.png", {}),
        (np.zeros((5, 5, 2), np.uint8), {}),
        (["picture", np.zeros((0, 5), np.uint8)], {}),
        ("picture", {"quality": 3}),
        ("picture", {"quality": -1}),
        ("picture", {"quality": 1.0}),
        ("picture", {"quality": True}),
        ("picture", {"quality": "1"}),
        ("picture", {"max_bytes": 7}),
        (["picture", "picture"], {"max_bytes": 7}),
        ("picture", {"max_bytes": 0}),
        ("picture", {"max_bytes": 9.5}),
        ("picture", {"max_bytes": False}),
        ("picture", {"target_drop": 0.1}),
        ("picture", {"target_drop": float("nan")}),
        ("picture", {"target_drop": "1"}),
        ("picture", {"quality": 1, "max_bytes": 99}),
        ("picture", {"quality": 1, "target_drop": 1.0}),
        ("picture", {"max_bytes": 99, "target_drop": 1.0}),
    ],
)
def test_it_refuses_in_the_words_of_device(
    both: tuple[Device, DeviceEncoder],
    photo: Path,
    images: Any,
    rate: dict[str, Any],
) -> None:
    def named(image: Any) -> Any:
        return photo if isinstance(image, str) and image == "picture" else image

    given = [named(i) for i in images] if isinstance(images, list) else named(images)
    said = []
    for side in both:
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            side(given, **rate)
        said.append((type(error.value), str(error.value)))
    assert said[0] == said[1]


def test_streams_results_and_sessions_are_those_of_device(
    both: tuple[Device, DeviceEncoder], picture: Callable[..., Image.Image], photo: Path
) -> None:
    images = [photo, "nowhere.png", picture(4, 33, 32), np.full((5, 6), 2.0)] * 10
    for rate in ({}, {"max_bytes": 40}, {"target_drop": 1.0}):
        expected, found = (list(side.each(images, **rate)) for side in both)
        assert [row[:2] for row in found] == [row[:2] for row in expected]
        assert [str(row.error) for row in found] == [str(row.error) for row in expected]
    good = [photo, picture(4, 33, 32)]
    device, encoder = both
    assert list(encoder(iter(good))) == list(device(iter(good))) == encoder(good)
    assert encoder.session()(good, max_bytes=90) == device.session()(good, max_bytes=90)
    assert encoder.session().fingerprint == device.session().fingerprint


def test_a_latent_that_is_not_finite_is_one_pictures_error(
    encoder: DeviceEncoder, picture: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, black = encoder.engine.run, Image.new("RGB", (32, 32))
    bad = encoder.preprocess([black])[0]

    def overflowing(pixels: Any) -> Any:
        symbols, latent = run(pixels)
        latent[[(one == bad).all() for one in pixels]] = np.nan
        return symbols, latent

    monkeypatch.setattr(encoder.engine, "run", overflowing)
    results = list(encoder.each([picture(1), black, picture(2)]))
    assert [str(row.error)[:25] for row in results if row.error] == ["the latent is not finite "]
    assert [row.value for row in results] == [encoder(picture(1)), None, encoder(picture(2))]


@pytest.mark.parametrize("rows", [[], None])
def test_a_bundle_without_calibration_takes_no_target_drop(
    bundles: Bundles, photo: Path, tmp_path: Path, rows: list[Any] | None
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles("onnxruntime"), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest.pop("calibration"), "a bundle has what its codec was calibrated to"
    sign(folder, manifest if rows is None else manifest | {"calibration": rows})
    with pytest.raises(ValueError, match="carries no calibration: choose a quality, or max_bytes"):
        DeviceEncoder(str(folder))(photo, target_drop=1.0)


def test_the_command_takes_a_target_drop(
    calibrated: tuple[FeatureCodec, Path], photo: Path, tmp_path: Path
) -> None:
    (codec, folder), out = calibrated, tmp_path / "photo.blob"
    arguments = ["encode", str(folder), str(photo), "-o", str(out), "--target-drop", "0.5"]
    assert device_cli.main(arguments) == 0
    assert out.read_bytes() == Device(codec)(photo, target_drop=0.5)


def test_a_calibration_of_other_qualities_is_refused(
    bundle: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["calibration"] = [{"drop": 1.0}]
    sign(bundle, manifest)
    assert "does not fit its tables" in complaint(
        capsys, "encode", bundle, photo, "-o", tmp_path / "out.blob"
    )


# ---- in one file, for old interpreters


def test_it_is_written_in_the_syntax_of_python_3_6() -> None:
    import vermin

    for source in (onefile.device_source(), onefile.build_source()):
        tree = ast.parse(source, feature_version=(3, 6))
        assert not [
            node for node in ast.walk(tree) if isinstance(node, ast.arg) and node.annotation
        ]
        _, least = vermin.detect(source)
        assert least <= (3, 6), vermin.visit(source).output_text()


def test_the_oldest_interpreter_at_hand_compiles_it(tmp_path: Path) -> None:
    for name, source in (
        ("taskcodec_device.py", onefile.device_source()),
        ("build_engine.py", onefile.build_source()),
    ):
        (tmp_path / name).write_text(source)
    oldest = next(path for path in _interpreters() if not _fails(path, ""))
    subprocess.run([oldest, "-I", "-m", "py_compile", *map(str, tmp_path.glob("*.py"))], check=True)


@pytest.mark.long
def test_the_oldest_interpreter_with_numpy_and_pillow_writes_the_golden_bytes(
    tmp_path: Path,
) -> None:
    (tmp_path / "taskcodec_device.py").write_text(onefile.device_source())
    np.savez(tmp_path / "tables.npz", **tables_of(FeatureCodec.from_pretrained(SHIPPED)))
    oldest = next(path for path in _interpreters() if not _fails(path, "import numpy, PIL"))
    command = [oldest, recorded.__file__, "taskcodec_device.py", "tables.npz", "numpy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        json.loads(GOLDEN.read_text())[name] for name in (SHIPPED, f"{SHIPPED} in layers")
    ]


def _interpreters() -> list[str]:
    """Pythons from the oldest on, this one last."""
    return [
        *(
            path
            for minor in range(6, 15)
            for path in (shutil.which(f"python3.{minor}"), *_of_pyenv(minor))
            if path
        ),
        sys.executable,
    ]


def _fails(interpreter: str, code: str) -> int:
    return subprocess.run([interpreter, "-c", code], capture_output=True, check=False).returncode


def test_without_numpy_or_pillow_a_program_says_so(
    bundles: Bundles, photo: Path, tmp_path: Path
) -> None:
    folder = bundles("onnxruntime")
    for name, program in (
        ("taskcodec_device.py", "taskcodec"),
        ("build_engine.py", "build_engine"),
    ):
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(folder / name), "bench", "."],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert f"{program}: error: numpy and Pillow are needed" in done.stderr


def _of_pyenv(minor: int) -> list[str]:
    return [str(path) for path in Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python")]


def test_comments_and_docstrings_stay_and_types_go() -> None:
    source = (
        (Path(__file__).parent.parent / "golden")
        .joinpath("typed.py.txt")
        .read_text(encoding="utf-8")
    )
    text, imports = onefile._plain(source, joined=set())
    assert imports == {"from typing import NamedTuple"}
    assert "class C(NamedTuple):\n    x: 'int | None'  # kept\n" in text
    expected = (
        'def f(a, *b, c = None):  # kept\n    """Kept: ä."""\n    d = []\n    return [*zip(a, b)]\n'
    )
    assert text.endswith(expected)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("from dataclasses import field\nx = field()", "old_python.py has no field"),
        ("from codec.context import LIMIT as N\nx = N", "cannot be joined"),
        ("def f():\n    from codec.context import LIMIT\n    return LIMIT", "inside a function"),
        ("def f():\n    x: int\n", "declares a type"),
    ],
)
def test_what_cannot_be_joined_is_refused(source: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        onefile._plain(source, joined={"context"})


def test_the_coder_in_c_is_a_string_in_it_and_the_same_text() -> None:
    tree = ast.parse(onefile.device_source())
    (source,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SOURCE"
    )
    assert ast.literal_eval(source) == compiled.SOURCE


def test_a_text_that_no_string_can_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "codec" / "bundle").mkdir(parents=True)
    (tmp_path / "codec" / "coding").mkdir()
    (tmp_path / "codec" / "coding" / "bad.c").write_text('char *s = """";')
    place = tmp_path / "codec" / "bundle" / "old_syntax.py"
    monkeypatch.setattr(old_syntax, "__file__", str(place))
    source = 'from pathlib import Path\nS = (Path(__file__).parent / "bad.c").read_text()\n'
    with pytest.raises(ValueError, match=r"bad\.c cannot be a string"):
        onefile._plain(source, joined={"coding.bad"})


def test_two_files_that_define_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onefile, "_read", lambda name: f"LIMIT = 1  # {name}")
    with pytest.raises(ValueError, match="both define LIMIT"):
        onefile.device_source()


def test_the_stand_ins_are_like_the_standard_ones() -> None:
    made = []
    for decorate, asdict in (
        (dataclasses.dataclass, dataclasses.asdict),
        (old_python.dataclass, old_python.asdict),
    ):

        @decorate(frozen=True)
        class Pair:
            a: int
            b: tuple[int, ...] = (1,)

            def __post_init__(self) -> None:
                if self.a < 0:
                    raise ValueError("negative")

        assert asdict(Pair(1)) == {"a": 1, "b": (1,)}
        assert Pair(1, (2,)) == Pair(b=(2,), a=1) != Pair(2)
        for wrong in ((), (1, 2, 3)):
            with pytest.raises(TypeError):
                Pair(*wrong)
        with pytest.raises(TypeError):
            Pair(1, c=2)  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="negative"):
            Pair(-1)
        with pytest.raises(AttributeError):
            Pair(1).a = 2  # type: ignore[misc]
        made.append(Pair)
    assert made[0](1) != made[1](1)

    class Counted:
        calls = 0

        @old_python.cached_property
        def value(self) -> int:
            self.calls += 1
            return self.calls

    counted = Counted()
    assert (counted.value, counted.value, Counted().value) == (1, 1, 1)


# ---- what goes wrong


@pytest.mark.parametrize("name", ["encoder.onnx", "tables.npz", "taskcodec_device.py"])
@pytest.mark.parametrize("damage", ["missing", "cut", "altered"])
def test_a_bundle_that_is_not_whole_is_refused_by_file(
    bundle: Path,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    damage: str,
) -> None:
    file = bundle / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(data[:-5] if damage == "cut" else data)
    reason = complaint(capsys, "encode", bundle, photo, "-o", tmp_path / "out.blob")
    assert name in reason
    assert ("missing" if damage == "missing" else "cut or altered") in reason
    assert not (tmp_path / "out.blob").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m.clear(), "not a bundle's manifest: 'format'"),
        (lambda m: m.update(format=9), "format 9, this runtime reads 1"),
        (lambda m: m.pop("preprocess"), "lacks 'preprocess'"),
        (lambda m: m.update(side="4x4"), "4x4"),
        (lambda m: m.update(sha256=3), "not a bundle's manifest"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(
    bundle: Path,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Any], Any],
    named: str,
) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    sign(bundle, manifest)
    assert named in complaint(capsys, "encode", bundle, photo, "-o", tmp_path / "out.blob")


@pytest.mark.parametrize(
    ("before", "after"),
    [("0.5", "0.9"), ('"side": 4', '"side": 5'), ('"default_quality": ', '"default_quality": 1')],
)
def test_a_manifest_that_was_altered_is_refused(
    bundle: Path,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    before: str,
    after: str,
) -> None:
    text = (bundle / "manifest.json").read_text()
    assert before in text
    (bundle / "manifest.json").write_text(text.replace(before, after, 1))
    assert "manifest.json was altered" in complaint(
        capsys, "encode", bundle, photo, "-o", tmp_path / "out.blob"
    )


def test_a_file_that_onnx_runtime_refuses_is_named(
    bundle: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / "encoder.onnx").write_bytes(b"no graph")
    sign(bundle)
    reason = complaint(capsys, "encode", bundle, photo, "-o", tmp_path / "out.blob")
    assert "ONNX Runtime" in reason
    assert "encoder.onnx" in reason


def test_no_bundle_no_picture_and_impossible_wishes_are_refused(
    bundles: Bundles, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = bundles("onnxruntime"), tmp_path / "out.blob"
    (tmp_path / "text.jpg").write_text("not a picture")
    for arguments, named in (
        ((tmp_path, photo), "no bundle in"),
        ((folder, tmp_path / "nowhere.jpg"), "no picture at"),
        ((folder, tmp_path / "text.jpg"), "text.jpg is not a picture that can be read"),
        ((folder, photo, "-q", 3), "quality 3 is not an integer in 0..2"),
        (
            (folder, photo, "--max-bytes", 7),
            "no quality fits into 7 bytes: this image takes at least",
        ),
    ):
        assert named in complaint(capsys, "encode", *arguments, "-o", out)
        assert not out.exists()
    for wrong in ("0", "-3", "many"):
        with pytest.raises(SystemExit) as stop:
            device_cli.main(
                ["encode", str(folder), str(photo), "-o", str(out), "--max-bytes", wrong]
            )
        assert stop.value.code == 2
        assert "not a positive number of bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("latent", "symbol", "named"),
    [
        (np.nan, 0, "the latent is not finite"),
        (np.inf, 0, "the latent is not finite"),
        (0.0, -(2**31), "beyond -127..127"),
        (0.0, 128, "beyond"),
    ],
)
def test_what_float16_breaks_is_never_coded(
    bundles: Bundles,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    latent: float,
    symbol: int,
    named: str,
) -> None:
    broken = np.zeros((1, 3, 16, 6), dtype=np.int32), np.full((1, 16, 6), latent, dtype=np.float32)
    broken[0][0, 0, 0, 0] = symbol
    monkeypatch.setattr(engines.OnnxRuntime, "run", lambda self, pixel_values: broken)
    assert named in complaint(
        capsys, "encode", bundles("onnxruntime"), photo, "-o", tmp_path / "out.blob"
    )
    assert not (tmp_path / "out.blob").exists()


def test_without_onnx_runtime_and_engine_it_says_what_to_do(
    bundles: Bundles,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = bundles("onnxruntime")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install onnxruntime, or run build_engine.py" in complaint(
        capsys, "encode", folder, photo, "-o", tmp_path / "o"
    )


def test_no_space_to_write_is_one_line_and_leaves_nothing(
    bundles: Bundles, bare_site: Path, photo: Path, tmp_path: Path
) -> None:
    folder, out = bundles("onnxruntime"), tmp_path / "out" / "photo.blob"
    out.parent.mkdir()

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4))

    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = alone(
        bare_site,
        folder / "taskcodec_device.py",
        "encode",
        folder,
        photo,
        "-o",
        out,
        preexec_fn=full,
        env=environment,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("taskcodec: error: ")
    assert done.stderr.count("\n") == 1
    assert not list(out.parent.iterdir())


# ---- to a server


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    """A server that keeps what is posted; it refuses what is posted to /full."""
    kept = SimpleNamespace(blobs=[], url="")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.blobs.append((self.headers["Content-Type"], body))
            self.send_response(507 if self.path == "/full" else 200)
            self.end_headers()
            self.wfile.write(b"disk full" if self.path == "/full" else b'{"label": "cat"}')

        def log_message(self, *_: object) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield kept
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_blob_is_posted_and_the_reply_printed(
    bundles: Bundles,
    traced: Callable[[str], Any],
    photo: Path,
    server: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        device_cli.main(
            ["send", str(bundles("onnxruntime")), str(photo), f"{server.url}/blob", "-q", "1"]
        )
        == 0
    )
    assert capsys.readouterr().out == '{"label": "cat"}\n'
    assert server.blobs == [("application/octet-stream", Device(traced("student")[0])(photo, 1))]


def test_a_server_that_is_away_or_refuses_is_one_line(
    bundles: Bundles, photo: Path, server: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bundles("onnxruntime")
    assert "answered 507: disk full" in complaint(
        capsys, "send", folder, photo, f"{server.url}/full"
    )
    assert "not an http address" in complaint(capsys, "send", folder, photo, "file:///etc/passwd")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        assert "no reply from" in complaint(capsys, "send", folder, photo, address)
    assert "no reply from" in complaint(capsys, "send", folder, photo, "http://a b/c")
    assert "no reply from" in complaint(capsys, "send", folder, photo, "http://127.0.0.1:port/")
    with socket.create_server(("127.0.0.1", 0)) as chatter:
        thread = threading.Thread(target=_talk_garbage, args=(chatter,))
        thread.start()
        assert "no reply from" in complaint(
            capsys, "send", folder, photo, f"http://127.0.0.1:{chatter.getsockname()[1]}/"
        )
        thread.join()


@pytest.mark.parametrize("endless", ["body", "headers", "one byte at a time"])
def test_a_reply_without_end_is_refused_in_time(
    bundles: Bundles, photo: Path, capsys: pytest.CaptureFixture[str], endless: str
) -> None:
    stop = threading.Event()

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        parts = {
            "body": (b"HTTP/1.0 200 OK\r\n\r\n", b"x" * (1 << 16), 0.0),
            "headers": (b"HTTP/1.0 200 OK\r\n", b"a", 0.02),
            "one byte at a time": (b"HTTP/1.0 200 OK\r\n\r\n", b"x", 0.02),
        }
        start, more, pause = parts[endless]
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(start)
            while not stop.wait(pause):
                connection.sendall(more)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        url, start = f"http://127.0.0.1:{server.getsockname()[1]}/", time.monotonic()
        timeout = "30" if endless == "body" else "0.5"
        reason = complaint(capsys, "send", bundles("onnxruntime"), photo, url, "--timeout", timeout)
        stop.set()
        thread.join()
    assert time.monotonic() - start < 20
    expected = "more than 1048576 bytes" if endless == "body" else "not whole after 0.5 seconds"
    assert expected in reason


def _talk_garbage(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1 << 16)
        connection.sendall(b"hello\r\n")


def test_the_sample_pictures_ship_with_the_library() -> None:
    assert len(list((shipped_root() / "samples").rglob("*.png"))) >= 8
