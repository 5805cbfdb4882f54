"""How long a new process takes until one picture is a blob, next to one that imports torch alone:
`python -m tests.benchmarks.test_startup` prints processor times and their ratios.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

pytest.importorskip("pytest_benchmark")

NAME = "vit-tiny-cifar10"
PICTURE = Path(__file__).parents[2] / "pretrained" / "samples" / "cifar10" / "00_truck.png"
N_RUNS = 9


def commands(place: Path) -> dict[str, list[str]]:
    """What is compared, the peer first; a bundle is exported into `place`."""
    bundle = place / "bundle"
    codec = [sys.executable, "-m", "codec.cli"]
    export = [*codec, "export", NAME, "--target", "onnxruntime", "--out", str(bundle)]
    subprocess.run(export, check=True, capture_output=True)
    device = f"from codec import Device; Device.from_pretrained({NAME!r})({str(PICTURE)!r})"
    runtime = [sys.executable, str(bundle / "taskcodec_device.py"), "encode", str(bundle)]
    return {
        "import torch": [sys.executable, "-c", "import torch"],
        "Device and a picture": [sys.executable, "-c", device],
        "codec encode": [*codec, "encode", NAME, str(PICTURE), "--out", str(place)],
        "a bundle's encode, without torch": [*runtime, str(PICTURE), "-o", str(place / "blob")],
    }


def processor_s(command: list[str]) -> float:
    """Processor seconds of a process, those of the system included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rows(n_runs: int, place: Path) -> Iterator[tuple[str, float, float]]:
    """Name, median processor seconds, and their ratio to the peer's; all take turns."""
    known = commands(place)
    taken: dict[str, list[float]] = {name: [] for name in known}
    for _ in range(n_runs):
        for name, command in known.items():
            taken[name].append(processor_s(command))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    peer = next(iter(medians.values()))
    return ((name, median, median / peer) for name, median in medians.items())


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return commands(tmp_path_factory.mktemp("startup"))


@pytest.mark.long
@pytest.mark.parametrize("i", range(4))
def test_startup(benchmark: Any, known: dict[str, list[str]], i: int) -> None:
    name, command = list(known.items())[i]
    benchmark.extra_info["name"] = name
    benchmark.pedantic(lambda: processor_s(command), rounds=3)


def main() -> None:
    with TemporaryDirectory() as place:
        for name, median, ratio in rows(N_RUNS, Path(place)):
            print(f"{name:34} {median:.2f} s of processor time, {ratio:.2f} times import torch")


if __name__ == "__main__":
    main()
