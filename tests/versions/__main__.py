"""python -m tests.versions [VERSION ...]: tests/versions on each version of transformers, in an
environment of its own below build/versions, and a table of what passed.

An environment is a folder in front of the packages that are installed: transformers, and of what it
needs the packages that are there in another version than it takes. Torch is not installed again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "versions"
VERSIONS = ("5.0.0", "5.2.0", "5.6.0", "5.8.1", "5.9.0", "newest")
NEWEST = "transformers>=5,<6"


def install(what: str, target: Path) -> None:
    """One package, without what it needs, into a folder; by uv where it is there."""
    uv = shutil.which("uv")
    command = [uv, "pip"] if uv else [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--quiet", "--no-deps", "--target", str(target)]
    done = subprocess.run([*command, "install", *options, what], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{what} cannot be installed\n{done.stderr}")


def held(target: Path | None = None) -> dict[str, Distribution]:
    """The packages in a folder by name; of none, those that are installed."""
    found = distributions(path=[str(target)]) if target else distributions()
    return {canonicalize_name(one.metadata["Name"]): one for one in found}


def missing(target: Path) -> list[str]:
    """What the packages in a folder need, and neither it nor the installation has."""
    own = held(target)
    versions = {name: one.version for name, one in (held() | own).items()}
    wanted = []
    for package in own.values():
        for line in package.requires or ():
            needed = Requirement(line)
            if needed.marker and not needed.marker.evaluate({"extra": ""}):
                continue
            version = versions.get(canonicalize_name(needed.name))
            if version is None or not needed.specifier.contains(version, prereleases=True):
                wanted.append(f"{needed.name}{needed.specifier}")
    return wanted


def make(version: str) -> Path:
    """The folder of a version; made anew where it is not whole, and the newest each time."""
    target = PLACE / version
    whole = target / ".whole"
    if whole.exists() and version != "newest":
        return target
    shutil.rmtree(target, ignore_errors=True)
    install(NEWEST if version == "newest" else f"transformers=={version}", target)
    while wanted := missing(target):
        for what in wanted:
            install(what, target)
    whole.touch()
    return target


def run(
    *arguments: str, place: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """This Python on modules of the checkout, with a folder of packages in front."""
    first = [str(place)] if place else []
    path = {"PYTHONPATH": os.pathsep.join([*first, str(ROOT)])}
    environment = os.environ | path | {"HF_HUB_OFFLINE": "1"} | more
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def main() -> None:
    versions = sys.argv[1:] or VERSIONS
    saved = PLACE / "saved"
    shutil.rmtree(saved, ignore_errors=True)
    done = run("-m", "tests.versions.saved", str(saved))
    if done.returncode:
        sys.exit(done.stderr)
    failed = []
    for version in versions:
        place = make(version)
        name = held(place)["transformers"].version
        tested = run(
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-q",
            "tests/versions",
            place=place,
            SAVED_CODECS=str(saved),
        )
        print(
            f"transformers {name:8} {(tested.stdout.splitlines() or [tested.stderr])[-1]}",
            flush=True,
        )
        if tested.returncode:
            failed.append(f"transformers {name}\n{tested.stdout}\n{tested.stderr}")
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
