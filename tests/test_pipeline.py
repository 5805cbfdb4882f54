"""codec.pipeline: whatever form a picture comes in, the bytes are those of the picture; blobs
become ranked answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from codec import BitstreamError, FeatureCodec
from codec.coding.container import pack
from codec.model.checkpoint import named_by, shipped_fingerprints
from codec.model.opened import Opened
from codec.pipeline import Device, Server
from codec.tasks import generate as text

Picture = Callable[..., Image.Image]


@pytest.fixture(scope="module")
def device(tiny_codec: FeatureCodec) -> Device:
    return Device(tiny_codec)


@pytest.fixture(scope="module")
def server(tiny_codec: FeatureCodec) -> Server:
    return Server(tiny_codec)


def converted(image: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16))
    return image.quantize(16) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("size", [(32, 32), (33, 17), (5, 90), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_a_picture_of_any_mode_and_size_gives_the_bytes_of_the_converted_one(
    device: Device, picture: Picture, tmp_path: Path, mode: str, size: tuple[int, int]
) -> None:
    image = converted(picture(1, *size), mode)
    assert image.mode == mode
    blob = device(image)
    assert device(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)) == blob
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    image.save(path)
    assert device(path) == blob
    assert device(str(path)) == blob


def test_an_array_gives_the_bytes_of_its_picture(device: Device, picture: Picture) -> None:
    image = picture(2, 40, 30)
    rgb = np.asarray(image)
    assert device(rgb) == device(image)
    assert device(np.dstack([rgb, np.full(rgb.shape[:2], 9, np.uint8)])) == device(image)
    assert device(np.asarray(image.convert("L"))) == device(image.convert("L"))


def test_different_pictures_give_different_bytes(device: Device, picture: Picture) -> None:
    assert len({device(picture(seed)) for seed in range(8)}) == 8


@pytest.mark.parametrize("quality", [None, 0, 1, 2])
def test_a_batch_is_the_same_as_one_by_one(
    device: Device, server: Server, picture: Picture, quality: int | None
) -> None:
    images = [picture(seed, 32 + seed, 40) for seed in range(5)]
    blobs = device(images, quality)
    assert blobs == [device(image, quality) for image in images]
    assert all(isinstance(blob, bytes) for blob in blobs)
    stacked = np.stack([np.asarray(image.resize((36, 36))) for image in images])
    assert device(stacked, quality) == [device(image, quality) for image in stacked]
    together = server.probabilities(blobs)
    alone = np.concatenate([server.probabilities([blob]) for blob in blobs])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_one_picture_gives_bytes_and_a_list_gives_a_list(
    device: Device, server: Server, picture: Picture
) -> None:
    blob, blobs = device(picture(3)), device([picture(3)])
    assert blobs == [blob]
    assert server(blobs) == [server(blob)]


def test_the_default_quality_is_the_configured_one(
    device: Device, picture: Picture, tiny_codec: FeatureCodec
) -> None:
    assert (
        device(picture(4))
        == device(picture(4), tiny_codec.config.default_quality)
        != device(picture(4), 0)
    )


def test_answers_have_the_form_of_transformers_pipelines(
    device: Device, server: Server, picture: Picture
) -> None:
    answer = server(device(picture(5)))
    assert [set(entry) for entry in answer] == [{"label", "score"}] * 4
    assert {entry["label"] for entry in answer} == {"cat", "dog", "ship", "truck"}
    scores = [entry["score"] for entry in answer]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert all(type(score) is float for score in scores)
    assert server(device(picture(5)), top_k=2) == answer[:2]


def test_the_answer_is_the_tails_of_the_decoded_tokens(
    device: Device, server: Server, picture: Picture, tiny_codec: FeatureCodec
) -> None:
    blob = device(picture(6), 2)
    with torch.no_grad():
        expected = tiny_codec.tail(tiny_codec.decode(blob)).logits.softmax(-1)[0]
    first = server(blob, top_k=1)[0]
    assert first["label"] == server.labels[int(expected.argmax())]
    assert first["score"] == pytest.approx(float(expected.max()))


def test_qualities_may_be_mixed_in_a_batch(
    device: Device, server: Server, picture: Picture
) -> None:
    blobs = [device(picture(7), quality) for quality in (2, 0, 1)]
    for one, both in zip((server(blob) for blob in blobs), server(blobs), strict=True):
        assert one[0]["label"] == both[0]["label"]
        assert one[0]["score"] == pytest.approx(both[0]["score"], abs=1e-5)


@pytest.mark.parametrize("empty", [[], (), np.zeros((0, 32, 32, 3), np.uint8)])
def test_an_empty_batch_of_pictures_is_refused(device: Device, empty: object) -> None:
    with pytest.raises(ValueError, match="empty"):
        device(empty)  # type: ignore[call-overload]


def test_no_blobs_are_refused(server: Server) -> None:
    with pytest.raises(ValueError, match="no blobs"):
        server([])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_pixels_that_are_not_finite_are_refused(tiny_codec: FeatureCodec, bad: float) -> None:
    values = torch.zeros(2, 3, 32, 32)
    values[1, 2, 5, 7] = bad
    with pytest.raises(ValueError, match="NaN"):
        tiny_codec.encode(values)


@pytest.mark.parametrize("quality", [3, -1, True, 1.0, "1"])
def test_a_quality_the_codec_lacks_is_refused(
    device: Device, picture: Picture, quality: object
) -> None:
    with pytest.raises(ValueError, match="quality"):
        device(picture(8), quality)  # type: ignore[call-overload]


@pytest.mark.parametrize("top_k", [0, -1, True, 1.5])
def test_a_senseless_top_k_is_refused(
    device: Device, server: Server, picture: Picture, top_k: object
) -> None:
    with pytest.raises(ValueError, match="top_k"):
        server(device(picture(9)), top_k=top_k)  # type: ignore[call-overload]


def test_a_damaged_blob_in_a_batch_is_named(
    device: Device, server: Server, picture: Picture
) -> None:
    blobs = device([picture(seed) for seed in range(3)])
    with pytest.raises(BitstreamError, match="blob 2 of 3"):
        server([blobs[0], blobs[1][:-1], blobs[2]])


def test_both_halves_load_by_folder(
    tiny_codec_folder: Path, device: Device, server: Server, picture: Picture
) -> None:
    blob = Device.from_pretrained(tiny_codec_folder)(picture(10))
    assert blob == device(picture(10))
    assert Server.from_pretrained(tiny_codec_folder)(blob) == server(blob)


ALONE = """
import json, sys
from pathlib import Path
from codec.pipeline import Device
device = Device.from_pretrained({folder!r})
blob = device({picture!r})
wrong = sys.modules.keys() & {{"transformers", "torch._dynamo", "huggingface_hub"}}
own = [name for name, _ in device.codec.named_parameters()]
print(json.dumps([blob.hex(), sorted(wrong), own]))
"""


@pytest.mark.long
def test_a_device_loads_neither_transformers_nor_the_servers_half(
    tiny_codec: FeatureCodec, tiny_codec_folder: Path, picture: Picture, tmp_path: Path
) -> None:
    picture(3).save(tmp_path / "picture.png")
    script = ALONE.format(folder=str(tiny_codec_folder), picture=str(tmp_path / "picture.png"))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
    )
    blob, wrong, own = json.loads(done.stdout)
    assert bytes.fromhex(blob) == Device(tiny_codec)(picture(3))
    assert not wrong
    assert own
    assert all(name == "log_gain" or name.startswith("encoder.") for name in own)


def rows_through(server: Server) -> tuple[list[int], Callable[[], None]]:
    """How many rows go through the vision blocks at each call, and what ends the counting."""
    rows: list[int] = []
    handle = server._tails.look.register_forward_hook(
        lambda _module, args, _output: rows.append(len(args[0]))
    )
    return rows, handle.remove


ASKED = ["how many red things ?", "what colour is the cube ?", "is there a large ring ?"]
FIVE = [*ASKED, "how many ?", "is the ring small ?"]


def test_all_that_is_asked_of_a_blob_sends_one_row_through_the_vision_blocks(
    tiny_blip_codec: FeatureCodec, picture: Picture
) -> None:
    blob, server = Device(tiny_blip_codec)(picture(1)), Server(tiny_blip_codec)
    expected = [server.answer(blob, question) for question in FIVE], server.caption(blob)
    rows, end = rows_through(server)
    try:
        opened = server.open(blob)
        assert rows == [], "nothing was asked yet"
        assert (opened.answer(FIVE), opened.caption()) == expected
        assert opened.answer(ASKED[0]) == expected[0][0]
        assert rows == [1]
        assert server.answer(blob, FIVE) == expected[0]
        assert rows == [1, 1]
    finally:
        end()


def test_parts_of_a_batch_that_are_put_together_look_once(
    tiny_blip_codec: FeatureCodec, picture: Picture
) -> None:
    server = Server(tiny_blip_codec)
    blobs = Device(tiny_blip_codec)([picture(i) for i in range(4)])
    parts = [result.get() for result in server.each(blobs)]
    rows, end = rows_through(server)
    try:
        joined = Opened.together([parts[3], parts[1]])
        other = Opened.together([server.open(blobs[0]), server.open(blobs[2])])
        assert joined.caption() == [server.caption(blobs[3]), server.caption(blobs[1])]
        assert rows[0] == 4  # the whole batch, once
        parts[0].caption()
        assert rows[1:] == [1, 1]  # of the two that were asked alone; the part was seen already
        assert other.caption() == [server.caption(blobs[0]), server.caption(blobs[2])]
    finally:
        end()
    with pytest.raises(ValueError, match="nothing"):
        Opened.together([])


def test_many_blobs_are_asked_in_chunks_of_which_only_the_answers_are_held(
    tiny_blip_codec: FeatureCodec,
    tiny_codec: FeatureCodec,
    picture: Picture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("codec.model.chunks.CHUNK", 2)
    pictures = [picture(seed) for seed in range(5)]
    blobs, server = Device(tiny_blip_codec)(pictures), Server(tiny_blip_codec)
    questions = [*ASKED, *ASKED][:5]
    alone = [server.answer(b, q) for b, q in zip(blobs, questions, strict=True)]
    held: list[weakref.ref[Opened]] = []
    make = server._decoded

    def decoded(*arguments: Any) -> Opened:
        assert not [one for one in held if one() is not None], "an earlier chunk is held"
        opened = make(*arguments)
        held.append(weakref.ref(opened))
        return opened

    monkeypatch.setattr(server, "_decoded", decoded)
    assert server.answer(blobs, questions) == alone
    assert len(held) == 3
    assert server.caption(blobs) == server.open(blobs).caption()
    with pytest.raises(ValueError, match="5 blobs and 2 questions"):
        server.answer(blobs, questions[:2])
    with pytest.raises(BitstreamError, match="blob 5 of 5"):
        server.caption([*blobs[:4], blobs[4][:-1]])

    classified, classifier = Device(tiny_codec)(pictures), Server(tiny_codec)
    best = [row[0].label for row in classifier(classified)]
    assert best == [classifier(blob)[0].label for blob in classified]
    found = classifier.probabilities(classified)
    assert found.shape == (5, 4)
    assert np.allclose(found, classifier.open(classified).probabilities(), atol=1e-6)


def test_blobs_that_were_opened_together_are_asked_together(
    tiny_blip_codec: FeatureCodec, picture: Picture
) -> None:
    device, server = Device(tiny_blip_codec), Server(tiny_blip_codec)
    blobs = [device(picture(seed), seed) for seed in range(3)]
    rows, end = rows_through(server)
    try:
        opened = server.open(blobs)
        together = opened.answer(ASKED), opened.answer(ASKED[0]), opened.caption()
        assert rows == [3]
    finally:
        end()
    assert opened.qualities.tolist() == [0, 1, 2]
    assert torch.equal(opened.tokens, tiny_blip_codec.decode(blobs))
    assert together[0] == [server.answer(b, q) for b, q in zip(blobs, ASKED, strict=True)]
    assert together[1] == [server.answer(blob, ASKED[0]) for blob in blobs]
    assert together[2] == [server.caption(blob) for blob in blobs]
    with pytest.raises(ValueError, match="3 blobs and 2 questions"):
        opened.answer(ASKED[:2])


def test_what_an_opened_blob_says_is_what_the_whole_tail_says(
    tiny_blip_codec: FeatureCodec, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    """`codec.tails` have all their blocks; an opened blob has gone through them before."""
    blobs = Device(tiny_blip_codec)([picture(seed) for seed in range(2)])
    tokens, opened = tiny_blip_codec.decode(blobs), Server(tiny_blip_codec).open(blobs)
    captioner, answerer = tiny_blip_codec.tails.values()
    words = tiny_blip_codec.load_tokenizer()
    limits = text.checked_limits(captioner, 8, 1, 64)
    assert opened.caption(max_new_tokens=8) == text.caption(captioner, words, tokens, limits)
    ids = [text.question_ids(answerer, words, question) for question in ASKED[:2]]
    assert opened.answer(ASKED[:2], max_new_tokens=8) == text.answer(
        answerer, words, tokens, ids, limits
    )
    blob = Device(tiny_codec)(picture(1))
    with torch.inference_mode():
        logits = tiny_codec.tail(tiny_codec.decode(blob)).logits
    probabilities = Server(tiny_codec).open(blob).probabilities()
    np.testing.assert_array_equal(probabilities, logits.softmax(-1).numpy())


def test_an_opened_blob_says_what_it_cannot_be_asked(
    server: Server, device: Device, picture: Picture
) -> None:
    opened = server.open(device(picture(1)))
    assert opened.labels(top_k=2) == server(device(picture(1)), top_k=2)
    with pytest.raises(ValueError, match="tiny serves image-classification, not image-to-text"):
        opened.caption()
    with pytest.raises(ValueError, match="not visual-question-answering"):
        opened.answer("how many?")
    with pytest.raises(ValueError, match="no blobs"):
        server.open([])


def test_a_blob_of_another_shipped_codec_is_named_at_once_and_nothing_is_loaded(
    shipped: SimpleNamespace,
    tiny_codec: FeatureCodec,
    tiny_blip_codec: FeatureCodec,
    picture: Picture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*_: Any) -> None:
        raise AssertionError("a codec was loaded")

    monkeypatch.setattr(FeatureCodec, "from_pretrained", load)
    foreign, server = Device(tiny_codec)(picture(1)), Server(tiny_blip_codec)
    assert named_by(foreign) == "tiny"
    assert named_by(foreign[:-1]) is named_by(b"junk") is None
    assert shipped_fingerprints() == {"tiny": tiny_codec.fingerprint}
    times = []
    for _ in range(20):
        start = time.perf_counter()
        with pytest.raises(BitstreamError, match="it is of tiny, which serves image-class"):
            server.open(foreign)
        times.append(time.perf_counter() - start)
    assert min(times) < 1e-3


# ---- a stream, and a result for each


def held(n: int, image: Image.Image, drawn: list[int]) -> Iterator[Image.Image]:
    for i in range(n):
        drawn.append(i)
        yield image


def test_a_stream_of_pictures_is_drawn_as_its_blobs_are(device: Device, picture: Picture) -> None:
    drawn: list[int] = []
    blobs = device(held(10**9, picture(1), drawn), 0)
    assert drawn == [], "nothing is asked for yet"
    expected = device(picture(1), 0)
    assert [next(blobs) for _ in range(33)] == [expected] * 33
    assert len(drawn) == 64, "two batches of 32"
    with pytest.raises(ValueError, match=r"0\.\.2"):
        device(iter([picture(1)]), 9)
    assert list(device(iter(()))) == []


def test_a_stream_ends_at_a_bad_picture_after_the_blobs_before_it(
    device: Device, picture: Picture
) -> None:
    blobs = device(iter([picture(1), b"junk", picture(2)]))
    assert next(blobs) == device(picture(1))
    with pytest.raises(ValueError, match="not a picture"):
        next(blobs)


def test_one_bad_picture_is_one_results_error(
    device: Device, picture: Picture, tmp_path: Path
) -> None:
    good = [picture(seed) for seed in range(40)]
    images: list[Any] = [*good[:3], tmp_path / "nowhere.png", b"junk", None, *good[3:]]
    results = list(device.each(iter(images), 2))
    assert [row.place for row in results] == list(range(43))
    assert [row.value for row in results if row.error is None] == device(good, 2)
    assert {row.place: type(row.error) for row in results if row.error} == {
        3: FileNotFoundError,
        4: ValueError,
        5: ValueError,
    }
    assert all(row.value is None for row in results[3:6])
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        results[3].get()
    assert results[0].get() == device(good[0], 2)


def test_one_picture_or_blob_is_one_of_one(
    device: Device, server: Server, picture: Picture, tmp_path: Path
) -> None:
    image = picture(1)
    image.save(tmp_path / "a.png")
    path, blob = tmp_path / "a.png", device(image)
    for one in (image, path, str(path), path.read_bytes(), np.asarray(image), path.open("rb")):
        assert [row.value for row in device.each(one)] == [blob]
    assert [row.value for row in device.each({"a": path, "b": path}.values())] == [blob] * 2
    assert [row.value for row in device.each(np.stack([np.asarray(image)] * 2))] == [blob] * 2
    assert [str(row.error)[:18] for row in device.each(None)] == ["expected a picture"]
    assert [row.value.labels() for row in server.each(blob)] == [server(blob)]


def test_a_wrong_rate_is_refused_once_and_before_any_picture(device: Device) -> None:
    for rate in ({"quality": 9}, {"max_bytes": 0}, {"quality": 1, "max_bytes": 9}):
        with pytest.raises(ValueError, match=r"quality|max_bytes"):
            device.each(iter(()), **rate)


def test_pictures_of_any_form_may_be_mixed(device: Device, picture: Picture) -> None:
    image = picture(3)
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    blobs = device([image, np.asarray(image), tensor, tensor.numpy()])
    assert blobs == [device(image)] * 4
    assert device(torch.stack([tensor, tensor])) == blobs[:2]


def test_one_bad_blob_is_one_results_error(
    device: Device, server: Server, picture: Picture, make_codec: Callable[..., FeatureCodec]
) -> None:
    good = device([picture(seed) for seed in range(36)])
    foreign = Device(make_codec(seed=9, n_channels=4))(picture(1))
    blobs: list[Any] = [*good[:2], good[0][:-1], b"", foreign, "text", *good[2:]]
    rows, end = rows_through(server)
    try:
        results = list(server.each(iter(blobs)))
        labels = [row.value.labels() for row in results if row.error is None]
    finally:
        end()
    assert rows == [28, 8], "the vision blocks take the good ones of a batch together"
    assert [row.place for row in results if row.error] == [2, 3, 4, 5]
    assert all(isinstance(row.error, BitstreamError) for row in results[2:6])
    assert "blob" in str(results[2].error)
    assert " of 3" not in str(results[2].error), "it is not one of several to whoever asks"
    for one, expected in zip(labels, server(good), strict=True):
        assert [label.label for label in one] == [label.label for label in expected]
        assert one[0].score == pytest.approx(expected[0].score, abs=1e-5)


def test_a_payload_that_nobody_writes_is_one_results_error(
    device: Device, server: Server, picture: Picture, tiny_codec: FeatureCodec
) -> None:
    good = device(picture(1))
    longer = pack(good[6:] + b"\0", good[0] & 15, tiny_codec.fingerprint)  # with a right check
    results = list(server.each([good, longer, good]))
    assert [row.error is None for row in results] == [True, False, True]
    assert results[2].value.labels() == results[0].value.labels()


def test_parts_of_opened_blobs_are_those_blobs(
    tiny_blip_codec: FeatureCodec, picture: Picture
) -> None:
    server = Server(tiny_blip_codec)
    opened = server.open(Device(tiny_blip_codec)([picture(seed) for seed in range(3)]))
    rows, end = rows_through(server)
    try:
        several = opened[[2, 0, 0]].answer(ASKED)
        one = opened[-1].answer(ASKED[0])
        assert rows == [3]
    finally:
        end()
    assert len(opened) == 3
    assert one == several[0] == opened.answer(ASKED[0])[2]
    assert opened[np.int64(2)].answer(ASKED[0]) == one
    assert opened[1].qualities.tolist() == [opened.qualities[1]]
    with pytest.raises(IndexError):
        opened[3]


# ---- sessions


def test_a_session_sends_three_bytes_fewer_and_answers_alike(
    device: Device, server: Server, picture: Picture
) -> None:
    sender = device.session()
    receiver = server.session(sender.fingerprint)
    images = [picture(seed) for seed in range(4)]
    blobs, shorts = device(images), sender(images)
    assert [len(short) + 3 for short in shorts] == [len(blob) for blob in blobs]
    assert receiver.open(shorts).labels() == server(blobs)
    assert receiver.open(sender(images[0])).labels() == server(blobs[0])
    results = list(receiver.each([shorts[0], b"", shorts[1][:-1], shorts[2]]))
    assert [type(row.error) for row in results] == [
        type(None),
        BitstreamError,
        BitstreamError,
        type(None),
    ]
    assert [row.value for row in sender.each([images[0], b"junk"])] == [shorts[0], None]
    assert list(sender(iter(images))) == shorts


def test_a_budget_in_a_session_counts_what_is_sent(device: Device, picture: Picture) -> None:
    sender = device.session()
    n_bytes = len(device(picture(1), 1))
    assert len(sender(picture(1), max_bytes=n_bytes - 3)) == n_bytes - 3
    smallest = len(sender(picture(1), 0))
    with pytest.raises(ValueError, match=f"this image takes at least {smallest}"):
        sender(picture(1), max_bytes=smallest - 1)


def test_a_session_is_refused_where_the_ends_have_other_codecs(
    shipped: SimpleNamespace, server: Server, tiny_blip_codec: FeatureCodec
) -> None:
    sender = Device(tiny_blip_codec).session()
    with pytest.raises(BitstreamError, match="none that ships"):
        server.session(sender.fingerprint)
    with pytest.raises(BitstreamError, match=r"\(tiny\), and this server's tiny-blip has"):
        Server(tiny_blip_codec).session(server.codec.fingerprint)


def test_a_shortened_blob_outside_of_a_session_says_restore(
    device: Device, server: Server, picture: Picture
) -> None:
    short = device.session()(picture(1))
    for blobs in (short, [device(picture(2)), short]):
        with pytest.raises(BitstreamError, match=r"shortened for a session .*: restore it first"):
            server.open(blobs)
    (result,) = server.each([short])
    assert "restore" in str(result.error)


# ---- what from_pretrained is given


def test_a_tail_in_half_precision_answers_alike_and_symbols_stay(
    tiny_codec_folder: Path, device: Device, server: Server, picture: Picture, tmp_path: Path
) -> None:
    blobs = device([picture(seed) for seed in range(4)])
    for dtype in (torch.float16, torch.bfloat16):
        half = Server.from_pretrained(tiny_codec_folder, dtype=dtype)
        assert {p.dtype for p in half.codec.tail.parameters()} == {dtype}
        assert half.codec.fingerprint == server.codec.fingerprint
        assert Device(half.codec)([picture(seed) for seed in range(4)]) == blobs
        opened = half.open(blobs)
        assert torch.equal(opened.tokens, server.open(blobs).tokens)
        np.testing.assert_allclose(opened.probabilities(), server.probabilities(blobs), atol=0.1)
        if dtype == torch.bfloat16:
            with pytest.raises(ValueError, match="bfloat16 have lost bits"):
                half.codec.save_pretrained(tmp_path / "saved")
        else:
            half.codec.save_pretrained(tmp_path / "saved")
            again = FeatureCodec.from_pretrained(tmp_path / "saved")
            assert again.fingerprint == server.codec.fingerprint
    for wrong in (torch.float64, torch.int8, "half"):
        with pytest.raises(ValueError, match=r"is not one of torch\.float32, torch\.float16"):
            Server.from_pretrained(tiny_codec_folder, dtype=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("load", [FeatureCodec, Device, Server])
def test_a_device_that_is_not_here_is_refused_by_name(load: Any, tiny_codec_folder: Path) -> None:
    for wrong in ("cuda:77", "meta", "gpu", None):
        with pytest.raises(ValueError, match=r"device '.*' cannot be used here \(cpu"):
            load.from_pretrained(tiny_codec_folder, device=wrong)
    load.from_pretrained(tiny_codec_folder, device=torch.device("cpu"))


@pytest.mark.parametrize("load", [FeatureCodec, Device, Server])
def test_what_is_said_of_the_hub_reaches_it(
    load: Any, tiny_codec_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def download(name: str, **settings: Any) -> str:
        asked.append({"name": name} | settings)
        return str(tiny_codec_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    load.from_pretrained("me/mine", revision="v2", cache_dir="here", token="secret")
    expected = {"name": "me/mine", "revision": "v2", "cache_dir": "here", "token": "secret"}
    assert asked == [expected]
    with pytest.raises(ValueError, match="revision 'v2' names a version on the hub"):
        load.from_pretrained(tiny_codec_folder, revision="v2")
    with pytest.raises(TypeError, match="unexpected keyword argument 'reversion'"):
        load.from_pretrained(tiny_codec_folder, reversion="v2")


def test_labels_are_typed_and_read_as_they_did(
    device: Device, server: Server, picture: Picture
) -> None:
    first = server(device(picture(1)))[0]
    assert first.label == first["label"]
    assert first == {"label": first.label, "score": first.score}
    assert json.loads(json.dumps(first)) == first


@pytest.mark.parametrize("kind", [Device, Server])
def test_a_name_in_the_place_of_a_loaded_codec_is_answered_with_the_call_that_loads_it(
    kind: Any,
) -> None:
    call = rf"{kind.__name__}\.from_pretrained\('vit-tiny-cifar10'\)"
    for name in ("vit-tiny-cifar10", Path("vit-tiny-cifar10")):
        with pytest.raises(TypeError, match=call):
            kind(name)
