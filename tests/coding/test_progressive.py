"""Payloads in layers: their first bytes are payloads of lower qualities, and everything else about
them is as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codec import BitstreamError, FeatureCodec
from codec.coding.container import HEADER_BYTES, inspect, pack
from codec.coding.exact import LIMIT
from codec.coding.integer_prior import IntegerPrior
from codec.coding.progressive import ProgressivePrior, progressive_prior
from eval.studies import progressive as eval_layers

SIDE, N_CHANNELS, LAYERS, HALVES = 5, 3, (0, 2, 3), (500, 420, 500)
GAINS = torch.linspace(-1.6, 1.2, 4)[:, None] + torch.tensor([0.0, 0.4, -0.3])


@pytest.fixture(scope="module")
def plain(make_prior: Callable[..., IntegerPrior]) -> IntegerPrior:
    """Four qualities whose symbols are one latent's, in steps of their own."""
    latent = np.random.default_rng(0).laplace(0, 1.5, (100, SIDE**2, N_CHANNELS))
    symbols = [np.rint(latent * gain).astype(np.int32) for gain in GAINS.exp().numpy()]
    return make_prior(SIDE, N_CHANNELS, 4, seed=4, log_gain=GAINS, symbols=symbols)


@pytest.fixture(scope="module")
def prior(plain: IntegerPrior) -> ProgressivePrior:
    made = progressive_prior(plain, LAYERS, HALVES)
    assert isinstance(made, ProgressivePrior)
    return made


def symbols_like(n: int, seed: int, spread: float = 5.0) -> NDArray[np.int32]:
    draws = np.random.default_rng(seed).laplace(0, spread, (n, SIDE**2, N_CHANNELS))
    return np.rint(draws).clip(-LIMIT, LIMIT).astype(np.int32)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    quality=st.integers(0, 3),
    spread=st.sampled_from([0.1, 2.0, 30.0, 300.0]),
)
def test_symbols_come_back_at_every_quality_whatever_they_are(
    prior: ProgressivePrior, seed: int, quality: int, spread: float
) -> None:
    symbols = symbols_like(2, seed, spread)
    payloads = prior.encode(symbols, quality)
    np.testing.assert_array_equal(prior.decode(payloads, quality), symbols)
    for image, payload in zip(symbols, payloads, strict=True):
        assert prior.encode(image[None], quality, portable=True) == [payload]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.1, 2.0, 30.0, 300.0]))
def test_the_first_bytes_of_a_payload_are_a_payload_of_each_lower_layer(
    prior: ProgressivePrior, seed: int, spread: float
) -> None:
    symbols = symbols_like(1, seed, spread)
    (payload,) = prior.encode(symbols, 3)
    cuts, chain = prior.cuts(symbols[0], 3, payload), prior.chain(symbols, 3)
    assert list(cuts) == [0, 2]
    for quality, n_bytes in cuts.items():
        assert n_bytes <= len(payload)
        np.testing.assert_array_equal(prior.decode([payload[:n_bytes]], quality), chain[quality])
        # a first refinement far beyond its table leaves the point at the interval's very end
        tail = 2 if spread < 10 else 5
        assert n_bytes <= len(prior.encode(chain[quality], quality)[0]) + tail, (
            "a cut costs hardly more than a tail of its own"
        )
    assert cuts[0] <= cuts[2]


def test_layers_are_roundings_of_the_finest_at_each_ones_own_step(prior: ProgressivePrior) -> None:
    symbols = symbols_like(4, 1)
    chain, gain = prior.chain(symbols, 3), GAINS.exp().numpy().astype(float)
    for quality, half, finer in ((2, 0.42, 3), (0, 0.5, 2)):
        scaled = chain[finer] * gain[quality] / gain[finer]
        np.testing.assert_array_equal(
            chain[quality], np.sign(scaled) * np.floor(np.abs(scaled) + half)
        )


def test_qualities_without_layers_are_coded_as_they_were(
    plain: IntegerPrior, prior: ProgressivePrior
) -> None:
    symbols = symbols_like(5, 2)
    for quality in (0, 1):  # the lowest layer is below none
        assert prior.encode(symbols, quality) == plain.encode(symbols, quality)
        np.testing.assert_array_equal(prior.bits(symbols, quality), plain.bits(symbols, quality))
        assert prior.cuts(symbols[0], quality, b"") == {}
    assert progressive_prior(plain, (), ()) is plain


def test_real_bytes_are_the_estimate_and_layers_cost_little(
    plain: IntegerPrior, prior: ProgressivePrior
) -> None:
    latent = np.random.default_rng(5).laplace(0, 1.5, (200, SIDE**2, N_CHANNELS))
    symbols = np.rint(latent * GAINS[3].exp().numpy()).astype(np.int32)
    sizes = np.array([len(payload) for payload in prior.encode(symbols, 3)])
    estimate = prior.bits(symbols, 3) / 8
    assert (sizes <= 1.0001 * estimate + 2).all()
    assert 0 < (sizes - estimate).mean() < 0.7
    assert 0.9 < estimate.sum() / (plain.bits(symbols, 3).sum() / 8) < 1.1


@settings(max_examples=200, deadline=None)
@given(payload=st.binary(max_size=120), quality=st.sampled_from([2, 3]))
def test_any_bytes_are_refused_or_what_is_written_but_for_the_tail(
    prior: ProgressivePrior, payload: bytes, quality: int
) -> None:
    try:
        symbols = prior.decode([payload], quality)
    except BitstreamError:
        return
    (written,) = prior.encode(symbols, quality)
    assert -2 <= len(written) - len(payload) <= 0
    n = max(len(written) - 1, 0)
    assert abs(int.from_bytes(written[:n], "big") - int.from_bytes(payload[:n], "big")) <= 1


