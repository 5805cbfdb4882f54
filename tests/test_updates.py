"""Updates of weights: both ends hold the same weights, and anything else is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from codec.coding import update_native, update_portable, update_wants
from codec.coding.container import BitstreamError
from codec.coding.update_blob import HEADER_BYTES, pack_update, unpack_update
from codec.updates import (
    Budget,
    Distortion,
    UpdateRefused,
    UpdateState,
    check_update,
    decode_update,
    encode_update,
    weights_fingerprint,
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


@pytest.mark.parametrize("n_bytes", [1500, 2500, 10**6])
def test_a_large_budget_brings_a_small_error(n_bytes: int):
    before, after = a_change()
    decoded = decode_update(before, encode_update(before, after, Budget(n_bytes)))
    floats = [name for name in before if before[name].dtype == np.float32]
    wrong = sum(float(np.square(after[name] - decoded[name]).sum()) for name in floats)
    right = sum(float(np.square(after[name] - before[name]).sum()) for name in floats)
    assert wrong < 1e-5 * right


@pytest.mark.parametrize("times", [300, 200, 60])
def test_a_budget_is_filled(times: int):
    """From one common step to the next there were up to 5% of it left."""
    draw = np.random.default_rng(3)
    scale = np.exp(draw.normal(0, 1.0, (200, 1))) * np.exp(draw.normal(0, 0.5, (1, 300)))
    before = {"w": np.zeros((200, 300), np.float32)}
    after = {"w": (scale * draw.normal(0, 1e-3, (200, 300))).astype(np.float32)}
    budget = before["w"].nbytes // times
    assert 0.99 * budget < len(encode_update(before, after, Budget(budget))) <= budget


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


def test_a_state_of_other_shapes_is_refused():
    before, after = a_change()
    state = UpdateState(
        {"fc.bias": np.zeros((1, 10), np.float32)}
    )  # it would be added all the same
    with pytest.raises(ValueError, match=r"fc\.bias has shape \(10,\), and \(1, 10\) in the state"):
        encode_update(before, after, Budget(200), state)


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


@pytest.mark.parametrize("rate", [Budget(150), Budget(600), Distortion(0.001)])
def test_python_and_c_write_the_same_bytes(rate: Budget | Distortion):
    before, after = a_change(1)
    blob = encode_update(before, after, rate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(update_wants, "library_code", without_c)
        assert encode_update(before, after, rate) == blob
        slow = decode_update(before, blob)
    assert same(decode_update(before, blob), slow)


def without_c() -> None:
    raise ValueError("no C here")


def test_the_result_is_symbol_times_step_and_one_sum_in_float32():
    before = {"w": np.full((1, 64), 0.1, dtype=np.float32)}
    after = {"w": before["w"] + np.float32(0.25) * np.arange(64, dtype=np.float32)}
    decoded = decode_update(before, encode_update(before, after, Distortion(1e-6)))
    assert decoded["w"].dtype == np.float32
    np.testing.assert_allclose(decoded["w"], after["w"], atol=0.05)


def test_weights_that_are_not_changed_stay_as_they_are():
    before = {"w": np.array([[-0.0, 1e-40, 3.0, 65504.0]], dtype=np.float32)}
    assert same(decode_update(before, encode_update(before, before, Budget(60))), before)


def test_half_floats_integers_and_booleans_keep_their_types():
    before: Weights = {
        "half": np.linspace(-1, 1, 64, dtype=np.float16).reshape(8, 8),
        "table": np.arange(12, dtype=np.uint32),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 3), dtype=np.float32),
    }
    after = {
        "half": before["half"] * np.float16(0.5),
        "table": before["table"][::-1].copy(),
        "flags": ~before["flags"],
        "empty": before["empty"],
    }
    decoded = decode_update(before, encode_update(before, after, Distortion(0.01)))
    assert same(
        {n: decoded[n] for n in ("table", "flags")}, {n: after[n] for n in ("table", "flags")}
    )
    assert {n: a.dtype for n, a in decoded.items()} == {n: a.dtype for n, a in before.items()}


def test_torch_tensors_come_back_as_tensors():
    torch = pytest.importorskip("torch")
    before, after = a_change()
    blob = encode_update(before, after, Budget(200))
    tensors = {name: torch.from_numpy(array) for name, array in before.items()}
    decoded = decode_update(tensors, blob)
    assert all(isinstance(value, torch.Tensor) for value in decoded.values())
    expected = decode_update(before, blob)
    arrays = {name: value.numpy() for name, value in decoded.items()}
    assert same({name: arrays[name] for name in expected}, expected)


def test_running_statistics_do_not_take_all_bits():
    before, after = a_change()
    statistics = np.zeros(64, dtype=np.float32)
    before["bn.running_var"] = statistics
    after["bn.running_var"] = np.random.default_rng(3).normal(0, 50, 64).astype(np.float32)
    decoded = decode_update(before, encode_update(before, after, Budget(400)))
    for name in ("conv.weight", "bn.running_var"):
        wrong, change = after[name] - decoded[name], after[name] - before[name]
        assert (wrong**2).sum() < 0.7 * (change**2).sum(), name


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_never_written(value: float):
    before, after = a_change()
    after["fc.bias"][3] = value
    with pytest.raises(ValueError, match=r"fc\.bias holds NaN or infinity"):
        encode_update(before, after, Budget(200))


def test_a_budget_that_nothing_fits_is_said():
    before, after = a_change()
    with pytest.raises(ValueError, match="no update fits into 20 bytes"):
        encode_update(before, after, Budget(20))


def test_weights_of_other_names_shapes_or_types_are_refused():
    before, after = a_change()
    with pytest.raises(ValueError, match=r"only one side has fc\.bias"):
        encode_update(before, {n: a for n, a in after.items() if n != "fc.bias"}, Budget(200))
    with pytest.raises(ValueError, match=r"fc\.bias has another shape"):
        encode_update(before, {**after, "fc.bias": after["fc.bias"][1:]}, Budget(200))
    with pytest.raises(ValueError, match="float64"):
        encode_update({"w": np.zeros(3)}, {"w": np.ones(3)}, Budget(200))


def resealed(before: Weights, blob: bytes, exponent: int, payload: bytes) -> bytes:
    """A blob as an attacker makes it, whose check is right."""
    own = weights_fingerprint(before)
    read = unpack_update(blob, own, 10**6, None)
    return pack_update(read._replace(exponent=exponent, payload=payload), own)


def test_payloads_of_an_attacker_end_in_a_named_error():
    before, after = a_change()
    blob, draw = encode_update(before, after, Budget(300)), np.random.default_rng(0)
    payload = blob[HEADER_BYTES:]
    for trial in range(400):
        bad = bytearray(payload)
        for _ in range(1 + trial % 3):
            bad[draw.integers(len(bad))] = draw.integers(256)
        bad = bad[: draw.integers(len(bad))] if trial % 4 == 0 else bad
        if trial % 5 == 0:
            bad = bytearray(draw.bytes(draw.integers(400)))
        if bytes(bad) == payload:
            continue
        forged = resealed(before, blob, int(draw.integers(2048)), bytes(bad))
        with pytest.raises((BitstreamError, UpdateRefused)):
            decode_update(before, forged)


def test_both_coders_refuse_the_same_payloads():
    before, after = a_change()
    blob, draw = encode_update(before, after, Budget(300)), np.random.default_rng(1)
    for _ in range(12):
        forged = resealed(before, blob, 1200, draw.bytes(200))
        messages = []
        for patched in (False, True):
            with pytest.MonkeyPatch.context() as patch:
                if patched:
                    patch.setattr(update_wants, "library_code", without_c)
                with pytest.raises(BitstreamError) as error:
                    decode_update(before, forged)
            messages.append(str(error.value))
        assert messages[0] == messages[1]


CODERS = [update_native.run, update_portable.run]


@pytest.mark.parametrize("spare", [16, 4096])
@pytest.mark.parametrize("run", CODERS, ids=["C", "Python"])
def test_a_payload_whose_zeros_at_the_end_were_left_out_is_read(
    run: Any, spare: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(update_native, "SPARE", spare)
    tensors = np.array([(4, 18, 9, 1), (3, 7, 1, 0), (1, 5, 1, 2), (1, 2, 1, 3), (1, 0, 1, 3)])
    payload = bytes.fromhex(
        "000004f48ea8f3ea80000000db37becbeeca708316cc4475e8c7e87cae3d"
        "704cf0e70839f65bbf30ebbe23b68cb748e830"
    )
    offsets, symbols, prices = np.zeros(5, np.int32), np.zeros(100, np.int32), np.zeros(5, np.int64)
    assert run(False, tensors, offsets, symbols, None, prices, payload) == payload


TOO_FAR = [
    (256, 9_000_000, "no symbol of an update is larger than 8388609"),
    (600, 1, r"the offset of a tensor's step is in 0\.\.511"),
]


def one_symbol(run: Any, writing: bool, offset: int, symbol: int, payload: bytes = b"") -> Any:
    tensors, prices = np.array([[1, 1, 1, 2]]), np.zeros(1, np.int64)
    offsets, symbols = np.full(1, offset, np.int32), np.full(1, symbol, np.int32)
    return run(writing, tensors, offsets, symbols, None, prices, payload), offsets, symbols


@pytest.mark.parametrize(("offset", "symbol", "reason"), TOO_FAR)
@pytest.mark.parametrize("run", CODERS, ids=["C", "Python"])
def test_what_is_too_large_to_be_written_is_the_caller_s_mistake_and_says_what(
    run: Any, offset: int, symbol: int, reason: str
):
    with pytest.raises(ValueError, match=reason) as error:
        one_symbol(run, True, offset, symbol)
    assert not isinstance(error.value, BitstreamError)


@pytest.mark.parametrize(("offset", "symbol", "reason"), TOO_FAR)
@pytest.mark.parametrize("run", CODERS, ids=["C", "Python"])
def test_a_payload_that_holds_too_much_says_what(
    run: Any, offset: int, symbol: int, reason: str, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:  # an encoder that knows no limits
        patch.setattr(update_portable, "CEILING", 1 << 30)
        patch.setattr(update_portable, "MOST_OFFSET", 1 << 30)
        payload, *_ = one_symbol(update_portable.run, True, offset, symbol)
    with pytest.raises(BitstreamError, match=reason):
        one_symbol(run, False, 0, 0, payload)


@pytest.mark.parametrize("run", CODERS, ids=["C", "Python"])
def test_a_payload_of_nothing_says_so_and_the_largest_symbol_is_coded(run: Any):
    with pytest.raises(BitstreamError, match="does not decode to an update of these weights"):
        one_symbol(run, False, 0, 0, b"\xff" * 40)
    payload, *_ = one_symbol(run, True, 511, -8388609)
    _, offsets, symbols = one_symbol(run, False, 0, 0, payload)
    assert (offsets[0], symbols[0]) == (511, -8388609)


def test_an_update_that_is_longer_than_weights_can_take_is_refused_by_its_length():
    before, _ = a_change()
    with pytest.raises(BitstreamError, match="takes at most"):
        decode_update(before, bytes(10**5))


def test_the_bytes_of_golden_updates_have_not_changed():
    """Those without a rate were written by an earlier search: they are read, and not written."""
    golden = json.loads((Path(__file__).parent / "golden" / "updates.json").read_text())
    for entry in golden:
        before, after = exact_change()
        if "relative_mse" in entry:
            rate = Distortion(entry["relative_mse"])
            assert encode_update(before, after, rate, round_number=5).hex() == entry["blob"]
        decoded = decode_update(before, bytes.fromhex(entry["blob"]))
        assert weights_fingerprint(decoded).hex() == entry["fingerprint"]


def exact_change() -> tuple[Weights, Weights]:
    """Weights without a random generator, whose streams may change."""
    places = np.arange(1152, dtype=np.int64)
    noise = ((places * 2654435761) % 65521 - 32760).astype(np.float32)
    before: Weights = {
        "conv": (noise / np.float32(65536)).reshape(16, 8, 3, 3),
        "count": np.array([3, 70000]),
        "norm": noise[:16] / np.float32(32768),
    }
    cubed = (noise[::-1] / np.float32(32768)) ** 3 / np.float32(256)
    after = {
        "conv": before["conv"] + cubed.reshape(16, 8, 3, 3),
        "count": before["count"] + 1000,
        "norm": before["norm"] + noise[16:32] / np.float32(65536),
    }
    return before, after


def test_an_integer_that_moves_too_far_is_refused_whatever_its_sign():
    before = {"n": np.zeros(1, np.int64)}
    for value in (-(2**63), 2**62):
        with pytest.raises(ValueError, match="n changes by"):
            encode_update(before, {"n": np.full(1, value, np.int64)}, Distortion(0.5))


def test_bfloat16_is_refused_by_name():
    import torch

    weights = {"w": torch.zeros(3, dtype=torch.bfloat16)}
    with pytest.raises(ValueError, match="w is bfloat16"):
        encode_update(weights, weights, Distortion(0.5))
