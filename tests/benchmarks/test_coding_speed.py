"""Speed of symbols <-> payload against compressai's coder, on the same symbols in the same run:
pytest tests/benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

pytest.importorskip("compressai")
pytest.importorskip("pytest_benchmark")

from codec import FeatureCodec
from codec.coding.opening import CODERS
from eval.studies.coding_speed import Workload, workloads

pytestmark = pytest.mark.long

TURN = 16
NAMES = ("one image", "batches of 64", "197 x 32 synthetic")


@pytest.fixture(scope="module")
def loads() -> Iterator[dict[str, Workload]]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    codec = FeatureCodec.from_pretrained("vit-tiny-cifar10")
    with torch.inference_mode():
        yield workloads(codec, codec.config.default_quality, TURN)
    torch.set_num_threads(n_threads)


@pytest.mark.parametrize("coder", [*CODERS, "compressai"])
@pytest.mark.parametrize("direction", ["encode", "decode"])
@pytest.mark.parametrize("name", NAMES)
def test_speed(
    benchmark: Any, loads: dict[str, Workload], name: str, direction: str, coder: str
) -> None:
    if coder not in loads[name].pairs:
        pytest.skip(f"{coder} is not to be had here, or has no code for this")
    benchmark.group = f"{direction} {name}"
    benchmark.pedantic(getattr(loads[name].pairs[coder], direction), rounds=30, warmup_rounds=2)
