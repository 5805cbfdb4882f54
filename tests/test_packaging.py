"""What a user installs: a wheel that runs alone, an import that costs nothing, a lock that pins."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

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

def not_there(name, package=None):  # the question whether a package is there may be asked, the answer is no
    return None if name.split(".")[0] in BLOCKED else find_spec(name, package)

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise RuntimeError(f"the decode path imports {{name}}")  # no ImportError: a `try` must not hide it

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


def install_alone(wheel: Path, venv: Path) -> Path:
    """Install `wheel` and what it needs to run, at the versions of the lock, into a new
    environment; returns its bin.
    """
    python, uv = venv / "bin" / "python", working_uv()
    if uv is None:
        run(sys.executable, "-m", "venv", venv)
        run(python, "-m", "pip", "install", "--quiet", "-c", LOCK, wheel)
        return python.parent
    run(uv, "venv", "--quiet", "--no-project", "--python", sys.executable, venv)
    install = [uv, "pip", "install", "--quiet", "--python", python, "-c", LOCK, wheel]
    cached = subprocess.run([*map(str, install), "--offline"], capture_output=True, check=False)
    if cached.returncode:
        run(*install)
    return python.parent


def test_wheel_runs_the_demo_outside_the_checkout(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        tmp_path / "dist",
        ROOT,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")

    binaries = install_alone(wheel, tmp_path / "venv")
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
