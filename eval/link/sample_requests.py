"""a codec's samples -> what load tests ask of it: one thing that it does, always the same."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from urllib.parse import quote

from codec.link.session import BLOB_TYPE
from codec.model import checkpoint
from codec.pipeline import Device
from codec.serve.bodies import JSON_TYPE
from codec.serve.models import Job, Verb
from eval.link.load import request

QUESTION = "what color is the object ?"


def verb_of(verbs: Sequence[Verb]) -> Verb:
    """What is asked of a codec: classify, or an answer to a question; a caption is long."""
    return next(verb for verb in ("classify", "answer", "caption") if verb in verbs)


def job(verbs: Sequence[Verb], blob: bytes) -> Job:
    """What is asked of a blob, without a server."""
    verb = verb_of(verbs)
    return Job(verb, blob, questions=(QUESTION,) if verb == "answer" else ())


def blobs_of(name: str) -> list[bytes]:
    """The blobs of the shipped sample pictures, at the codec's own quality. Errors as the
    device's.
    """
    pictures = sorted((checkpoint.shipped_root() / "samples").rglob("*.png"))
    blobs: list[bytes] = Device.from_pretrained(name)(pictures)
    return blobs


def requests_to_ours(name: str, verbs: Sequence[Verb], blobs: Sequence[bytes]) -> list[bytes]:
    """The requests for our server; `name` as the server says it."""
    verb = verb_of(verbs)
    headers = f"Question: {quote(QUESTION, safe='')}\r\n" if verb == "answer" else ""
    return [request(f"/v1/{name}/{verb}", BLOB_TYPE, blob, headers) for blob in blobs]


def requests_to_litserve(blobs: Sequence[bytes]) -> list[bytes]:
    """The same for LitServe."""
    bodies = [json.dumps({"blob": base64.b64encode(blob).decode()}).encode() for blob in blobs]
    return [request("/predict", JSON_TYPE, body) for body in bodies]
