"""network, device -> the precision in which the network learns fastest there."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from codec.model.mobile_shape import MobileShape


def encoder_precision(
    mobile: MobileShape | None, device: torch.device
) -> AbstractContextManager[object]:
    """On a CPU float32 for a mobile encoder, whatever precision the rest has; else that of the
    rest.

    Depthwise convolutions have few products for each value that they read, and their backward pass
    in bfloat16 takes three times as long as in float32: 1.37 against 0.46 seconds for 32 pictures
    and the first five stages of EfficientNet-Lite0, on one x86-64 core.

    Args:
        mobile: shape of a mobile encoder; None for another one.
    """
    if mobile is not None and device.type == "cpu":
        return torch.autocast("cpu", enabled=False)
    return nullcontext()
