"""Server.caption and Server.answer: the words are the tail's, alone or in a batch, and what cannot
be asked is refused by reason.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from codec import BitstreamError, FeatureCodec
from codec.pipeline import Device, Server
from tests import tiny_blip

Picture = Callable[..., Image.Image]
QUESTIONS = [
    "how many red things?",
    "is there a blue cube left of the ring?",
    "what colour is the large ring?",
    "how many?",
]


@pytest.fixture(scope="module")
def server(tiny_blip_codec: FeatureCodec) -> Server:
    return Server(tiny_blip_codec)


@pytest.fixture(scope="module")
def blobs(tiny_blip_codec: FeatureCodec, picture: Picture) -> list[bytes]:
    return Device(tiny_blip_codec)([picture(seed) for seed in range(4)], 2)


@pytest.mark.parametrize("num_beams", [1, 3])
@torch.no_grad()
def test_captions_are_the_tails_words_for_the_decoded_tokens(
    server: Server, blobs: list[bytes], tiny_blip_codec: FeatureCodec, num_beams: int
) -> None:
    tail: Any = tiny_blip_codec.tails["image-to-text"]
    ids = tail.generate(tiny_blip_codec.decode(blobs), max_new_tokens=9, num_beams=num_beams)
    expected = tiny_blip.tokenizer().batch_decode(ids, skip_special_tokens=True)
    captions = server.caption(blobs, max_new_tokens=9, num_beams=num_beams)
    assert captions == expected
    assert len(set(captions)) > 1, "the test needs captions that depend on the picture"
    assert [
        server.caption(blob, max_new_tokens=9, num_beams=num_beams) for blob in blobs
    ] == captions


@pytest.mark.parametrize("num_beams", [1, 3])
@torch.no_grad()
def test_answers_are_the_tails_words_to_the_unpadded_question(
    server: Server, blobs: list[bytes], tiny_blip_codec: FeatureCodec, num_beams: int
) -> None:
    tail: Any = tiny_blip_codec.tails["visual-question-answering"]
    tokenizer = tiny_blip.tokenizer()
    expected = []
    for blob, question in zip(blobs, QUESTIONS, strict=True):
        asked = tokenizer(question, return_tensors="pt")
        ids = tail.generate(
            asked.input_ids,
            tiny_blip_codec.decode(blob),
            asked.attention_mask,
            max_new_tokens=5,
            num_beams=num_beams,
        )
        expected.append(tokenizer.decode(ids[0], skip_special_tokens=True))
    assert server.answer(blobs, QUESTIONS, max_new_tokens=5, num_beams=num_beams) == expected
    assert len(set(expected)) > 1, "the test needs answers that differ"


def test_one_blob_answers_any_number_of_questions_as_one_by_one(
    server: Server, blobs: list[bytes]
) -> None:
    together = server.answer(blobs[1], QUESTIONS)
    assert together == [server.answer(blobs[1], question) for question in QUESTIONS]
    assert server.answer(blobs[1], tuple(QUESTIONS[::-1])) == together[::-1]
    assert server.answer(bytearray(blobs[1]), QUESTIONS[0]) == together[0]


def test_one_question_is_asked_of_every_blob(server: Server, blobs: list[bytes]) -> None:
    assert server.answer(blobs, QUESTIONS[1]) == [
        server.answer(blob, QUESTIONS[1]) for blob in blobs
    ]
    assert server.answer(blobs[:1], QUESTIONS[1]) == [server.answer(blobs[0], QUESTIONS[1])]
    assert server.answer(blobs[0], QUESTIONS[1:2]) == [server.answer(blobs[0], QUESTIONS[1])]


def test_caption_and_answer_come_from_the_same_blob(
    tiny_blip_folder: Path, picture: Picture, server: Server
) -> None:
    blob = Device.from_pretrained(tiny_blip_folder)(picture(9))
    loaded = Server.from_pretrained(tiny_blip_folder)
    assert loaded.caption(blob) == server.caption(blob) != ""
    assert loaded.answer(blob, QUESTIONS[0]) == server.answer(blob, QUESTIONS[0])


def test_a_caption_ends_at_its_limit(server: Server, blobs: list[bytes]) -> None:
    ids = tiny_blip.tokenizer()(
        server.caption(blobs[0], max_new_tokens=2), add_special_tokens=False
    ).input_ids
    assert 1 <= len(ids) <= 2


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("", "the question is empty"),
        (" \n\t", "the question is empty"),
        (
            "how many red things? " * 500,
            "the question has 10,500 characters; at most 1,000 are taken",
        ),
        ("x" * 10_000, "the question has 10,000 characters"),
        ("how many red things? " * 9, r"the question has 56 tokens; the model reads at most 32"),
        (
            "сколько красных предметов?",
            "vocabulary has no word of the question 'сколько красных предметов\\?'",
        ),
        ("有几个红色的东西?", "vocabulary has no word of the question"),
        ("???", "vocabulary has no word of the question"),
        ("[UNK] [PAD] [CLS]", "vocabulary has no word of the question"),
        (None, "a question is a text, not NoneType"),
        (7, "a question is a text, not int"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_with_the_reason(
    server: Server, blobs: list[bytes], question: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        server.answer(blobs[0], [question])
    with pytest.raises(ValueError, match=reason):
        server.answer(blobs[0], question)
    with pytest.raises(ValueError, match=reason):
        server.answer(blobs[:2], [QUESTIONS[0], question])


def test_a_question_with_some_known_words_is_asked(server: Server, blobs: list[bytes]) -> None:
    assert isinstance(server.answer(blobs[0], "how many красных things?"), str)


def test_as_many_blobs_as_questions_or_one_of_either(server: Server, blobs: list[bytes]) -> None:
    with pytest.raises(
        ValueError, match="2 blobs and 3 questions: give one question, or one for each blob"
    ):
        server.answer(blobs[:2], QUESTIONS[:3])
    with pytest.raises(ValueError, match="no questions"):
        server.answer(blobs[0], [])
    with pytest.raises(ValueError, match="no blobs"):
        server.answer([], QUESTIONS[0])
    with pytest.raises(ValueError, match="no blobs"):
        server.caption([])


@pytest.mark.parametrize(("name", "most"), [("max_new_tokens", 31), ("num_beams", 16)])
@pytest.mark.parametrize("value", [0, -1, 10**9, 1.5, True, "9"])
def test_limits_of_generation_out_of_range_are_refused_with_the_range(
    server: Server, blobs: list[bytes], name: str, most: int, value: Any
) -> None:
    for ask in (
        lambda **limits: server.caption(blobs[0], **limits),
        lambda **limits: server.answer(blobs[0], QUESTIONS[0], **limits),
    ):
        with pytest.raises(ValueError, match=rf"{name} .* is not an integer in 1\.\.{most}"):
            ask(**{name: value})


def test_the_largest_limits_are_taken(server: Server, blobs: list[bytes]) -> None:
    assert len(server.caption(blobs[0], max_new_tokens=31, num_beams=16)) > 0
    assert len(server.answer(blobs[0], QUESTIONS[0], max_new_tokens=31)) > 0


def test_a_classification_codec_says_what_it_serves(
    tiny_codec: FeatureCodec, picture: Picture
) -> None:
    server, blob = Server(tiny_codec), Device(tiny_codec)(picture(1))
    with pytest.raises(ValueError, match="tiny serves image-classification, not image-to-text"):
        server.caption(blob)
    with pytest.raises(
        ValueError, match="tiny serves image-classification, not visual-question-answering"
    ):
        server.answer(blob, QUESTIONS[0])


def test_a_codec_for_words_says_what_it_serves(server: Server, blobs: list[bytes]) -> None:
    assert server.labels == {}
    with pytest.raises(
        ValueError,
        match="tiny-blip serves image-to-text, visual-question-answering, not image-classification",
    ):
        server(blobs[0])


def test_a_blob_of_a_shipped_classification_codec_is_refused_with_what_that_serves(
    shipped: SimpleNamespace,
    server: Server,
    blobs: list[bytes],
    tiny_codec: FeatureCodec,
    picture: Picture,
) -> None:
    foreign = Device(tiny_codec)(picture(1))
    reason = "written by another codec.*it is of tiny, which serves image-classification"
    with pytest.raises(BitstreamError, match=reason):
        server.caption(foreign)
    with pytest.raises(BitstreamError, match=f"blob 2 of 3: .*{reason}"):
        server.answer([blobs[0], foreign, blobs[1]], QUESTIONS[0])
    with pytest.raises(BitstreamError, match=r"written by another codec[^;]*$"):
        Server(tiny_codec)(blobs[0])  # the codec for words does not ship: nothing is known of it
    with pytest.raises(BitstreamError, match=r"^the blob is damaged[^;]*$"):
        server.caption(blobs[0][:-1])
    with pytest.raises(BitstreamError, match=r"^blob 1 of 2: the blob is damaged[^;]*$"):
        server.caption([blobs[0][:-1], foreign])
    with pytest.raises(BitstreamError, match=r"^a blob is bytes, not str$"):
        server.caption(["junk"])  # type: ignore[list-item]


def test_a_shipped_codec_that_cannot_be_loaded_does_not_hide_the_reason(
    shipped: SimpleNamespace, server: Server, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    (shipped.root / "broken").mkdir()
    for file in ("codec.safetensors", "config.json"):
        (shipped.root / "broken" / file).write_text("{}")
    with pytest.raises(BitstreamError, match="it is of tiny"):
        server.caption(Device(tiny_codec)(picture(1)))
