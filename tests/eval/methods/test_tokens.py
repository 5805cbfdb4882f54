"""Plain tokens, packed."""

from __future__ import annotations

import numpy as np

from codec.model import FeatureCodec
from codec.model.cost import Cost
from eval.measuring.opening import load_uncut
from eval.methods.tokens import QuantisedTokens
from tests.eval.conftest import TinyEval


def test_int8_tokens_come_back_within_half_a_step(tiny_eval_codec: TinyEval) -> None:
    codec = FeatureCodec.from_pretrained(tiny_eval_codec.codec)
    baseline = QuantisedTokens(load_uncut(codec), 1, Cost(0, 0), codec.config.preprocess)
    tokens = np.random.default_rng(0).normal(size=(17, 32)).astype(np.float32)
    tokens[:, 3] = 0
    error = np.abs(baseline.unpack(baseline.pack(tokens)) - tokens)
    assert np.all(error <= 0.51 * np.abs(tokens).max(0) / 127 + 1e-3 * np.abs(tokens).max(0))
