"""python -m tests.pythons [--torch WHAT] [PYTHON ...]: the wheel on each Python, in environments of
their own below build/pythons, and a table of what they can do and how large they are.

On each: the README's five lines, its commands, and the smallest installation that encodes with a
bundle. Without names, every python3.10 to python3.13 that is found. It downloads several GB.
"""

from __future__ import annotations

import argparse
import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.test_packaging import ROOT, clean_environment, run

PLACE = ROOT / "build" / "pythons"
PYTHONS = tuple(f"python3.{minor}" for minor in range(10, 14))
DEVICE = ("numpy", "pillow", "onnxruntime")
SHIPPED = "vit-tiny-cifar10"
SAMPLES = ROOT / "pretrained" / "samples"
SAY = "import sys; print('%d.%d.%d' % sys.version_info[:3])"


def version_of(python: str) -> str | None:
    """The version of an interpreter; None where there is none that runs."""
    if not (path := shutil.which(python)):
        return None
    done = subprocess.run([path, "-c", SAY], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def environment(python: str, folder: Path, *wanted: tuple[str, ...]) -> Path:
    """A new environment in which one list of packages after another is installed, by uv where it is
    there; its bin.
    """
    shutil.rmtree(folder, ignore_errors=True)
    uv, own = shutil.which("uv"), folder / "bin" / "python"
    if uv:
        run(uv, "venv", "--quiet", "--python", str(shutil.which(python)), folder)
    else:
        run(python, "-m", "venv", folder)
    install = [uv, "pip", "install", "--python", own] if uv else [own, "-m", "pip", "install"]
    for some in wanted:
        run(*install, "--quiet", *some)
    return folder / "bin"


def megabytes(folder: Path) -> int:
    """What the files of an environment take on the disk, as `du` counts them, in MB."""
    files = {(s.st_dev, s.st_ino): s.st_blocks * 512 for s in map(Path.lstat, folder.rglob("*"))}
    return round(sum(files.values()) / 1e6)


def five_lines() -> str:
    """The first block of Python in the README, with an error where an answer is not what its
    comment says. It reads the bundled picture, which `try_core` lays in place.
    """
    (block, *_) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    checked = []
    for line in block.splitlines():
        code, _, said = line.partition("  # ")
        if said.startswith('"'):
            checked.append(f"assert {code} == {ast.literal_eval(said)!r}")
        else:
            checked.append(code)
    return "\n".join([*checked, "assert len(blob) == 22"])


def try_core(binaries: Path, elsewhere: Path) -> None:
    """The README's lines and commands, in a folder that is no checkout.

    Raises:
        AssertionError: one fails, or says something else; the message has what it printed.
    """
    known = clean_environment(elsewhere, binaries)

    def codec(*arguments: str) -> str:
        return run(binaries / "codec", *arguments, cwd=elsewhere, env=known)

    run(binaries / "python", "-c", five_lines(), cwd=elsewhere, env=known)
    assert SHIPPED in codec("list")
    codec("encode", SHIPPED, "photo.png", "--max-bytes", "12")
    assert (elsewhere / "photo.blob").stat().st_size <= 12
    assert "truck" in codec("decode", "photo.blob", "--answer")
    assert "Sigfox" in codec("link", SHIPPED, "photo.png", "--profile", "sigfox")


def try_device(binaries: Path, bundle: Path, elsewhere: Path, core: Path) -> None:
    """A bundle encodes a picture, and the core of the same Python answers. Errors as `try_core`."""
    encode = ["taskcodec_device.py", "encode", ".", elsewhere / "photo.png", "-o"]
    blob = elsewhere / "device.blob"
    run(binaries / "python", *encode, blob, cwd=bundle, env=clean_environment(elsewhere))
    decode = [core / "codec", "decode", blob, "--answer"]
    assert "truck" in run(*decode, cwd=elsewhere, env=clean_environment(elsewhere, core))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("pythons", nargs="*", default=PYTHONS, metavar="PYTHON")
    parser.add_argument("--torch", help="installed first, such as the wheel of a build for the CPU")
    args = parser.parse_args()
    shutil.rmtree(PLACE, ignore_errors=True)
    elsewhere, bundle = PLACE / "elsewhere", PLACE / "bundle"
    (elsewhere / "pretrained").mkdir(parents=True)
    shutil.copytree(SAMPLES, elsewhere / "pretrained" / "samples")
    shutil.copy(SAMPLES / "cifar10" / "00_truck.png", elsewhere / "photo.png")
    export = ["-m", "codec.cli.app", "export", SHIPPED, "--target", "onnxruntime"]
    run(sys.executable, *export, "--out", bundle, cwd=ROOT)
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", PLACE]
    run(sys.executable, *build, ROOT)
    (wheel,) = PLACE.glob("*.whl")
    tried = 0
    for python in args.pythons:
        version = version_of(python)
        if version is None:
            print(f"{python}: not found, not tried", flush=True)
            continue
        first = [(args.torch,)] if args.torch else []
        core = environment(python, PLACE / version / "core", *first, (str(wheel),))
        try_core(core, elsewhere)
        device = environment(python, PLACE / version / "device", DEVICE)
        try_device(device, bundle, elsewhere, core)
        torch = run(core / "python", "-c", "import torch; print(torch.__version__)").strip()
        sizes = f"{megabytes(core.parent):,} MB, a device {megabytes(device.parent):,} MB"
        print(f"{version}, torch {torch}: all answers are right; {sizes}", flush=True)
        shutil.rmtree(PLACE / version)
        tried += 1
    if not tried:
        sys.exit("no Python to try: name one, such as PYTHONS=/usr/bin/python3.12")


if __name__ == "__main__":
    main()
