"""The shipped codecs: their blobs are the bytes they always were, and they do on real pictures what
the README says.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from codec import BitstreamError, FeatureCodec
from codec.coding.container import HEADER_BYTES, unpack
from codec.model.checkpoint import shipped_names, shipped_root
from codec.model.cost import device_cost
from codec.model.split import n_blocks, split
from codec.pipeline import Device, Server
from codec.show import demo, demo_words
from codec.tasks import CAPTIONS, LABELS
from eval.measuring.rows import read_rows
from tests import recorded
from tests.make_golden import answers_of, sent_pictures
from training.data.augmentation import augment
from training.data.images import normalise

GOLDEN = Path(__file__).parent / "golden"
NAMES = shipped_names()
PROMISED = {
    "vit-tiny-cifar10": ((0.2, 100), (1.0, 56)),
    "blip-tiny-easyvqa": ((0.2, 48),),
    "blip-tiny-scenes": ((0.1, 100),),
    "vit-small-caltech101": ((1.0, 222), (3.0, 51)),
}
"""Points that may be lost, for every task from the same blobs, and in how many bytes."""
N_IMAGES = {
    "vit-tiny-cifar10": 10_000,
    "blip-tiny-easyvqa": 1_000,
    "blip-tiny-scenes": 2_000,
    "vit-small-caltech101": 2_465,
}


@pytest.fixture(scope="module", params=NAMES)
def codec(request: pytest.FixtureRequest) -> FeatureCodec:
    return FeatureCodec.from_pretrained(request.param)


def golden(codec: FeatureCodec) -> list[dict[str, Any]]:
    return json.loads((GOLDEN / f"{codec.config.name}.json").read_text())


def test_the_codecs_of_the_readme_ship() -> None:
    assert set(PROMISED) <= set(NAMES)


def test_golden_blobs_decode_to_the_symbols_they_held(codec: FeatureCodec) -> None:
    for row in golden(codec):
        read = unpack(bytes.fromhex(row["blob"]), codec.fingerprint)
        assert read.quality == row["quality"]
        symbols = codec.prior.decode([read.payload], read.quality)
        assert hashlib.sha256(symbols[0].astype("<i4").tobytes()).hexdigest() == row["symbols"]
        np.testing.assert_array_equal(
            codec.prior.decode([read.payload], read.quality, portable=True), symbols
        )
        for portable in (False, True):
            assert codec.prior.encode(symbols, read.quality, portable) == [read.payload]


@pytest.mark.long
def test_golden_blobs_get_the_answers_they_got(codec: FeatureCodec) -> None:
    pictures, server = (
        {picture.path.name: picture for picture in sent_pictures(codec)},
        Server(codec),
    )
    for row in golden(codec):
        assert (
            answers_of(server, bytes.fromhex(row["blob"]), pictures[row["picture"]].questions)
            == row["answers"]
        )


def test_golden_blobs_in_layers_are_the_bytes_they_were_and_are_cut_where_they_were() -> None:
    codec = FeatureCodec.from_pretrained("vit-tiny-cifar10").set_layers(recorded.LAYERS)
    for row in json.loads((GOLDEN / "layers.json").read_text()):
        blob = bytes.fromhex(row["blob"])
        symbols, (quality,) = codec.read([blob])
        assert hashlib.sha256(symbols[0].astype("<i4").tobytes()).hexdigest() == row["symbols"]
        assert codec.code(symbols, quality) == [blob]
        assert {str(q): n for q, n in codec.cuts(blob).items()} == row["cuts"]
        assert codec.cuts(blob)[0] < codec.cuts(blob)[10] < len(blob)


def test_golden_pictures_still_encode_to_almost_the_same_blobs(codec: FeatureCodec) -> None:
    device, pictures = (
        Device(codec),
        {picture.path.name: picture.path for picture in sent_pictures(codec)},
    )
    for row in golden(codec):
        blob = device(pictures[row["picture"]], row["quality"])
        # another machine's floats may round a symbol another way
        assert abs(len(blob) - len(row["blob"]) // 2) <= 2


def test_a_golden_blob_cut_or_flipped_anywhere_is_refused(codec: FeatureCodec) -> None:
    blob = bytes.fromhex(golden(codec)[0]["blob"])
    for n in range(len(blob)):
        with pytest.raises(BitstreamError):
            codec.decode(blob[:n])
    for bit in range(8 * len(blob)):
        damaged = bytearray(blob)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            codec.decode(bytes(damaged))


@pytest.mark.long
def test_bundled_pictures_are_answered_as_by_the_uncut_model_in_few_bytes(
    codec: FeatureCodec,
) -> None:
    device, pictures = Device(codec), sent_pictures(codec)
    x = device.preprocess([picture.path for picture in pictures])
    if "image-classification" in codec.config.tasks:
        same = [row.uncut == row.coded for row in demo.send(codec, demo.bundled_samples(codec))]
    else:
        # a caption says the same in other words: answers are compared
        told = demo_words.tell(codec, pictures)
        same = [
            uncut == coded for row in told for question, coded, uncut, _ in row.lines if question
        ]
    assert np.mean(same) > 0.85
    for q in codec.qualities:
        symbols, sent = codec.symbols(x, q), codec.encode(x, q)
        estimate = codec.prior.bits(symbols, q).mean() / 8
        assert abs(sum(map(len, sent)) / len(sent) - HEADER_BYTES - estimate) <= 0.01 * estimate + 2


def test_a_student_takes_at_most_a_third_of_the_multiplications_of_the_uncut_model(
    codec: FeatureCodec,
) -> None:
    """Of each task's model, with a caption of 16 words (scenes have 18 in the mean) or a question
    of eight words and an answer of one.
    """
    size = codec.config.preprocess.size
    for task in codec.config.tasks:
        uncut, inputs = codec.load_uncut(task), {}
        if task != LABELS:
            written = torch.tensor(
                [[uncut.config.text_config.bos_token_id] * (17 if task == CAPTIONS else 2)]
            )
            inputs = (
                {"input_ids": written}
                if task == CAPTIONS
                else {"input_ids": written.repeat(1, 5), "decoder_input_ids": written}
            )
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            uncut(pixel_values=torch.zeros(1, 3, size, size), **inputs)
        assert (
            codec.config.encoder != "student"
            or 3 * device_cost(codec.encoder, size).macs <= counter.get_total_flops() / 2
        )


def test_a_student_takes_at_most_a_third_of_the_multiplications_of_the_vision_tower(
    codec: FeatureCodec,
) -> None:
    """That of scenes does not: it takes 41%, and is held to that."""
    size, uncut = codec.config.preprocess.size, codec.load_uncut()
    tower = device_cost(split(uncut, n_blocks(uncut)).head, size)
    most = 0.41 if codec.config.name == "blip-tiny-scenes" else 1 / 3
    assert (
        codec.config.encoder != "student"
        or device_cost(codec.encoder, size).macs <= most * tower.macs
    )


def test_the_student_of_the_classifier_takes_at_most_a_third_of_the_blocks_it_stands_for() -> None:
    codec = FeatureCodec.from_pretrained("vit-tiny-cifar10")
    assert (
        3 * device_cost(codec.encoder, 32).macs
        <= device_cost(split(codec.load_uncut(), codec.config.k).head, 32).macs
    )


def test_the_shipped_sweep_is_of_the_whole_test_split_and_within_the_promised_drop_and_bytes(
    codec: FeatureCodec,
) -> None:
    name = codec.config.name
    swept = [row for row in read_rows(codec.folder / "sweep.jsonl") if row["codec"] == name]
    assert {row["task"] for row in swept} == set(codec.config.tasks)
    for task in codec.config.tasks:
        rows = [row for row in swept if row["task"] == task]
        assert [row["quality"] for row in rows] == list(codec.qualities)
        assert {row["n_images"] for row in rows} == {N_IMAGES[name]}
        for row in rows:
            assert row["bytes_mean"] - HEADER_BYTES <= 1.01 * row["bits_estimated"] / 8 + 2
    for drop, n_bytes in PROMISED[name]:
        of_quality = [[row for row in swept if row["quality"] == q] for q in codec.qualities]
        assert any(
            all(row["drop"] <= drop and row["bytes_mean"] <= n_bytes for row in rows)
            for rows in of_quality
        )


def test_the_rates_of_the_classifier_span_eight_to_one() -> None:
    rows = [
        row
        for row in read_rows(shipped_root() / "vit-tiny-cifar10" / "sweep.jsonl")
        if row["codec"] == "vit-tiny-cifar10"
    ]
    assert len(rows) >= 6
    assert rows[-1]["bytes_mean"] >= 8 * rows[0]["bytes_mean"]


@pytest.mark.long
def test_a_thousand_budgets_are_kept_and_mostly_filled(codec: FeatureCodec) -> None:
    """Random budgets for random flips and shifts of the bundled pictures; of photographs, which
    take longer to encode, 120.
    """
    n = 1000 if codec.config.preprocess.size < 128 else 120
    paths = [picture.path for picture in sent_pictures(codec)]
    pixels = torch.stack(
        [torch.tensor(codec.config.preprocess.pixels(path)).permute(2, 0, 1) for path in paths]
    )
    rng, filled = np.random.default_rng(0), []
    for seed in range(n // 40):
        chosen = torch.from_numpy(rng.choice(len(pixels), 40, replace=len(pixels) < 40))
        x = normalise(
            augment(pixels[chosen], torch.arange(40) + (seed << 32), 4), codec.config.preprocess
        )
        latent = codec.latent(x)
        coded = [codec.code(codec.quantise(latent, q), q) for q in codec.qualities]
        sizes = np.array([[len(blob) for blob in blobs] for blobs in coded])
        for i, (least, most) in enumerate(
            zip(sizes.min(0).tolist(), sizes.max(0).tolist(), strict=True)
        ):
            budget = int(rng.integers(least, most + 1))
            blob = codec.encode(x[i : i + 1], max_bytes=budget)[0]
            assert len(blob) <= budget
            if unpack(blob, codec.fingerprint).quality < codec.qualities[-1]:
                filled.append(len(blob) / budget)
    assert len(filled) > 0.9 * n
    # eight sizes lie further apart than sixteen
    assert np.mean(filled) >= (0.85 if len(codec.qualities) > 8 else 0.75)


def test_noise_and_saturated_latents_stay_below_the_cap(codec: FeatureCodec) -> None:
    size, generator = codec.config.preprocess.size, torch.Generator().manual_seed(0)
    n = 64 if size < 128 else 4
    noise = normalise(
        torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator),
        codec.config.preprocess,
    )
    shape = (n, codec.config.side**2, codec.config.n_channels)
    saturated = torch.randn(shape, generator=generator) * 1e6
    for q in codec.qualities:
        for blobs in (codec.encode(noise, q), codec.code(codec.quantise(saturated, q), q)):
            assert max(map(len, blobs)) <= codec.max_blob_bytes
    np.testing.assert_array_equal(codec.read(blobs)[0], codec.quantise(saturated, q))


def test_noise_and_flat_pictures_are_sent_too(codec: FeatureCodec) -> None:
    generator = np.random.default_rng(0)
    size = codec.config.preprocess.size
    wild = [
        generator.integers(0, 256, (size, size, 3)).astype(np.uint8),
        np.zeros((5, 9), np.uint8),
        np.full((300, 2, 3), 255, np.uint8),
    ]
    server, questions = Server(codec), sent_pictures(codec)[0].questions
    blobs = Device(codec)(wild)
    assert len(blobs) == 3
    if "image-classification" in codec.config.tasks:
        answers = server(blobs)
        assert len(answers) == 3
        assert all(abs(sum(a["score"] for a in answer)) <= 1.001 for answer in answers)
    for blob in blobs:
        assert len(answers_of(server, blob, questions)) == max(1, len(questions)) + (
            len(codec.config.tasks) - 1
        )
