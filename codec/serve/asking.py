"""POST /v1/{codec}/classify|caption|answer and batches of them: blob or picture -> answer."""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from codec.coding.container import BitstreamError
from codec.link.session import BLOB_TYPE
from codec.serve import shapes
from codec.serve.answering import Asked, answer, most_bytes, served_for, timing
from codec.serve.bodies import (
    JSON_TYPE,
    PICTURE_TYPES,
    content_type,
    read_body,
    read_json,
)
from codec.serve.models import Job
from codec.serve.problems import ProblemError
from codec.serve.shapes import (
    PROBLEMS,
    TIMING,
    AskedVerb,
    AskHeaders,
    AskQuery,
    Batch,
    BatchReply,
    CodecName,
    body_of,
)
from codec.serve.state import Caller, Shared

router = APIRouter(prefix="/v1", responses=PROBLEMS)


@router.post(
    "/{codec}/{verb}",
    response_model=shapes.Reply,
    responses={200: TIMING},
    openapi_extra=body_of(BLOB_TYPE, *PICTURE_TYPES, required=False),
)
async def ask(
    codec: CodecName,
    verb: AskedVerb,
    request: Request,
    state: Shared,
    device: Caller,
    query: Annotated[AskQuery, Query()],
    headers: Annotated[AskHeaders, Header()],
) -> Response:
    """Answer what is asked of a blob, of a picture, or of a kept blob."""
    # not request.url: that is made of the Host header too, and fails where that is no name
    scope = request.scope
    target = "\0".join([scope["path"], scope["query_string"].decode("latin-1")])
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


@router.post(
    "/{codec}/batch/{verb}",
    response_model=BatchReply,
    response_model_exclude_unset=True,
    openapi_extra=body_of(JSON_TYPE, model=Batch),
)
async def ask_many(
    codec: CodecName, verb: AskedVerb, request: Request, state: Shared, device: Caller
) -> dict[str, Any]:
    """Answer several blobs; each has its own answer or its own problem."""
    served = served_for(state, Asked(codec, verb, device, BLOB_TYPE, ""))
    asked = await read_json(request, Batch, state.limits.batch_bytes, state.limits.body_s)
    questions = asked.questions if verb == "answer" else []
    if verb == "answer" and len(questions) not in (1, len(asked.blobs)):
        raise ProblemError(400, "questions: give one, or one for each blob")
    questions = questions * len(asked.blobs) if len(questions) == 1 else questions

    async def one(place: int) -> dict[str, Any]:
        own = (questions[place],) if questions else ()
        try:
            try:
                blob = served.checked(base64.b64decode(asked.blobs[place], validate=True))
            except BitstreamError as error:
                raise ProblemError(400, str(error)) from error
            except ValueError as error:  # also of binascii
                raise ProblemError(400, f"no base64: {error}") from error
            job = Job(verb, blob, questions=own, top_k=asked.top_k)
            done = await state.run(codec, job, device)
        except ProblemError as problem:
            return {"problem": problem.members()}
        state.answered(served, job, done, blob)
        value: dict[str, Any] = done.value
        return value

    return {"results": await asyncio.gather(*(one(i) for i in range(len(asked.blobs))))}
