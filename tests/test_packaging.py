"""What a user installs: a wheel that runs alone, an import that costs nothing, a lock that pins."""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
SHIPPED = "vit-tiny-cifar10"

HEAVY = ["torchvision", "compressai", "onnx", "datasets", "transformers", "matplotlib"]

IMPORT_COST = f"""
import json, sys, time
import torch
before, start = set(sys.modules), time.process_time()
import codec
seconds = time.process_time() - start
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


def needs_of(extras: tuple[str, ...] = (), name: str = "task-codec") -> set[str]:
    """Names of the installed packages that the library needs with these extras, and those need."""
    found: set[str] = set()
    wanted = [(name, extras)]
    while wanted:
        one, with_extras = wanted.pop()
        for line in distribution(one).requires or ():
            needed = Requirement(line)
            fits = any(
                needed.marker is None or needed.marker.evaluate({"extra": extra})
                for extra in ("", *with_extras)
            )
            if fits and canonicalize_name(needed.name) not in found:
                found.add(canonicalize_name(needed.name))
                wanted.append((needed.name, tuple(needed.extras)))
    return found


def show(packages: set[str], folder: Path) -> None:
    """Links to packages that are installed here, in a folder: nothing is downloaded or copied."""
    folder.mkdir(exist_ok=True)
    for package in packages:
        found = distribution(package)
        for top in {Path(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(found.locate_file(top))))


def make_environment(venv: Path, wheel: Path, extras: tuple[str, ...] = ()) -> Path:
    """A new environment with a wheel in it, that sees of what is installed here only what the wheel
    needs; returns its bin.
    """
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    (site,) = (venv / "lib").glob("python*/site-packages")
    show(needs_of(extras), venv / "needed")
    (site / "needed.pth").write_text(f"{venv / 'needed'}\n")
    uv = shutil.which("uv")
    installer = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    python = ["--python", venv / "bin" / "python"]
    if uv:
        run(*installer, "install", "--quiet", "--no-deps", *python, wheel)
    else:
        run(*installer, *python, "install", "--quiet", "--no-deps", wheel)
    return venv / "bin"


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


@pytest.mark.long
def test_wheel_runs_outside_the_checkout_with_what_it_needs_and_nothing_else(
    wheel: Path, tmp_path: Path
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    binaries = make_environment(tmp_path / "venv", wheel)
    environment = clean_environment(elsewhere, binaries)

    def codec(*arguments: str) -> str:
        return run(binaries / "codec", *arguments, cwd=elsewhere, env=environment)

    where = "import codec; print(codec.__file__)"
    installed = run(binaries / "python", "-c", where, cwd=elsewhere, env=environment)
    assert tmp_path / "venv" in Path(installed.strip()).parents

    listed = codec("list", "--json")
    json.loads(listed)
    assert f'"{SHIPPED}"' in listed
    shutil.copy(ROOT / "pretrained" / "samples" / "cifar10" / "00_truck.png", elsewhere / "a.png")
    codec("encode", SHIPPED, "a.png")
    blob = elsewhere / "a.blob"
    assert 8 <= blob.stat().st_size <= 200
    assert "truck" in codec("decode", "a.blob", "--answer")
    # pictures are drawn by matplotlib, which comes with an extra of its own
    refused = subprocess.run(
        [binaries / "codec", "demo"], cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.endswith("pip install 'task-codec[demo]'")
    show(needs_of(("demo",)), tmp_path / "venv" / "needed")
    codec("demo", "--out", "picture.png")
    assert (elsewhere / "picture.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_lock_has_what_the_wheel_and_its_extras_ask_for(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    extras = ["", *metadata.get_all("Provides-Extra", ())]
    extras.remove("ray")  # 300 MB for one test: `make ray` installs it in a folder of its own
    pins = [Requirement(line) for line in LOCK.read_text().splitlines() if line.strip()]
    wrong = []
    for needed in map(Requirement, metadata.get_all("Requires-Dist", ())):
        if needed.marker and not any(needed.marker.evaluate({"extra": e}) for e in extras):
            continue
        pinned = [
            next(iter(pin.specifier)).version
            for pin in pins
            if canonicalize_name(pin.name) == canonicalize_name(needed.name)
            and (pin.marker is None or pin.marker.evaluate())
        ]
        if len(pinned) != 1 or not needed.specifier.contains(pinned[0]):
            wrong.append(f"{needed}: {pinned}")
    assert not wrong, "\n".join(wrong)


def test_import_codec_is_light(tmp_path: Path):
    cost = json.loads(run_python(IMPORT_COST, tmp_path))
    assert cost["heavy"] == []
    assert cost["seconds"] < 0.5


@pytest.mark.long
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
