"""The fuzzer itself: a short run of each kind finds nothing, and it would find what is there."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec.coding import blobs
from codec.coding.container import BitstreamError
from tests.attacks import fuzz, fuzz_blobs, trial
from tests.attacks.fuzz_blobs import Blobs
from tests.attacks.fuzz_bundles import Bundles
from tests.attacks.fuzz_checkpoints import Checkpoints
from tests.attacks.fuzz_pictures import Pictures
from tests.attacks.fuzz_updates import Updates
from tests.attacks.sanitized import Sanitized, built

pytestmark = pytest.mark.long

SECONDS = 2.0


def run_for(target: Any, seconds: float, seed: int = 0) -> tuple[int, list[str]]:
    """Try inputs for so long -> how many, and what was wrong. Memory is the tests' own here."""
    rng, faults, n, start = random.Random(seed), [], 0, time.monotonic()
    while time.monotonic() - start < seconds:
        outcome = trial.tried(target, target.make(rng))
        if outcome.fault and "MB" not in outcome.fault:
            faults.append(outcome.fault)
        n += 1
    return n, faults


@pytest.fixture(scope="module")
def some_blobs() -> Blobs:
    return Blobs()


def test_blobs(some_blobs: Blobs) -> None:
    n, faults = run_for(some_blobs, SECONDS)
    assert n > 10
    assert not faults


def test_updates() -> None:
    updates = Updates()
    n, faults = run_for(updates, SECONDS)
    updates.close()
    assert n > 10
    assert not faults


def test_pictures() -> None:
    assert not run_for(Pictures(), SECONDS)[1]


def test_bundles(tiny_bundle: Path) -> None:
    assert not run_for(Bundles(tiny_bundle), SECONDS)[1]


def test_checkpoints() -> None:
    assert not run_for(Checkpoints(), SECONDS)[1]


def test_a_decoder_that_takes_other_forms_is_found(
    some_blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lax(*arguments: Any) -> Any:
        try:
            return blobs.read_blobs(*arguments)
        except BitstreamError:
            prior = arguments[0]
            if prior.coder_name != "numpy":
                raise
            return np.zeros((1, prior.network.side**2, prior.network.n_channels), np.int32), None

    monkeypatch.setattr(fuzz_blobs, "read_blobs", lax)
    _, faults = run_for(some_blobs, 1.0)
    assert any("reads what the first does not" in fault for fault in faults)


def test_what_is_not_documented_is_a_fault_and_is_written_to_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bad:
        def check(self, data: bytes) -> None:
            if data == b"1":
                raise KeyError("x")
            if data == b"2":
                time.sleep(0.01)
                raise ValueError("a reason")

    assert trial.tried(Bad(), b"1").fault.startswith("KeyError")  # type: ignore[arg-type]
    assert trial.tried(Bad(), b"2").refused == "ValueError: a reason"  # type: ignore[arg-type]
    monkeypatch.setattr(fuzz, "_target", lambda name: Bad())
    file = fuzz._kept("blobs", b"1", tmp_path)
    assert fuzz.main(["--replay", file]) == 1
    assert "KeyError" in capsys.readouterr().out


def test_the_command_tries_replays_and_counts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.attacks.fuzz", "--target", "pictures", "--seconds", "1"]
    done = subprocess.run(
        [*command, "--seed", "3", "--out", str(tmp_path)],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 faults" in done.stdout
    assert "accepted" in done.stdout


def test_the_sanitizers_end_a_program_that_reads_beyond_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from codec.coding import compiled

    program, why = built(tmp_path)
    if program is None:
        pytest.skip(why)
    prior = fuzz_blobs.shipped_prior("vit-tiny-cifar10")
    whole = Sanitized(program, prior)
    found = whole.read(b"", 0)
    assert found is not None
    assert found[1] == b""
    whole.close()
    broken = compiled.SOURCE.replace("i < n_bytes ? payload[i] : 0", "payload[i]")
    assert broken != compiled.SOURCE
    monkeypatch.setattr(compiled, "SOURCE", broken)
    program, _ = built(tmp_path)
    assert program is not None
    reads = Sanitized(program, prior)
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        reads.read(b"\x12\x34", 0)
    reads.close()
