"""POST /v1/{codec}/classify|caption|answer and batches of them: blob or picture -> answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from codec.coding.container import BitstreamError
from codec.serve import shapes
from codec.serve.answering import Asked, answer, most_bytes, served_for, timing
from codec.serve.bodies import BLOB_TYPE, PICTURE_TYPES, content_type, read_body
from codec.serve.models import Job
from codec.serve.problems import ProblemError
from codec.serve.shapes import PROBLEMS, AskHeaders, AskQuery, Batch, BatchReply, Verb
from codec.serve.state import Caller, Shared

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


@router.post("/{codec}/{verb}", response_model=shapes.Reply, openapi_extra=_BODIES)
async def ask(
    codec: str,
    verb: Verb,
    request: Request,
    state: Shared,
    device: Caller,
    query: Annotated[AskQuery, Query()],
    headers: Annotated[AskHeaders, Header()],
) -> Response:
    """Answer what is asked of a blob, of a picture, or of a kept blob."""
    target = "\0".join([request.url.path, request.url.query])
    asked = Asked(codec, verb, device, content_type(request), target, headers, query)
    served_for(state, asked)
    body = b""
    if query.blob is None:
        body = await read_body(request, most_bytes(state, asked), state.limits.body_s)
    reply = await answer(state, asked, body)
    if reply.done is None:
        return Response(reply.body, media_type=JSON_TYPE)
    request.state.done = reply.done
    return Response(reply.body, media_type=JSON_TYPE, headers={"Server-Timing": timing(reply.done)})


@router.post("/{codec}/batch/{verb}", response_model=BatchReply, response_model_exclude_unset=True)
async def ask_many(
    codec: str, verb: Verb, asked: Batch, state: Shared, device: Caller
) -> dict[str, Any]:
    """Answer several blobs; each has its own answer or its own problem."""
    served = served_for(state, Asked(codec, verb, device, BLOB_TYPE, ""))
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
