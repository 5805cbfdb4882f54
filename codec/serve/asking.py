"""POST /v1/{codec}/classify|caption|answer and batches of them: blob or picture -> answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from codec.coding.container import BitstreamError
from codec.serve.batching import Done
from codec.serve.bodies import BLOB_TYPE, PICTURE_TYPES, content_type, questions_in, read_body
from codec.serve.models import Job, Served
from codec.serve.problems import ProblemError
from codec.serve.shapes import PROBLEMS, Batch, BatchReply, Reply, Verb
from codec.serve.state import Caller, Shared, State

router = APIRouter(prefix="/v1", responses=PROBLEMS)

_BODIES = {
    "requestBody": {
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in (BLOB_TYPE, *PICTURE_TYPES)
        }
    }
}


@router.post(
    "/{codec}/{verb}",
    response_model=Reply,
    response_model_exclude_unset=True,
    openapi_extra=_BODIES,
)
async def ask(
    codec: str,
    verb: Verb,
    request: Request,
    response: Response,
    state: Shared,
    device: Caller,
    keep: bool = False,
    blob: Annotated[str | None, Query(description="Id of a kept blob; no body then")] = None,
    top_k: Annotated[int, Query(ge=1, le=1000)] = 5,
    question: Annotated[
        str | None, Header(description="Percent-encoded questions, separated by commas")
    ] = None,
    session: Annotated[str | None, Header(description="Its blobs are shortened")] = None,
) -> dict[str, Any]:
    """Answer what is asked of a blob, of a picture, or of a kept blob."""
    served = _serves(state, codec, verb)
    asked = questions_in(question, state.limits.questions) if verb == "answer" else ()
    if blob is not None:
        whole = _kept(state, served, device, blob)
        job = Job(verb, blob=whole, questions=asked, top_k=top_k)
    elif content_type(request) == BLOB_TYPE:
        body = await read_body(request, state.limits.blob_bytes, state.limits.body_s)
        whole = state.whole_blob(served, body, session, device)
        state.metrics.body(codec, "blob", len(body))
        job = Job(verb, blob=whole, questions=asked, top_k=top_k)
    else:
        job = Job(verb, pixels=await _pixels(state, served, request), questions=asked, top_k=top_k)
    done = await state.run(codec, job)
    state.metrics.done(codec, done)
    response.headers["Server-Timing"] = timing(done)
    if keep and job.blob is not None and blob is None:
        blob = state.blobs.put(device, (codec, job.blob), len(job.blob))
    return done.value | ({} if blob is None else {"id": blob})


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
            done = await state.run(codec, Job(verb, blob, questions=own, top_k=asked.top_k))
        except ProblemError as problem:
            return {"problem": problem.members()}
        state.metrics.done(codec, done)
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


def _kept(state: State, served: Served, device: str, name: str) -> bytes:
    found = state.blobs.get(device, name)
    if found is None or found[0] != served.name:
        raise ProblemError(404, "no such blob of this codec is kept: it may have been too old")
    return found[1]


async def _pixels(state: State, served: Served, request: Request) -> Any:
    """The picture in a body, as the model sees it."""
    kind = content_type(request)
    if kind not in PICTURE_TYPES or not served.pictures:
        taken = ", ".join((BLOB_TYPE, *PICTURE_TYPES) if served.pictures else (BLOB_TYPE,))
        raise ProblemError(415, f"the body is one of {taken}")
    body = await read_body(request, state.limits.picture_bytes, state.limits.body_s)
    state.metrics.body(served.name, "picture", len(body))
    try:
        return await asyncio.to_thread(served.pixels, body)
    except (ValueError, OSError) as error:
        raise ProblemError(400, f"the body is no picture: {error}") from error
