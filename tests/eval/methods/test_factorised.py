"""compressai's factorised prior, fitted."""

from __future__ import annotations

import numpy as np
import torch

from eval.methods.factorised import fit_factorised_prior


def test_a_fitted_bottleneck_codes_integers_near_their_entropy_and_gives_them_back() -> None:
    rng = np.random.default_rng(0)
    symbols = np.rint(rng.laplace(scale=[[0.2], [1.0], [3.0]], size=(200, 3, 64))).astype(np.int32)
    bottleneck = fit_factorised_prior(symbols)
    with torch.inference_mode():
        strings = bottleneck.compress(torch.from_numpy(symbols).float())
        back = bottleneck.decompress(strings, (64,)).numpy()
    assert np.array_equal(back, symbols)
    entropy = 0.0
    for channel in range(3):
        p = np.unique(symbols[:, channel], return_counts=True)[1] / symbols[:, channel].size
        entropy -= float((p * np.log2(p)).sum()) * 64
    mean_bits = 8 * np.mean([len(s) for s in strings])
    assert entropy - 8 < mean_bits < 1.03 * entropy + 48  # its coder ends on whole 32-bit words
