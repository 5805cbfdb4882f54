"""Speed of symbols <-> payload against compressai's coder, on the same symbols in the same run: pytest tests/benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

pytest.importorskip("compressai")
pytest.importorskip("pytest_benchmark")

from eval.coding_speed import coders, workload

Pairs = dict[str, tuple[Callable[[], Any], Callable[[], Any]]]


@pytest.fixture(scope="module")
def pairs() -> Iterator[Pairs]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield coders(workload())
    torch.set_num_threads(n_threads)


@pytest.mark.benchmark(group="encode 16 images, one at a time", min_rounds=20, max_time=0.5)
@pytest.mark.parametrize("name", ["ours", "portable", "compressai"])
def test_speed_of_encoding_image_after_image(benchmark: Any, pairs: Pairs, name: str) -> None:
    benchmark(pairs[name][0])


@pytest.mark.benchmark(group="decode 16 images, one at a time", min_rounds=20, max_time=0.5)
@pytest.mark.parametrize("name", ["ours", "portable", "compressai"])
def test_speed_of_decoding_image_after_image(benchmark: Any, pairs: Pairs, name: str) -> None:
    benchmark(pairs[name][1])
