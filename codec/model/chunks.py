"""a large batch -> results: networks run on so many samples at a time, so that memory does not grow
with the batch by more than what goes in and comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

CHUNK = 256
"""Samples that a network sees at a time."""


def chunks(n: int) -> Iterator[slice]:
    """The places 0..n - 1, `CHUNK` at a time."""
    return (slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK))


def in_chunks(run: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
    """`run(*inputs)`, of tensors that are all as long, `CHUNK` samples at a time."""
    n = len(inputs[0])
    if n <= CHUNK:
        return run(*inputs)
    result = torch.empty(0)
    for some in chunks(n):
        part = run(*(of_all[some] for of_all in inputs))
        if not some.start:
            result = part.new_empty((n, *part.shape[1:]))
        result[some] = part
    return result
