"""what all routes of a server share: its codecs with their queues, what it keeps, who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, NamedTuple

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPBearer

from codec.coding.container import BitstreamError, restore
from codec.serve.batching import Batcher, Done, QueueFullError
from codec.serve.comparing import expected_of
from codec.serve.holding import Bodies
from codec.serve.memory import Memory, remembered
from codec.serve.metrics import Metrics
from codec.serve.models import Job, Served, decoded
from codec.serve.problems import ProblemError, busy, crowding
from codec.serve.settings import Limits
from codec.serve.shadow import Shadow
from codec.serve.status import Facts, Status
from codec.serve.tokens import NOBODY, NOT_ONE, Tokens


class Key(NamedTuple):
    """What a request is known by when it comes again; `digest` is of all that it asks."""

    device: str
    sequence: int
    digest: bytes


@dataclass
class State:
    """A running server.

    Attributes:
        codecs: by name.
        queues: of each codec.
        pictures: the queue of those that are decoded first: a small file may have many pixels.
        workers: all queues, each with what it is for.
        memory: replies, kept blobs and sessions.
        status: what the status page shows.
        shadow: checks of the codecs on pictures that come.
        bodies: of all requests that are being answered.
    """

    codecs: Mapping[str, Served]
    tokens: Tokens
    limits: Limits
    memory: Memory
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        limits = self.limits
        self.bodies = Bodies(limits.bodies_bytes)
        self._keeping: set[asyncio.Future[bytes]] = set()
        self.queues = {
            name: Batcher(served, limits.batch, limits.waiting)
            for name, served in self.codecs.items()
        }
        self.pictures = Batcher(decoded, 1, limits.waiting, limits.decoding)
        self.workers = [*self.queues.items(), ("pictures to decode", self.pictures)]
        for name, queue in self.queues.items():
            self.metrics.watch_queue(name, queue)
        self.metrics.watch_pictures(self.pictures)
        self._expected = {name: expected_of(served) for name, served in self.codecs.items()}
        facts = [
            Facts(**one, agreement=self._expected[one["name"]].agreement)
            for one in self.fingerprints()
        ]
        self.status = Status(self.metrics, facts, limits)
        self.shadow = Shadow(limits.shadow, self.queues, self.metrics)

    def served(self, name: str) -> Served:
        """The codec of a path.

        Raises:
            ProblemError: 404, there is none; the reply lists those there are.
        """
        if name not in self.codecs:
            raise ProblemError(
                404, "this server does not serve that codec", codecs=self.fingerprints()
            )
        return self.codecs[name]

    def fingerprints(self) -> list[dict[str, str]]:
        """The names and fingerprints of the codecs."""
        return [
            {"name": name, "fingerprint": served.codec.fingerprint.hex()}
            for name, served in self.codecs.items()
        ]

    async def whole_blob(
        self, served: Served, body: bytes, session: str | None, device: str
    ) -> bytes:
        """The body of a request -> the blob, checked; in a session it is a shortened one.

        Raises:
            ProblemError: 400, the body is no blob of the codec; 404, there is no such session.
        """
        if session is not None:
            of = await remembered(self.memory.session(device, session))
            if of != served.name:
                raise ProblemError(404, "no such session of this codec: open another one")
        try:
            if session is not None:
                return restore(body, served.codec.fingerprint)
            return served.checked(body)
        except BitstreamError as error:
            raise ProblemError(400, str(error)) from error

    async def reply_before(self, key: Key) -> bytes | None:
        """The reply that a request got when it came before. Errors as `remembered`."""
        return await remembered(self.memory.reply_before(*key))

    async def keep_reply(self, key: Key, reply: bytes) -> bytes:
        """Keep the reply to a request; gives the one to send. Errors as `remembered`.

        It is kept also where who asked is gone meanwhile: the request will come again.
        """
        keeping = asyncio.ensure_future(remembered(self.memory.keep_reply(*key, reply)))
        self._keeping.add(keeping)  # the loop itself does not hold it
        keeping.add_done_callback(self._keeping.discard)
        return await asyncio.shield(keeping)

    def answered(self, served: Served, job: Job, done: Done, body: bytes | None) -> None:
        """Count an answer, and perhaps check it.

        Args:
            body: that came with the request; None for a kept blob.
        """
        way = "kept" if body is None else "picture" if job.blob is None else "blob"
        self.metrics.done(served.name, done, way)
        if way == "picture" and body is not None:
            self.shadow.answered(served, job, body, done.value)
        pictures = self._expected[served.name].picture_bytes
        n_bytes = pictures.get((job.verb, done.value["quality"]))
        if way == "blob" and body is not None and n_bytes is not None:
            self.metrics.compared(served.name, len(body), n_bytes)

    async def run(self, name: str, job: Job, device: str, picture: bytes | None = None) -> Done:
        """What became of a job of a device, whose id is its token's.

        Args:
            picture: a file, which is decoded for the job first.

        Raises:
            ProblemError: 400, the job's own fault; 429, too many wait, others of this device among
                them; 503, too many of others wait, or it took too long.
        """
        both = self._decode_and_run(name, job, device, picture)
        try:
            return await asyncio.wait_for(both, self.limits.request_s)
        except QueueFullError as error:
            if error.own and device not in NOT_ONE:
                raise crowding(f"{error}, others of this device among them") from error
            raise busy(str(error)) from error
        except asyncio.TimeoutError as error:
            raise busy(f"no answer within {self.limits.request_s:g} seconds") from error
        except (ValueError, BitstreamError) as error:
            raise ProblemError(400, str(error)) from error

    async def _decode_and_run(
        self, name: str, job: Job, device: str, picture: bytes | None
    ) -> Done:
        if picture is not None:
            pixels = (await self.pictures.run((self.codecs[name], picture), device)).value
            job = replace(job, pixels=pixels)
        return await self.queues[name].run(job, device)


async def state_of(request: Request) -> State:
    """The state of the application that a request came to. A coroutine, as the next one: FastAPI
    would run plain functions in a thread.
    """
    state: State = request.app.state.server
    return state


BEARER = HTTPBearer(auto_error=False, description="A line of --token-file; none without it")


async def device_of(
    request: Request,
    state: Annotated[State, Depends(state_of)],
    _for_openapi: Annotated[object, Security(BEARER)],
) -> str:
    """The device that a request comes from.

    Raises:
        ProblemError: 401, it has no token of this server's.
    """
    device: str | None = request.state.device  # which `Guarding` has found
    if device is None:
        raise ProblemError(401, "a bearer token of this server is needed")
    if device != NOBODY:
        state.status.devices.seen(device)
    return device


def visitor_of(
    state: Annotated[State, Depends(state_of)],
    authorization: Annotated[str | None, Header()] = None,
) -> str:
    """Who reads the status page.

    Raises:
        ProblemError: 401, for a browser to ask for a token.
    """
    visitor = state.tokens.visitor(authorization)
    if visitor is None:
        challenge = 'Basic realm="codec serve: any name, a token as the password", charset="UTF-8"'
        raise ProblemError(401, "a token of this server is needed", challenge=challenge)
    return visitor


Shared = Annotated[State, Depends(state_of)]
Caller = Annotated[str, Depends(device_of)]
Visitor = Annotated[str, Depends(visitor_of)]


def names_of(codecs: Sequence[Served]) -> dict[str, Served]:
    """Codecs by name.

    Raises:
        ValueError: two have one name, or there are none.
    """
    found = {served.name: served for served in codecs}
    if not found or len(found) != len(codecs):
        raise ValueError("name at least one codec, and none twice")
    return found
