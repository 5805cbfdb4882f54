"""Updates of weights: both ends hold the same weights, and anything else is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from codec.coding.container import BitstreamError
from codec.updates import (
    Budget,
    Distortion,
    UpdateRefused,
    UpdateState,
    check_update,
    decode_update,
    encode_update,
)

Weights = dict[str, NDArray[Any]]


def a_change(seed: int = 0) -> tuple[Weights, Weights]:
    draw = np.random.default_rng(seed)
    before: Weights = {
        "conv.weight": draw.normal(0, 0.1, (8, 4, 3, 3)).astype(np.float32),
        "fc.weight": draw.normal(0, 0.1, (10, 32)).astype(np.float32),
        "fc.bias": draw.normal(0, 0.1, 10).astype(np.float32),
        "bn.num_batches_tracked": np.array(7),
    }
    after = {
        name: (array + draw.laplace(0, 1e-3, array.shape)).astype(array.dtype)
        if array.dtype.kind == "f"
        else array + 5
        for name, array in before.items()
    }
    return before, after


def same(one: Weights, other: Weights) -> bool:
    return list(one) == list(other) and all(
        one[name].dtype == other[name].dtype and one[name].tobytes() == other[name].tobytes()
        for name in one
    )


@pytest.mark.parametrize("rate", [Budget(100), Budget(300), Distortion(0.5), Distortion(0.01)])
def test_an_update_keeps_its_rate(rate: Budget | Distortion):
    before, after = a_change()
    blob = encode_update(before, after, rate)
    decoded = decode_update(before, blob)
    assert decoded["bn.num_batches_tracked"] == 12
    if isinstance(rate, Budget):
        assert len(blob) <= rate.n_bytes
    else:
        floats = [name for name in before if before[name].dtype.kind == "f"]
        wrong = sum(float(((after[n] - decoded[n]) ** 2).sum()) for n in floats)
        change = sum(float(((after[n] - before[n]) ** 2).sum()) for n in floats)
        assert wrong <= rate.relative_mse * change * 1.0001


def test_what_is_left_over_is_sent_later():
    before, after = a_change()
    state = UpdateState()
    now = dict(before)
    for _ in range(6):
        change = {name: now[name] + after[name] - before[name] for name in before}
        now = decode_update(now, encode_update(now, change, Budget(110), state))
    left = {name: 6 * (after[name] - before[name]) - (now[name] - before[name]) for name in before}
    for name, residual in state.residual.items():
        np.testing.assert_allclose(left[name], residual, atol=1e-5)


def test_an_update_of_other_weights_is_refused_as_foreign():
    before, after = a_change()
    blob = encode_update(before, after, Budget(200))
    with pytest.raises(BitstreamError, match="foreign"):
        decode_update(after, blob)


def test_an_update_of_another_round_is_refused():
    before, after = a_change()
    blob = encode_update(before, after, Budget(200), round_number=3)
    assert same(decode_update(before, blob, round_number=3), decode_update(before, blob))
    with pytest.raises(BitstreamError, match="round 3, not of round 4"):
        decode_update(before, blob, round_number=4)


def test_a_damaged_update_is_refused():
    before, after = a_change()
    blob = encode_update(before, after, Budget(200))
    for i in range(len(blob)):
        with pytest.raises(BitstreamError):
            decode_update(before, blob[:i] + bytes([blob[i] ^ 4]) + blob[i + 1 :])
        with pytest.raises(BitstreamError):
            decode_update(before, blob[:i])


def test_a_poisoned_update_is_refused_and_says_how_far_it_goes():
    before, after = a_change()
    blob = encode_update(before, after, Budget(200))
    norm = check_update(before, decode_update(before, blob))
    with pytest.raises(UpdateRefused, match="norm"):
        decode_update(before, blob, max_norm=norm / 2)
    with pytest.raises(UpdateRefused, match=r"fc.bias holds NaN"):
        check_update(before, {**after, "fc.bias": after["fc.bias"] * np.nan})
