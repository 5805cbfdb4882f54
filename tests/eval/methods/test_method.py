"""Names of rows, and costs on the device."""

from __future__ import annotations

import torch

from codec.model import FeatureCodec
from codec.model.cost import device_cost
from codec.model.split import split
from eval.methods.method import BASELINES, BOTTLENECK, UNCUT, baseline_of
from tests.eval.conftest import TinyEval


def test_a_row_of_a_baseline_is_told_from_a_codecs() -> None:
    assert [baseline_of(name) for name in BASELINES] == list(BASELINES)
    assert (baseline_of("jpeg@16"), baseline_of("factorised (ours)")) == ("jpeg", "factorised")
    for name in (UNCUT, BOTTLENECK, "ours", "jpeg-like"):
        assert baseline_of(name) is None


def test_multiply_accumulates_are_counted_by_hand_the_same() -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3, stride=2, padding=1), torch.nn.Flatten(2), torch.nn.Linear(16, 7)
    )
    assert device_cost(network, 8) == (3 * 5 * 9 + 5 + 16 * 7 + 7, 16 * 5 * 3 * 9 + 5 * 16 * 7)


def test_attention_counts_in_the_cost_of_a_head(tiny_eval_codec: TinyEval) -> None:
    model = FeatureCodec.from_pretrained(tiny_eval_codec.codec).load_uncut()
    n, d = 17, 32
    block = n * d * 4 * d + 2 * n * n * d + 2 * n * d * 64
    assert device_cost(split(model, 1).head, 32).macs == 16 * d * 3 * 64 + block
