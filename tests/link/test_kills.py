"""Whatever is killed or full, and when: every request is answered once in effect, none is lost, and
the order is kept.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
MEMORY = Path("/dev/shm")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 is of Unix")


@pytest.fixture
def quick_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a kill, other than a power cut, leaves it as a disk
    would be.
    """
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def run(module: str, *arguments: object, preload: Path | None = None) -> dict[str, Any]:
    """What a module prints, run in a process that holds nothing else."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if preload:
        environment["LD_PRELOAD"] = str(preload)
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_requests_survive_kills_cuts_and_full_disks_of_both_sides(quick_disk: Path) -> None:
    found = run(
        "tests.link.killing", quick_disk, "--requests", 300, "--seconds", 60, "--calm", 0.03
    )
    assert found["requests"] == 300
    assert found["ends of lives"]["killed"] >= 10
    assert found["ends of lives"]["done"] == 2


@pytest.mark.long
def test_ten_thousand_requests_survive_it(tmp_path: Path) -> None:
    found = run("tests.link.killing", tmp_path, "--requests", 10_000, "--seconds", 600)
    assert found["requests"] == 10_000
    assert found["ends of lives"]["killed"] >= 100
    assert found["ends of lives"]["disk full"] >= 5
    assert found["replies sent again"] >= 50


@pytest.fixture(scope="session")
def cutting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cutting.c`, to be preloaded."""
    compiler = shutil.which("cc")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("cutting") / "cutting.so"
    source = Path(__file__).with_name("cutting.c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
    subprocess.run([str(word) for word in command], check=True, timeout=60)
    return library


@pytest.mark.parametrize("how", ["killed", "full"])
@pytest.mark.parametrize(("who", "n_changes"), [("device", 6), ("server", 3)])
def test_what_was_said_to_be_done_is_there_after_the_end_at_any_write(
    quick_disk: Path, cutting: Path, who: str, n_changes: int, how: str
) -> None:
    found = run("tests.link.points", quick_disk, who, how, preload=cutting)
    assert found["writes"] >= 10 * n_changes
    assert found["syncs"] >= 6 + n_changes  # each change is on the disk before it is done
