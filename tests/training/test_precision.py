"""In which precision encoders learn."""

from __future__ import annotations

import torch

from codec.model.mobile_shape import MobileShape
from tests.tiny_mobile import STAGES
from training.engine.precision import encoder_precision


def made_in(mobile: MobileShape | None, device: str) -> torch.dtype:
    """What a convolution on this CPU gives inside a step in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16), encoder_precision(mobile, torch.device(device)):
        return torch.nn.Conv2d(1, 1, 1)(torch.zeros(1, 1, 2, 2)).dtype


def test_a_mobile_encoder_learns_in_float32_on_a_cpu_and_others_in_what_the_recipe_says() -> None:
    mobile = MobileShape(8, STAGES)
    assert made_in(mobile, "cpu") == torch.float32
    assert made_in(mobile, "cuda") == torch.bfloat16
    assert made_in(None, "cpu") == torch.bfloat16
