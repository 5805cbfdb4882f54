"""Fixtures of the attacks: a process with bounds that opens what it is told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codec.bundle.export import export_bundle
from codec.model import FeatureCodec
from tests.attacks.trial import MEMORY, SECONDS

ROOT = Path(__file__).parent.parent.parent
Open = Callable[[str, Path], Any]


@pytest.fixture(scope="session")
def limited() -> Iterator[Open]:
    """Function (kind, path) -> what became of it; it took neither too long nor too much memory."""
    running: dict[str, Any] = {}

    def ask(kind: str, path: Path) -> Any:
        if kind not in running or running[kind].poll() is not None:
            running[kind] = subprocess.Popen(
                [sys.executable, "-m", "tests.attacks.limited", kind],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        running[kind].stdin.write(f"{path}\n")
        running[kind].stdin.flush()
        found = json.loads(running[kind].stdout.readline() or '{"outcome": "died"}')
        assert found["outcome"] in ("accepted", "refused"), found
        assert found["seconds"] < SECONDS, found
        assert found["peak"] < MEMORY, found
        return found

    yield ask
    for process in running.values():
        process.stdin.close()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def tiny_bundle(
    make_codec: Callable[..., FeatureCodec], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle of a random codec. Shared: a test that changes it copies it."""
    return export_bundle(make_codec(), tmp_path_factory.mktemp("tiny") / "bundle", "onnxruntime")
