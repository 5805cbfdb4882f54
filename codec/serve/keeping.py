"""POST /v1/{codec}/blobs and /v1/sessions: what a server keeps for later requests."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response

from codec.link.session import BLOB_TYPE
from codec.serve.bodies import JSON_TYPE, content_type, read_body, read_json
from codec.serve.memory import remembered
from codec.serve.problems import ProblemError
from codec.serve.shapes import PROBLEMS, CodecName, KeptReply, SessionReply, SessionRequest, body_of
from codec.serve.state import Caller, Shared, State

router = APIRouter(prefix="/v1", responses=PROBLEMS)


@router.post("/sessions", status_code=201, openapi_extra=body_of(JSON_TYPE, model=SessionRequest))
async def open_session(request: Request, state: Shared, device: Caller) -> SessionReply:
    """Agree on a codec once: later blobs carry a header of 3 bytes."""
    limits = state.limits
    asked = await read_json(request, SessionRequest, limits.blob_bytes, limits.body_s)
    return await session_for(asked, state, device)


async def session_for(asked: SessionRequest, state: State, device: str) -> SessionReply:
    """A new session of a device, for the codec of a fingerprint.

    Raises:
        ProblemError: 404, there is no such codec; the reply says which there are.
    """
    for name, served in state.codecs.items():
        if served.codec.fingerprint.hex() == asked.fingerprint:
            session = await remembered(state.memory.open_session(device, name))
            return SessionReply(session=session, codec=name, tasks=served.verbs)
    detail = "no codec of this server has that fingerprint"
    raise ProblemError(404, detail, codecs=state.fingerprints())


@router.post("/{codec}/blobs", status_code=201, openapi_extra=body_of(BLOB_TYPE))
async def keep_blob(
    codec: CodecName,
    request: Request,
    state: Shared,
    device: Caller,
    session: Annotated[str | None, Header(description="Its blobs are shortened")] = None,
) -> KeptReply:
    """Keep a blob, to be asked later."""
    served = state.served(codec)
    if content_type(request) != BLOB_TYPE:
        raise ProblemError(415, f"the body is {BLOB_TYPE}")
    body = await read_body(request, state.limits.blob_bytes, state.limits.body_s)
    blob = await state.whole_blob(served, body, session, device)
    state.metrics.body(codec, "blob", len(body))
    return KeptReply(id=await remembered(state.memory.keep_blob(device, codec, blob)))


@router.delete("/{codec}/blobs/{name}", status_code=204)
async def forget_blob(
    codec: CodecName,
    name: Annotated[str, Path(description="Id of a kept blob")],
    state: Shared,
    device: Caller,
) -> Response:
    """Forget a blob."""
    state.served(codec)
    if not await remembered(state.memory.forget_blob(device, name)):
        raise ProblemError(404, "no such blob is kept")
    return Response(status_code=204)
