"""What a user installs: a wheel that runs alone, an import that costs nothing, a lock that pins."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
SHIPPED = "vit-tiny-cifar10"

HEAVY = ["torchvision", "compressai", "onnx", "datasets", "transformers", "matplotlib"]

IMPORT_COST = f"""
import json, sys, time
import torch
before, start = set(sys.modules), time.perf_counter()
import codec
seconds = time.perf_counter() - start
heavy = [name for name in {HEAVY} if name in set(sys.modules) - before]
from codec import BitstreamError, FeatureCodec
heavy += [name for name in {HEAVY} if name in set(sys.modules) - before]
assert issubclass(BitstreamError, ValueError) and hasattr(FeatureCodec, "decode")
print(json.dumps({{"seconds": seconds, "heavy": heavy}}))
"""

DECODE_ALONE = f"""
import importlib.util, sys

BLOCKED = ("compressai", "torchvision", "datasets")
find_spec = importlib.util.find_spec

# the question whether a package is there may be asked, the answer is no
def not_there(name, package=None):
    return None if name.split(".")[0] in BLOCKED else find_spec(name, package)

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            # no ImportError: a `try` must not hide it
            raise RuntimeError(f"the decode path imports {{name}}")

importlib.util.find_spec = not_there
sys.meta_path.insert(0, Refuse())

import torch
from codec import FeatureCodec

torch.set_num_threads(1)
codec = FeatureCodec.from_pretrained({SHIPPED!r})
blobs = codec.encode(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
tokens = codec.decode(blobs)
assert [type(blob) for blob in blobs] == [bytes, bytes]
assert tokens.shape[0] == 2 and tokens.ndim == 3 and torch.isfinite(tokens).all()
assert not [name for name in sys.modules if name.split(".")[0] in BLOCKED]
"""


def clean_environment(home: Path, path: Path | None = None) -> dict[str, str]:
    """An environment that knows no checkout and no hub, with `path` first on PATH."""
    places = [*([str(path)] if path else []), "/usr/local/bin", "/usr/bin", "/bin"]
    return {
        "HOME": str(home),
        "PATH": os.pathsep.join(places),
        "HF_HUB_OFFLINE": "1",
        "LANG": "C.UTF-8",
    }


def run(*command: str | Path, **options: object) -> str:
    """Run a command and return what it printed; a failure shows both of its streams."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload]
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return str(done.stdout)


def run_python(source: str, home: Path) -> str:
    return run(sys.executable, "-c", source, cwd=home, env=clean_environment(home))


def working_uv() -> str | None:
    """uv, where it is there and runs."""
    uv = shutil.which("uv")
    return (
        uv
        if uv
        and subprocess.run([uv, "--version"], capture_output=True, check=False).returncode == 0
        else None
    )


def make_environment(venv: Path) -> Path:
    """Make a new environment; returns its bin."""
    uv = working_uv()
    if uv is None:
        run(sys.executable, "-m", "venv", venv)
    else:
        run(uv, "venv", "--quiet", "--no-project", "--python", sys.executable, venv)
    return venv / "bin"


def install(what: str | Path, binaries: Path) -> None:
    """Install a wheel and what it needs to run, at the versions of the lock, into an
    environment.
    """
    python, uv = binaries / "python", working_uv()
    if uv is None:
        run(python, "-m", "pip", "install", "--quiet", "-c", LOCK, what)
        return
    command = [uv, "pip", "install", "--quiet", "--python", python, "-c", LOCK, what]
    cached = subprocess.run([*map(str, command), "--offline"], capture_output=True, check=False)
    if cached.returncode:
        run(*command)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as it is built from the checkout."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT)
    (built,) = out.glob("*.whl")
    return built


def test_wheel_holds_all_of_the_library_and_its_types(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    files = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "codec").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {"codec/py.typed", "codec/bundle/readme.md"} <= files
    assert files <= held
    assert {f"codec/pretrained/{SHIPPED}/{name}" for name in ("config.json", "README.md")} <= held
    assert not [name for name in held if name.startswith(("training", "eval", "tests"))]


def test_wheel_runs_the_demo_outside_the_checkout(wheel: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    binaries = make_environment(tmp_path / "venv")
    install(wheel, binaries)
    environment = clean_environment(elsewhere, binaries)
    installed = run(
        binaries / "python",
        "-c",
        "import codec; print(codec.__file__)",
        cwd=elsewhere,
        env=environment,
    )
    assert tmp_path / "venv" in Path(installed.strip()).parents

    listed = run(binaries / "codec", "list", "--json", cwd=elsewhere, env=environment)
    json.loads(listed)
    assert f'"{SHIPPED}"' in listed
    # pictures are drawn by matplotlib, which comes with an extra of its own
    refused = subprocess.run(
        [binaries / "codec", "demo"], cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.endswith("pip install 'task-codec[demo]'")
    install(f"task-codec[demo] @ {wheel.as_uri()}", binaries)
    run(binaries / "codec", "demo", "--out", "picture.png", cwd=elsewhere, env=environment)
    assert (elsewhere / "picture.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_import_codec_is_light(tmp_path: Path):
    runs = [json.loads(run_python(IMPORT_COST, tmp_path)) for _ in range(3)]
    assert [cost["heavy"] for cost in runs] == [[], [], []]
    assert statistics.median(cost["seconds"] for cost in runs) < 0.5


def test_decode_path_never_imports_compressai(tmp_path: Path):
    run_python(DECODE_ALONE, tmp_path)


def test_lock_pins_every_package_and_names_no_place():
    lines = [line for line in LOCK.read_text().splitlines() if line.strip()]
    assert not [line for line in lines if "://" in line or "@" in line or line.startswith("-")]
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[0-9][\w.]*( ; .+)?", line) for line in lines)
    pinned = {line.split("==")[0] for line in lines}
    assert {"torch", "torchvision", "hatchling"} <= pinned


def test_lock_says_no_local_build_of_torch():
    versions = re.findall(r"^(?:torch|torchvision)==(\S+)", LOCK.read_text(), flags=re.MULTILINE)
    assert versions
    assert not [version for version in versions if "+" in version]
