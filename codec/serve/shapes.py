"""the shapes of JSON that go in and out, for the OpenAPI page and for checking what comes in."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field

from codec.link.properties import PROBLEM_TYPE
from codec.link.session import MAX_ALONE
from codec.serve.models import Verb
from codec.serve.replies import MAX_SEQUENCE

Base64 = Annotated[str, Field(max_length=1 << 17, description="A blob in base64")]
Question = Annotated[str, Field(min_length=1, max_length=1000)]


class AskQuery(BaseModel):
    """What goes with a request for an answer, in the query of its address."""

    keep: bool = Field(default=False, description="Keep the blob; the reply has its id")
    blob: str | None = Field(default=None, description="Id of a kept blob; no body then")
    top_k: int = Field(default=5, ge=1, le=1000, description="How many labels")


class AskHeaders(BaseModel):
    """What goes with a request for an answer, in headers."""

    sequence: int | None = Field(
        default=None, ge=0, lt=MAX_SEQUENCE, description="The same again: the same reply"
    )
    device: str | None = Field(
        default=None, pattern=r"^[\w.-]{1,64}$", description="Whose numbers they are"
    )
    question: str | None = Field(
        default=None, description="Percent-encoded questions, separated by commas"
    )
    session: str | None = Field(default=None, description="Its blobs are shortened")
    alone: int = Field(
        default=0, ge=0, le=MAX_ALONE, description="Answers of the device's own since the last"
    )


CodecName = Annotated[str, Path(description="Name of a codec that is served")]
AskedVerb = Annotated[Verb, Path(description="What is asked; the codec says what it can")]


class LabelScore(BaseModel):
    """A label and how probable it is."""

    label: str
    score: float


class Reply(BaseModel):
    """An answer."""

    codec: str
    task: Verb
    quality: int | None = Field(description="The blob's quality; null for a picture")
    id: str | None = Field(None, description="Of the blob, if it is kept")
    labels: list[LabelScore] | None = None
    caption: str | None = None
    answers: list[str] | None = None


class ProblemReply(BaseModel):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    codecs: list[dict[str, str]] | None = Field(
        default=None, description="With 404: names and fingerprints of the codecs that are served"
    )


class Batch(BaseModel):
    """Several blobs, and for `answer` one question, or one for each."""

    blobs: list[Base64] = Field(min_length=1, max_length=256)
    questions: list[Question] = Field(default=[], max_length=256)
    top_k: int = Field(5, ge=1, le=1000)


class BatchReply(BaseModel):
    """For each blob its answer, or its problem."""

    results: list[Reply | dict[str, ProblemReply]]


class SessionRequest(BaseModel):
    """The fingerprint of the device's codec, 32 bytes in hex."""

    fingerprint: str = Field(pattern="^[0-9a-f]{64}$")


class SessionReply(BaseModel):
    """A session: later bodies are shortened blobs of this codec."""

    session: str
    codec: str
    tasks: list[Verb]


class KeptReply(BaseModel):
    """The id of a blob that is kept."""

    id: str


class Quality(BaseModel):
    """What a quality costs and takes, by the codec's calibration."""

    quality: int
    drop: float
    bytes: float


class CodecReply(BaseModel):
    """A codec that is served."""

    name: str
    fingerprint: str
    tasks: list[Verb]
    default_quality: int
    calibration: list[Quality]
    n_labels: int


class CodecsReply(BaseModel):
    """The codecs that are served."""

    codecs: list[CodecReply]


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {PROBLEM_TYPE: {"schema": ProblemReply.model_json_schema()}},
        "headers": {
            name: {"description": what, "schema": {"type": "string"}}
            for of, name, what in (
                (401, "WWW-Authenticate", "Bearer"),
                (429, "Retry-After", "Seconds until this device may have room"),
                (503, "Retry-After", "Seconds until there may be room"),
            )
            if of == status
        },
    }
    for status in (400, 401, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503)
}
"""The refusals of a route, as OpenAPI lists them."""

TIMING = {
    "headers": {
        "Server-Timing": {
            "description": "How long it waited, and how long its batch ran, in ms; none for a "
            "reply that was kept",
            "schema": {"type": "string"},
        }
    }
}
"""What a reply says beside its body."""


def body_of(*kinds: str, model: type[BaseModel] | None = None, required: bool = True) -> Any:
    """What OpenAPI says of a body that a route reads by itself: bytes, or JSON of a model."""
    schema = {"type": "string", "format": "binary"} if model is None else model.model_json_schema()
    content = {kind: {"schema": schema} for kind in kinds}
    return {"requestBody": {"required": required, "content": content}}
