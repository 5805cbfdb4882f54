"""POST /v1/{codec}/classify|caption|answer and batches of them: blob or picture -> answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from codec.coding.container import BitstreamError
from codec.link.session import MAX_ALONE
from codec.serve.batching import Done
from codec.serve.bodies import (
    BLOB_TYPE,
    PICTURE_TYPES,
    content_type,
    digest_of,
    questions_in,
    read_body,
)
from codec.serve.memory import remembered
from codec.serve.models import Job, Served
from codec.serve.problems import ProblemError
from codec.serve.replies import MAX_SEQUENCE
from codec.serve.shapes import PROBLEMS, Batch, BatchReply, Reply, Verb
from codec.serve.state import Caller, Key, Shared, State

router = APIRouter(prefix="/v1", responses=PROBLEMS)

JSON_TYPE = "application/json"
_BODIES = {
    "requestBody": {
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in (BLOB_TYPE, *PICTURE_TYPES)
        }
    }
}


@router.post("/{codec}/{verb}", response_model=Reply, openapi_extra=_BODIES)
async def ask(
    codec: str,
    verb: Verb,
    request: Request,
    state: Shared,
    device: Caller,
    keep: bool = False,
    blob: Annotated[str | None, Query(description="Id of a kept blob; no body then")] = None,
    top_k: Annotated[int, Query(ge=1, le=1000)] = 5,
    sequence: Annotated[
        int | None, Header(ge=0, lt=MAX_SEQUENCE, description="The same again: the same reply")
    ] = None,
    device_id: Annotated[
        str | None,
        Header(alias="Device", pattern=r"^[\w.-]{1,64}$", description="Whose numbers they are"),
    ] = None,
    question: Annotated[
        str | None, Header(description="Percent-encoded questions, separated by commas")
    ] = None,
    session: Annotated[str | None, Header(description="Its blobs are shortened")] = None,
    alone: Annotated[
        int, Header(ge=0, le=MAX_ALONE, description="Answers of the device's own since the last")
    ] = 0,
) -> Response:
    """Answer what is asked of a blob, of a picture, or of a kept blob."""
    served = _serves(state, codec, verb)
    asked = questions_in(question, state.limits.questions) if verb == "answer" else ()
    body = b"" if blob is not None else await _body(state, served, request)
    key = None
    if sequence is not None:
        whose = device if device_id is None else f"{device}/{device_id}"
        key = Key(whose, sequence, digest_of(request, body))
        if (before := await state.reply_before(key)) is not None:
            return Response(before, media_type=JSON_TYPE)
    if blob is not None:
        job = Job(verb, await _kept(state, served, device, blob), questions=asked, top_k=top_k)
    elif content_type(request) == BLOB_TYPE:
        whole = await state.whole_blob(served, body, session, device)
        job = Job(verb, whole, questions=asked, top_k=top_k)
    else:
        job = Job(verb, pixels=await _pixels(served, body), questions=asked, top_k=top_k)
    request.state.done = done = await state.run(codec, job)
    state.answered(served, job, done, body if blob is None else None)
    state.metrics.alone(codec, alone)
    if keep and job.blob is not None and blob is None:
        blob = await remembered(state.memory.keep_blob(device, codec, job.blob))
    reply = json.dumps(done.value | ({} if blob is None else {"id": blob})).encode()
    if key is not None:
        reply = await state.keep_reply(key, reply)
    return Response(reply, media_type=JSON_TYPE, headers={"Server-Timing": timing(done)})


@router.post("/{codec}/batch/{verb}", response_model=BatchReply, response_model_exclude_unset=True)
async def ask_many(
    codec: str, verb: Verb, asked: Batch, state: Shared, device: Caller
) -> dict[str, Any]:
    """Answer several blobs; each has its own answer or its own problem."""
    served = _serves(state, codec, verb)
    questions = asked.questions if verb == "answer" else []
    if verb == "answer" and len(questions) not in (1, len(asked.blobs)):
        raise ProblemError(400, "questions: give one, or one for each blob")
    questions = questions * len(asked.blobs) if len(questions) == 1 else questions

    async def one(place: int) -> dict[str, Any]:
        own = (questions[place],) if questions else ()
        try:
            try:
                blob = served.checked(base64.b64decode(asked.blobs[place], validate=True))
            except (binascii.Error, BitstreamError) as error:
                raise ProblemError(400, str(error)) from error
            job = Job(verb, blob, questions=own, top_k=asked.top_k)
            done = await state.run(codec, job)
        except ProblemError as problem:
            return {"problem": problem.members()}
        state.answered(served, job, done, blob)
        value: dict[str, Any] = done.value
        return value

    return {"results": await asyncio.gather(*(one(i) for i in range(len(asked.blobs))))}


def timing(done: Done) -> str:
    """What the header Server-Timing says (W3C Server Timing)."""
    return f"queue;dur={done.queue_ms:.3f}, run;dur={done.run_ms:.3f}"


def _serves(state: State, codec: str, verb: str) -> Served:
    served = state.served(codec)
    if verb not in served.verbs:
        can = " and ".join(served.verbs)
        raise ProblemError(404, f"{codec} does not {verb}: it can {can}")
    return served


async def _kept(state: State, served: Served, device: str, name: str) -> bytes:
    found = await remembered(state.memory.kept_blob(device, name))
    if found is None or found[0] != served.name:
        raise ProblemError(404, "no such blob of this codec is kept: it may have been too old")
    return found[1]


async def _body(state: State, served: Served, request: Request) -> bytes:
    """The body of a request, which is a blob or a picture."""
    kind, limits = content_type(request), state.limits
    taken = (BLOB_TYPE, *PICTURE_TYPES) if served.pictures else (BLOB_TYPE,)
    if kind not in taken:
        raise ProblemError(415, f"the body is one of {', '.join(taken)}")
    is_blob = kind == BLOB_TYPE
    most = limits.blob_bytes if is_blob else limits.picture_bytes
    body = await read_body(request, most, limits.body_s)
    state.metrics.body(served.name, "blob" if is_blob else "picture", len(body))
    return body


async def _pixels(served: Served, body: bytes) -> Any:
    """The picture in a body, as the model sees it."""
    try:
        return await asyncio.to_thread(served.pixels, body)
    except (ValueError, OSError) as error:
        raise ProblemError(400, f"the body is no picture: {error}") from error
