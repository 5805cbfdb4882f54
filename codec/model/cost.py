"""network -> what it costs on one picture: parameters and multiply-accumulates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


class Cost(NamedTuple):
    """Parameters and multiply-accumulates of the network that runs on the device, for one image."""

    params: int
    macs: int


@torch.no_grad()
def device_cost(network: nn.Module, size: int) -> Cost:
    """Cost of `network` on one image (1, 3, size, size)."""
    return Cost(
        sum(p.numel() for p in network.parameters()),
        multiply_accumulates(network, (1, 3, size, size)),
    )


def multiply_accumulates(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Half the FLOPs of a network's convolutions and matrix products, on an input of `shape`."""
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):  # the MATH backend is made of countable products
        network(torch.zeros(shape))
    return counter.get_total_flops() // 2
