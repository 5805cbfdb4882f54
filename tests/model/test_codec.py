"""FeatureCodec: pixels -> blobs -> tokens, and checkpoints that are whole or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import BitstreamError, FeatureCodec
from codec.coding.container import HEADER_BYTES, inspect
from codec.coding.exact import LIMIT


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_blobs_hold_the_symbols_and_decode_to_tokens_for_the_tail(
    tiny_codec: FeatureCodec, pixels: torch.Tensor
) -> None:
    for quality in tiny_codec.qualities:
        symbols = tiny_codec.symbols(pixels, quality)
        blobs = tiny_codec.encode(pixels, quality)
        assert len(np.unique(symbols)) > 2, "the test needs symbols that differ"
        for image, blob in zip(symbols, blobs, strict=True):
            read = inspect(blob)
            assert read.quality == quality
            np.testing.assert_array_equal(
                tiny_codec.prior.decode([read.payload], quality)[0], image
            )
        tokens = tiny_codec.decode(blobs)
        assert tokens.shape == (5, 17, 32)
        assert tokens.dtype == torch.float32
        expected = tiny_codec.synthesise(
            torch.from_numpy(symbols).float(), torch.full((5,), quality)
        )
        assert torch.equal(tokens, expected)
        assert tiny_codec.tail(tokens).logits.shape == (5, 4)


def test_a_session_shortens_blobs_of_its_codec_alone(
    tiny_codec: FeatureCodec, pixels: torch.Tensor
) -> None:
    blobs = tiny_codec.encode(pixels, 1)
    short = [tiny_codec.shorten(blob) for blob in blobs]
    assert sum(map(len, blobs)) - sum(map(len, short)) == 3 * len(blobs)
    assert [tiny_codec.restore(some) for some in short] == blobs
    with pytest.raises(BitstreamError, match="check does not match"):
        tiny_codec.restore(blobs[0])
    with pytest.raises(BitstreamError, match=r"shortened for a session .*: restore it"):
        tiny_codec.decode(short[:1])


def test_the_numpy_only_path_writes_and_reads_the_same_payloads(
    tiny_codec: FeatureCodec, pixels: torch.Tensor
) -> None:
    for quality in tiny_codec.qualities:
        symbols = tiny_codec.symbols(pixels, quality)
        payloads = [inspect(blob).payload for blob in tiny_codec.encode(pixels, quality)]
        assert tiny_codec.prior.encode(symbols, quality, portable=True) == payloads
        np.testing.assert_array_equal(
            tiny_codec.prior.decode(payloads, quality, portable=True), symbols
        )


def test_real_bytes_stay_within_one_percent_and_two_bytes_of_the_estimate(
    tiny_codec: FeatureCodec, pixels: torch.Tensor
) -> None:
    for quality in tiny_codec.qualities:
        bits = tiny_codec.prior.bits(tiny_codec.symbols(pixels, quality), quality)
        for estimate, blob in zip(bits / 8, tiny_codec.encode(pixels, quality), strict=True):
            assert len(blob) - HEADER_BYTES <= 1.01 * estimate + 2


def test_a_batch_of_mixed_qualities_decodes_as_its_blobs_alone(
    tiny_codec: FeatureCodec, pixels: torch.Tensor
) -> None:
    blobs = [tiny_codec.encode(pixels[i : i + 1], i % 3)[0] for i in range(5)]
    together = tiny_codec.decode(blobs)
    for i, blob in enumerate(blobs):
        torch.testing.assert_close(tiny_codec.decode(blob)[0], together[i])


def test_a_higher_quality_spends_more_bytes(tiny_codec: FeatureCodec, pixels: torch.Tensor) -> None:
    sizes = [sum(map(len, tiny_codec.encode(pixels, q))) for q in tiny_codec.qualities]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


@settings(deadline=None, max_examples=60)
@given(budget=st.integers(1, 120))
def test_a_budget_is_never_exceeded_and_gets_the_best_quality_that_fits(
    tiny_codec: FeatureCodec, budget: int
) -> None:
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(budget))
    by_quality = [tiny_codec.encode(pixels, q) for q in tiny_codec.qualities]
    fitting = [
        max((q for q in tiny_codec.qualities if len(by_quality[q][i]) <= budget), default=None)
        for i in range(4)
    ]
    if None in fitting:
        needed = max(min(len(blobs[i]) for blobs in by_quality) for i in range(4))
        with pytest.raises(
            ValueError, match=rf"into {budget} bytes: image \d of 4 takes at least {needed}"
        ):
            tiny_codec.encode(pixels, max_bytes=budget)
    else:
        assert tiny_codec.encode(pixels, max_bytes=budget) == [
            by_quality[q][i] for i, q in enumerate(fitting)
        ]


def test_a_truncated_blob_fits_and_decodes_to_the_best_quality_that_does(
    tiny_codec: FeatureCodec, pixels: torch.Tensor
) -> None:
    finest = tiny_codec.encode(pixels, 2)
    by_quality = [tiny_codec.encode(pixels, q) for q in tiny_codec.qualities]
    for i, blob in enumerate(finest):
        for budget in range(min(len(b[i]) for b in by_quality) + 3, len(blob)):
            shorter = tiny_codec.truncate(blob, max_bytes=budget)
            assert len(shorter) <= budget
            quality = inspect(shorter).quality
            symbols = tiny_codec.read([shorter])[0]
            gain = tiny_codec.log_gain.detach().exp().numpy()
            error = np.abs(symbols / gain[quality] - tiny_codec.read([blob])[0] / gain[2])
            assert (error <= 0.5001 / gain[quality]).all(), (
                "a truncated symbol is the nearest to the one that was sent"
            )
            for finer in range(quality + 1, 2):
                coarse = tiny_codec.requantise(tiny_codec.read([blob])[0], 2, finer)
                assert len(tiny_codec.prior.encode(coarse, finer)[0]) + HEADER_BYTES > budget
        assert tiny_codec.truncate(blob, max_bytes=len(blob)) == blob
        assert tiny_codec.truncate(blob, max_bytes=10_000) == blob


def test_values_in_the_dead_zone_become_zero_and_the_others_shift_by_it(
    make_codec: Callable[..., FeatureCodec],
) -> None:
    codec = make_codec(dead_zone=(0.0, 0.1, 0.2))
    line = torch.tensor([0.49, 0.51, 0.59, 0.61, 0.69, 0.71, 1.59, 1.61, 300.0])
    scaled = torch.cat([line, -line])[None, :, None].expand(3, -1, -1)
    rounded = codec.round(scaled, torch.arange(3))[..., 0]
    expected = torch.tensor(
        [
            [0, 1, 1, 1, 1, 1, 2, 2, LIMIT],
            [0, 0, 0, 1, 1, 1, 1, 2, LIMIT],
            [0, 0, 0, 0, 0, 1, 1, 1, LIMIT],
        ],
        dtype=torch.float32,
    )
    assert torch.equal(rounded, torch.cat([expected, -expected], dim=1))


def test_dead_zones_are_kept_with_the_codec_and_used_by_encoder_and_truncation(
    make_codec: Callable[..., FeatureCodec], pixels: torch.Tensor, tmp_path: Path
) -> None:
    codec = make_codec().with_config(dead_zone=(0.3, 0.3, 0.0))
    codec.save_pretrained(tmp_path)
    loaded = FeatureCodec.from_pretrained(tmp_path)
    assert loaded.config.dead_zone == (0.3, 0.3, 0.0)
    latent = loaded.latent(pixels)
    with torch.inference_mode():
        scaled = loaded.scale(latent, torch.full((len(latent),), 1)).numpy()
    expected = np.sign(scaled) * np.floor(np.abs(scaled) + 0.2)
    np.testing.assert_array_equal(loaded.quantise(latent, 1), np.clip(expected, -LIMIT, LIMIT))
    finest = loaded.quantise(latent, 2)
    ratio = (loaded.log_gain[1] - loaded.log_gain[2]).detach().double().exp().numpy()
    expected = np.sign(finest) * np.floor(np.abs(finest * ratio) + 0.2)
    np.testing.assert_array_equal(loaded.requantise(finest, 2, 1), expected)


def test_truncation_below_the_smallest_blob_says_what_is_possible(
    tiny_codec: FeatureCodec, pixels: torch.Tensor
) -> None:
    blob = tiny_codec.encode(pixels, 2)[0]
    with pytest.raises(
        ValueError,
        match=r"no quality fits into 7 bytes: this blob takes at least (\d+)",
    ) as caught:
        tiny_codec.truncate(blob, max_bytes=7)
    least = int(str(caught.value).rpartition(" ")[2])
    assert len(tiny_codec.truncate(blob, max_bytes=least)) == least
    with pytest.raises(ValueError, match=rf"this blob takes at least {least}"):
        tiny_codec.truncate(blob, max_bytes=least - 1)
    for budget in (0, 1.5, True, "9"):
        with pytest.raises(ValueError, match="not a positive number of bytes"):
            tiny_codec.truncate(blob, max_bytes=budget)  # type: ignore[arg-type]
    with pytest.raises(BitstreamError, match="damaged"):
        tiny_codec.truncate(blob[:-1], max_bytes=9)


def test_no_picture_makes_a_blob_longer_than_a_byte_a_symbol(
    make_codec: Callable[..., FeatureCodec],
) -> None:
    codec, noise = (
        make_codec(),
        torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(5)),
    )
    assert codec.max_blob_bytes == HEADER_BYTES + 16 * 6
    for saturated in (False, True):
        raw = 0
        if saturated:  # every latent far beyond what symbols hold
            with torch.no_grad():
                codec.encoder.project.weight.mul_(300)  # type: ignore[union-attr,operator]
            codec.round_weights()
            codec = codec.with_config()  # its fingerprint is of the new weights
            assert (np.abs(codec.symbols(noise)) == LIMIT).mean() > 0.3
        for x in (noise, 100 * noise.sign(), 1e4 * noise):
            for q in codec.qualities:
                blobs = codec.encode(x, q)
                assert max(map(len, blobs)) <= codec.max_blob_bytes
                np.testing.assert_array_equal(codec.read(blobs)[0], codec.symbols(x, q))
                assert codec.decode(blobs).shape == (8, 17, 32)
                raw += sum(inspect(blob).raw for blob in blobs)
        assert bool(raw) == saturated


@pytest.mark.parametrize("raw", [False, True])
def test_a_payload_whose_length_no_symbols_have_is_refused(
    tiny_codec: FeatureCodec, raw: bool
) -> None:
    from codec.coding.container import pack

    with pytest.raises(
        BitstreamError, match=r"the payload has 97 bytes; this codec's take (at most )?96"
    ):
        tiny_codec.decode(pack(bytes(97), 1, tiny_codec.fingerprint, raw))
    if raw:
        with pytest.raises(BitstreamError, match=r"the payload has 95 bytes; this codec's take 96"):
            tiny_codec.decode(pack(bytes(95), 1, tiny_codec.fingerprint, raw))


@pytest.mark.parametrize(("target", "quality"), [(10, 0), (4.0, 0), (3.99, 1), (1, 1), (0.25, 2)])
def test_a_target_drop_takes_the_smallest_quality_that_keeps_to_it(
    tiny_codec: FeatureCodec, pixels: torch.Tensor, target: float, quality: int
) -> None:
    assert tiny_codec.encode(pixels, target_drop=target) == tiny_codec.encode(pixels, quality)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (0.1, r"the least is 0\.25, at quality 2"),
        (float("nan"), "not a number"),
        ("0.1", "not a number"),
        (True, "not a number"),
    ],
)
def test_a_drop_that_no_quality_keeps_to_is_refused(
    tiny_codec: FeatureCodec, pixels: torch.Tensor, target: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        tiny_codec.encode(pixels, target_drop=target)
    with pytest.raises(ValueError, match="give one of them"):
        tiny_codec.encode(pixels, max_bytes=64, target_drop=10)


def test_a_codec_without_calibration_says_so(make_codec: Any, pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="no calibration"):
        make_codec(calibration=()).encode(pixels, target_drop=1)
    for wrong in ((0.1,), (0.1, 0.5, 0.0), (-0.1, 0.0, 0.0)):
        with pytest.raises(
            ValueError, match=r"a dead zone is a number in \[0, 0.5\) for each of 3 qualities"
        ):
            replace(make_codec().config, dead_zone=wrong)
    with pytest.raises(ValueError, match="3 qualities are calibrated by as many rows, not 1"):
        make_codec(calibration=make_codec().config.calibration[:1])


def test_a_budget_runs_the_network_once(tiny_codec: FeatureCodec, pixels: torch.Tensor) -> None:
    budget = max(map(len, tiny_codec.encode(pixels, 0)))  # the last quality that is tried
    calls: list[int] = []
    handle = tiny_codec.encoder.register_forward_hook(lambda *_: calls.append(1))
    tiny_codec.encode(pixels, max_bytes=budget)
    handle.remove()
    assert len(calls) == 1


@pytest.mark.parametrize("budget", [0, -5, 10.0, True, "64"])
def test_a_budget_that_is_none_is_refused(
    tiny_codec: FeatureCodec, pixels: torch.Tensor, budget: Any
) -> None:
    with pytest.raises(ValueError, match="not a positive number of bytes"):
        tiny_codec.encode(pixels, max_bytes=budget)
    with pytest.raises(ValueError, match="give one of them"):
        tiny_codec.encode(pixels, 1, max_bytes=64)


def test_no_picture_can_make_encoding_fail_while_its_pixels_are_finite(
    tiny_codec: FeatureCodec,
) -> None:
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(1, 3, 32, 32, generator=generator)
    for x in (
        1e6 * noise,
        torch.zeros(1, 3, 32, 32),
        torch.full((1, 3, 32, 32), -1e4),
        1e3 * noise.sign(),
    ):
        blobs = tiny_codec.encode(x)
        np.testing.assert_array_equal(tiny_codec.read(blobs)[0], tiny_codec.symbols(x))
        assert len(blobs[0]) <= tiny_codec.max_blob_bytes


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (torch.zeros(0, 3, 32, 32), "empty batch"),
        (torch.full((1, 3, 32, 32), float("nan")), "NaN"),
        (torch.full((1, 3, 32, 32), float("inf")), "infinity"),
        (torch.full((1, 3, 32, 32), 3e38), "not finite"),
        (torch.zeros(1, 3, 31, 32), r"shape \(B, 3, 32, 32\), not \(1, 3, 31, 32\)"),
        (torch.zeros(3, 32, 32), "shape"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "float tensor"),
        (np.zeros((1, 3, 32, 32)), "float tensor"),
    ],
)
def test_pixels_of_another_kind_are_refused_with_the_reason(
    tiny_codec: FeatureCodec, bad: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        tiny_codec.encode(bad)


@pytest.mark.parametrize("quality", [-1, 3, 1.0, True, "1"])
def test_a_quality_the_codec_lacks_is_refused_with_the_range(
    tiny_codec: FeatureCodec, pixels: torch.Tensor, quality: Any
) -> None:
    with pytest.raises(ValueError, match=r"not an integer in 0\.\.2"):
        tiny_codec.encode(pixels, quality)


def test_a_damaged_blob_among_many_is_named(tiny_codec: FeatureCodec, pixels: torch.Tensor) -> None:
    blobs = tiny_codec.encode(pixels)
    blobs[2] = blobs[2][:-1]
    with pytest.raises(BitstreamError, match="blob 3 of 5: the blob is damaged"):
        tiny_codec.decode(blobs)
    with pytest.raises(ValueError, match="no blobs"):
        tiny_codec.decode([])


def test_a_quality_the_header_claims_but_the_codec_lacks_is_refused(
    tiny_codec: FeatureCodec,
) -> None:
    from codec.coding.container import pack

    with pytest.raises(BitstreamError, match=r"quality 9 is not one of this codec's 0\.\.2"):
        tiny_codec.decode(pack(b"", 9, tiny_codec.fingerprint))


def test_what_is_saved_loads_to_the_same_bytes_and_tokens(
    tiny_codec: FeatureCodec, pixels: torch.Tensor, tmp_path: Path
) -> None:
    tiny_codec.save_pretrained(tmp_path / "again")
    loaded = FeatureCodec.from_pretrained(tmp_path / "again")
    assert loaded.fingerprint == tiny_codec.fingerprint
    blobs = tiny_codec.encode(pixels)
    assert loaded.encode(pixels) == blobs
    assert torch.equal(loaded.decode(blobs), tiny_codec.decode(blobs))
    assert torch.equal(
        loaded.tail(loaded.decode(blobs)).logits, tiny_codec.tail(tiny_codec.decode(blobs)).logits
    )


def test_a_saved_codec_holds_its_backbone_and_can_be_moved(
    tiny_codec_folder: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(tiny_codec_folder, moved)
    assert json.loads((moved / "config.json").read_text())["backbone"] == "backbone"
    codec = FeatureCodec.from_pretrained(moved)
    assert codec.load_uncut()(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 4)


def test_blobs_of_a_codec_with_other_weights_are_refused(
    tiny_codec_folder: Path, pixels: torch.Tensor
) -> None:
    ours, other = (FeatureCodec.from_pretrained(tiny_codec_folder) for _ in range(2))
    with torch.no_grad():
        next(iter(other.own_parameters().values())).add_(0.5)
    other.round_weights()
    other = other.with_config()
    with pytest.raises(BitstreamError, match="another codec"):
        ours.decode(other.encode(pixels))


@pytest.mark.parametrize(
    "file",
    ["codec.safetensors", "config.json", "backbone/model.safetensors", "backbone/config.json"],
)
def test_an_altered_or_missing_file_is_named(
    tiny_codec_folder: Path, tmp_path: Path, file: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_codec_folder, folder)
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=f"{file} was altered"):
        FeatureCodec.from_pretrained(folder)
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=Path(file).name):
        FeatureCodec.from_pretrained(folder)


def test_a_truncated_checkpoint_without_a_manifest_is_refused(
    tiny_codec_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_codec_folder, folder)
    (folder / "manifest.json").unlink()
    weights = folder / "codec.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(ValueError, match="cannot be read"):
        FeatureCodec.from_pretrained(folder)


def test_an_unknown_codec_says_which_exist(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no codec 'vit-huge'; shipped are: .*vit-tiny-cifar10"
    ):
        FeatureCodec.from_pretrained("vit-huge")
    with pytest.raises(FileNotFoundError, match=r"config\.json and codec\.safetensors"):
        FeatureCodec.from_pretrained(tmp_path)


def test_a_codec_in_training_refuses_to_code(tiny_codec_folder: Path, pixels: torch.Tensor) -> None:
    loaded = FeatureCodec.from_pretrained(tiny_codec_folder)
    fresh = FeatureCodec(loaded.config, loaded.load_uncut())
    with pytest.raises(ValueError, match="no prior yet"):
        fresh.encode(pixels)


def test_a_hub_id_is_downloaded(tiny_codec_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download",
        lambda name, **_: str(tiny_codec_folder) if name == "me/mine" else None,
    )
    assert FeatureCodec.from_pretrained("me/mine").config.name == "tiny"


def test_another_configuration_makes_another_codec_of_the_same_networks(
    tiny_codec: FeatureCodec, pixels: torch.Tensor
) -> None:
    before = tiny_codec.config, tiny_codec.fingerprint, tiny_codec.encode(pixels)
    renamed = tiny_codec.with_config(name="other", default_quality=2)
    assert (renamed.config.name, renamed.fingerprint) == ("other", tiny_codec.fingerprint)
    assert renamed.encode(pixels) == tiny_codec.encode(pixels, 2)
    zoned = tiny_codec.with_config(dead_zone=(0.2, 0.2, 0.2))
    assert zoned.fingerprint != tiny_codec.fingerprint
    assert zoned.encoder is tiny_codec.encoder
    assert zoned.log_gain is tiny_codec.log_gain
    layered = tiny_codec.set_layers((0, 2))
    assert layered.cuts(layered.encode(pixels, 2)[0]).keys() == {0}
    assert layered.set_layers(()).fingerprint == tiny_codec.fingerprint
    assert (tiny_codec.config, tiny_codec.fingerprint, tiny_codec.encode(pixels)) == before


def test_a_codec_never_changes_what_it_is(tiny_codec: FeatureCodec) -> None:
    with pytest.raises(AttributeError):
        tiny_codec.config = tiny_codec.config  # type: ignore[misc]
    with pytest.raises(ValueError, match="has a prior: it was frozen"):
        tiny_codec.set_prior(tiny_codec.prior)
    with pytest.raises(ValueError, match="k, side of a codec's networks cannot be changed; what"):
        tiny_codec.with_config(side=8, k=2)


def test_other_places_to_round_up_can_be_tried(tiny_codec: FeatureCodec) -> None:
    scaled, quality = torch.tensor([0.45, 0.55, 0.75]).expand(3, 2, -1), torch.arange(3)
    rounded = tiny_codec.round(scaled, quality, torch.tensor([0.5, 0.6, 0.3]))
    assert rounded[:, 0].tolist() == [[0, 1, 1], [1, 1, 1], [0, 0, 1]]
