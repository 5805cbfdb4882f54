"""what is asked, whatever brought it -> checks -> queue -> answer -> the reply, kept under its key.

HTTP (`codec.serve.asking`) and MQTT (`codec.serve.messages`) both end here, so they refuse, answer,
count and remember alike.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import NamedTuple

from codec.link.session import BLOB_TYPE
from codec.serve.batching import Done
from codec.serve.bodies import PICTURE_TYPES, questions_in, too_long
from codec.serve.memory import remembered
from codec.serve.models import Job, Served, Verb
from codec.serve.problems import ProblemError
from codec.serve.shapes import AskHeaders, AskQuery
from codec.serve.state import Key, State


@dataclass(frozen=True)
class Asked:
    """A request for an answer, without its body.

    Attributes:
        codec: its name, as the caller gave it.
        verb: what is asked.
        device: the id of who asks.
        kind: the body's media type.
        target: all that names what is asked, besides headers and body: a path with its query.
        headers, query: what goes with it.
    """

    codec: str
    verb: Verb
    device: str
    kind: str
    target: str
    headers: AskHeaders = field(default_factory=AskHeaders)
    query: AskQuery = field(default_factory=AskQuery)


class Reply(NamedTuple):
    """What goes back: JSON; and what became of the job, None where the reply was kept before."""

    body: bytes
    done: Done | None


def served_for(state: State, asked: Asked) -> Served:
    """The codec that is asked.

    Raises:
        ProblemError: 404, there is none, or it does not do that; 415, it does not take such a body.
    """
    served = state.served(asked.codec)
    if asked.verb not in served.verbs:
        can = " and ".join(served.verbs)
        raise ProblemError(404, f"{asked.codec} does not {asked.verb}: it can {can}")
    taken = (BLOB_TYPE, *PICTURE_TYPES) if served.pictures else (BLOB_TYPE,)
    if asked.query.blob is None and asked.kind not in taken:
        raise ProblemError(415, f"the body is one of {', '.join(taken)}")
    return served


def most_bytes(state: State, asked: Asked) -> int:
    """How long a body may be."""
    return state.limits.blob_bytes if asked.kind == BLOB_TYPE else state.limits.picture_bytes


async def answer(state: State, asked: Asked, body: bytes) -> Reply:
    """The reply to a request; to one that came before under the same key, the reply of that time.

    Raises:
        ProblemError: it is refused, or the server cannot answer now.
    """
    served, headers, query = served_for(state, asked), asked.headers, asked.query
    if len(body) > most_bytes(state, asked):
        raise too_long(most_bytes(state, asked))
    questions: tuple[str, ...] = ()
    if asked.verb == "answer":
        questions = questions_in(headers.question, state.limits.questions)
    if query.blob is None:
        is_blob = asked.kind == BLOB_TYPE
        state.metrics.body(served.name, "blob" if is_blob else "picture", len(body))
    key = None
    if headers.sequence is not None:
        own = headers.device
        whose = asked.device if own is None else f"{asked.device}/{own}"
        key = Key(whose, headers.sequence, _digest(asked, body))
        if (before := await state.reply_before(key)) is not None:
            return Reply(before, None)
    job = await _job(state, served, asked, body, questions)
    picture = body if job.blob is None else None
    done = await state.run(served.name, job, asked.device, picture)
    kept = query.blob
    state.answered(served, job, done, body if kept is None else None)
    state.metrics.alone(served.name, headers.alone)
    if query.keep and job.blob is not None and kept is None:
        kept = await remembered(state.memory.keep_blob(asked.device, served.name, job.blob))
    reply = json.dumps(done.value | ({} if kept is None else {"id": kept})).encode()
    if key is not None:
        reply = await state.keep_reply(key, reply)
    return Reply(reply, done)


def timing(done: Done) -> str:
    """What the header Server-Timing says (W3C Server Timing)."""
    return f"queue;dur={done.queue_ms:.3f}, run;dur={done.run_ms:.3f}"


async def _job(
    state: State, served: Served, asked: Asked, body: bytes, questions: tuple[str, ...]
) -> Job:
    """What is to be run, without the pixels of a picture; errors as `answer`."""
    verb, top_k = asked.verb, asked.query.top_k
    if asked.query.blob is not None:
        found = await remembered(state.memory.kept_blob(asked.device, asked.query.blob))
        if found is None or found[0] != served.name:
            raise ProblemError(404, "no such blob of this codec is kept: it may have been too old")
        return Job(verb, found[1], questions=questions, top_k=top_k)
    if asked.kind == BLOB_TYPE:
        whole = await state.whole_blob(served, body, asked.headers.session, asked.device)
        return Job(verb, whole, questions=questions, top_k=top_k)
    return Job(verb, questions=questions, top_k=top_k)


def _digest(asked: Asked, body: bytes) -> bytes:
    """SHA-256 of all that decides a reply: the target, what the headers ask, and the body. Of a
    session only that there is one: a request comes again in another session, where the first one
    is forgotten.
    """
    headers = asked.headers
    within = "" if headers.session is None else "session"
    parts = [asked.target, asked.kind, headers.question or "", within]
    return hashlib.sha256("\0".join(parts).encode() + b"\0" + body).digest()
