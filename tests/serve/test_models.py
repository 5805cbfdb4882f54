"""A codec's server side: what is asked together is answered together, and a fault is its job's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from codec.model import FeatureCodec
from codec.pipeline import Device, Server
from codec.serve import models
from codec.serve.models import Job, Served
from codec.tasks import generate

Picture = Callable[..., Image.Image]


def test_a_question_that_cannot_be_answered_leaves_the_batch_of_the_others_whole(
    tiny_blip_codec: FeatureCodec, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, good = Device(tiny_blip_codec)([picture(n) for n in range(4)]), "how many red things ?"
    asked = [(good,), ("\u03c0\u03bf\u03cd",), (good, "x" * 1001), (good, "what colour ?")]
    together: list[int] = []
    run = models._asked

    def counted(parts: list[Any], jobs: list[Job]) -> list[dict[str, Any]]:
        together.append(len(jobs))
        return run(parts, jobs)

    tokenised: list[str] = []
    ids = generate.question_ids

    def tokenise(tail: Any, tokenizer: Any, question: str) -> list[int]:
        tokenised.append(question)
        return ids(tail, tokenizer, question)

    monkeypatch.setattr(models, "_asked", counted)
    monkeypatch.setattr(generate, "question_ids", tokenise)
    jobs = [Job("answer", blob, questions=own) for blob, own in zip(blobs, asked, strict=True)]
    found = Served(Server(tiny_blip_codec))(jobs)
    assert together == [2]
    assert "no word" in str(found[1])
    assert "1,001 characters" in str(found[2])
    assert tokenised == [good, "\u03c0\u03bf\u03cd", "x" * 1001, "what colour ?"], "each once"
    server = Server(tiny_blip_codec)
    for i in (0, 3):
        assert found[i]["answers"] == server.answer(blobs[i], list(asked[i]))