def test_a_longer_payload_is_refused(prior: ProgressivePrior) -> None:
    for seed in range(20):
        (payload,) = prior.encode(symbols_like(1, seed), 3)
        for longer in (payload + b"\0", payload + b"\1\2\3"):
            with pytest.raises(BitstreamError, match="not written at quality 3, or is damaged"):
                prior.decode([longer], 3)


@pytest.fixture(scope="module")
def codec(make_codec: Callable[..., FeatureCodec]) -> FeatureCodec:
    return make_codec(layers=(0, 1, 2), dead_zone=(0.1, 0.2, 0.0))


@pytest.fixture(scope="module")
def blobs(codec: FeatureCodec) -> list[bytes]:
    return codec.encode(torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(3)), 2)


@pytest.mark.long
def test_truncation_cuts_a_blob_behind_the_last_layer_that_fits(
    codec: FeatureCodec, blobs: list[bytes]
) -> None:
    for blob in blobs:
        cuts = codec.cuts(blob)
        assert list(cuts) == [0, 1]
        for budget in range(cuts[0], len(blob)):
            shorter = codec.truncate(blob, budget)
            quality = max(q for q, n in cuts.items() if n <= budget)
            assert (inspect(shorter).quality, len(shorter)) == (quality, cuts[quality])
            assert shorter[HEADER_BYTES:] == blob[HEADER_BYTES : cuts[quality]], (
                "a prefix of the payload"
            )
            expected = codec.prior.chain(codec.read([blob])[0], 2)[quality]  # type: ignore[attr-defined]
            np.testing.assert_array_equal(codec.read([shorter])[0], expected)
            assert codec.cuts(shorter) == {q: n for q, n in cuts.items() if q < quality}
            assert codec.cut(blob, quality) == shorter
        assert codec.truncate(blob, len(blob)) == blob
        with pytest.raises(
            ValueError, match="cannot be cut to quality 2; lower layers that it holds: 0, 1"
        ):
            codec.cut(blob, 2)
        with pytest.raises(
            ValueError,
            match=rf"into {cuts[0] - 1} bytes: this blob takes at least {cuts[0]}",
        ):
            codec.truncate(blob, cuts[0] - 1)


def test_a_layered_blob_decodes_and_its_dead_zones_are_the_layers(
    codec: FeatureCodec, blobs: list[bytes]
) -> None:
    tokens = codec.decode(blobs)
    assert torch.isfinite(tokens).all()
    symbols = codec.read(blobs)[0]
    gain = codec.log_gain.detach().double().exp().numpy()
    scaled = symbols * gain[1] / gain[2]
    expected = np.sign(scaled) * np.floor(np.abs(scaled) + 0.3)
    np.testing.assert_array_equal(codec.prior.chain(symbols, 2)[1], expected)  # type: ignore[attr-defined]


def test_a_raw_blob_has_no_layers_and_is_coded_anew(codec: FeatureCodec) -> None:
    noise = np.random.default_rng(0).integers(-LIMIT, LIMIT + 1, (1, 16, 6)).astype(np.int32)
    (blob,) = codec.code(noise, 2)
    assert inspect(blob).raw
    assert codec.cuts(blob) == {}
    np.testing.assert_array_equal(codec.read([blob])[0], noise)


def test_layers_are_kept_with_the_codec_and_make_another_fingerprint(
    codec: FeatureCodec, blobs: list[bytes], tmp_path: Path
) -> None:
    codec.save_pretrained(tmp_path)
    loaded = FeatureCodec.from_pretrained(tmp_path)
    assert (loaded.config.layers, loaded.fingerprint) == ((0, 1, 2), codec.fingerprint)
    assert loaded.cuts(blobs[0]) == codec.cuts(blobs[0])
    loaded = loaded.set_layers(())
    assert '"layers"' not in loaded.config.to_json()
    with pytest.raises(BitstreamError, match="another codec"):
        loaded.read(blobs)
    symbols = codec.read(blobs)[0]
    assert loaded.cuts(loaded.code(symbols, 2)[0]) == {}
    assert loaded.set_layers((0, 1, 2)).code(symbols, 2) == blobs


def test_layers_that_are_none_are_refused(
    make_codec: Callable[..., FeatureCodec], blobs: list[bytes], codec: FeatureCodec
) -> None:
    for wrong in ((1,), (1, 0), (0, 0), (0, 3), (-1, 2)):
        with pytest.raises(ValueError, match=r"layers are two qualities or more of 0\.\.2, rising"):
            make_codec().set_layers(wrong)
    payload = blobs[0][HEADER_BYTES:]
    with pytest.raises(BitstreamError, match=r"damaged|not decode"):
        codec.read([pack(payload, 1, codec.fingerprint)])


def test_the_command_says_what_layers_cost(
    codec: FeatureCodec, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codec.save_pretrained(tmp_path)
    assert (
        eval_layers.main(
            [
                str(tmp_path),
                "--data",
                str(labelled),
                "--layers",
                "0,2",
                "--layers",
                "0,1,2",
                "--limit",
                "12",
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "layers 0,2, 12 pictures" in printed
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in printed.splitlines()
        if line[:3] in ("| 0", "| 1", "| 2")
    ]
    assert [row[0] for row in rows] == ["0", "2", "0", "1", "2"]
    for q, alone, layered_, _, cut, *_ in rows:
        if q == "0":
            assert alone == layered_, "the lowest layer is coded as it was"
        if q == "2":
            assert cut == layered_, "the finest is cut to itself"
    assert eval_layers.main([str(tmp_path), "--data", str(labelled), "--layers", "0,9"]) == 2
    assert "layers are two qualities or more of 0..2" in capsys.readouterr().err
