"""method -> what it costs the server: multiply-accumulates from a blob to the vision states."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from codec.model.asking import cut_at_the_end
from eval.methods.method import ALONE, Method


@torch.inference_mode()
def server_macs(method: Method, pixels: torch.Tensor) -> int:
    """Multiply-accumulates of a method on the server for one image: of the synthesis and of the
    vision blocks; for picture files of the whole vision model. What writes text is not counted: it
    is the same for all methods.

    Args:
        pixels: (1, 3, S, S) uint8, any image.
    """
    blobs = method.encode(pixels)
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):  # the MATH backend is made of countable products
        inputs = method.decode(blobs)
        if method.name != ALONE:
            cut_at_the_end(next(iter(method.models.values()))).head(inputs)
    return counter.get_total_flops() // 2
