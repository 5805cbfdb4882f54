"""arguments of a config -> an application of Ray Serve: replicas of the server, and one memory that
they share.

    request -> Ray's proxy -> a replica: token -> ... -> reply
                                  |
                               memory (one process): replies on its disk, kept blobs, sessions

So a request that comes again is answered from what any replica kept, and a kept blob is found by
all of them. Only requests with a number, a kept blob or a session ask the memory.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from codec.pipeline import Server
from codec.serve.app import OPEN, create_app
from codec.serve.memory import OwnMemory
from codec.serve.models import Served
from codec.serve.replies import Replies
from codec.serve.settings import Limits
from codec.serve.state import State
from codec.serve.tokens import read_tokens

ASK_S = 10.0
"""So long a replica waits for the memory; then its request is refused with Retry-After."""
NAME = "codec.serve.cluster:build"


class Arguments(BaseModel, extra="forbid"):
    """What a config says of the server: `args` of its application.

    Attributes:
        codecs: names or folders, which every machine of the cluster has.
        state: file of the replies, on the machine on which the memory runs.
        token_file: lines `device-id token`, on every machine; None lets everyone ask.
        device: where the models run: cpu, cuda.
        pictures: whether pictures are answered, by the uncut models.
        shadow: share of pictures that the codec answers too.
    """

    codecs: list[str]
    state: str
    token_file: str | None = None
    device: str = "cpu"
    pictures: bool = True
    shadow: float = 0.0


class Keeper:
    """The memory of all replicas, in a process of its own.

    Args:
        limits: how much is kept.
        state: file of the replies.
    """

    def __init__(self, limits: Limits, state: str) -> None:
        self._memory = OwnMemory(limits, Replies(state))

    async def call(self, name: str, *values: Any) -> Any:
        """What a call of `Memory` gives, or the error that it raised: Ray would put a trace around
        one that is raised.
        """
        try:
            return await getattr(self._memory, name)(*values)
        except (OSError, ValueError) as error:
            return error.with_traceback(None)


class SharedMemory:
    """The memory that replicas share, as one of them sees it. Its calls are those of
    `codec.serve.memory.Memory`.

    Args:
        keeper: the process that has it.
    """

    def __init__(self, keeper: DeploymentHandle) -> None:
        self._keeper = keeper

    async def reply_before(self, device: str, sequence: int, digest: bytes) -> bytes | None:
        """See `Memory`."""
        found: bytes | None = await self._call("reply_before", device, sequence, digest)
        return found

    async def keep_reply(self, device: str, sequence: int, digest: bytes, reply: bytes) -> bytes:
        """See `Memory`."""
        sent: bytes = await self._call("keep_reply", device, sequence, digest, reply)
        return sent

    async def keep_blob(self, device: str, codec: str, blob: bytes) -> str:
        """See `Memory`."""
        name: str = await self._call("keep_blob", device, codec, blob)
        return name

    async def kept_blob(self, device: str, name: str) -> tuple[str, bytes] | None:
        """See `Memory`."""
        found: tuple[str, bytes] | None = await self._call("kept_blob", device, name)
        return found

    async def forget_blob(self, device: str, name: str) -> bool:
        """See `Memory`."""
        return bool(await self._call("forget_blob", device, name))

    async def open_session(self, device: str, codec: str) -> str:
        """See `Memory`."""
        name: str = await self._call("open_session", device, codec)
        return name

    async def session(self, device: str, name: str) -> str | None:
        """See `Memory`."""
        codec: str | None = await self._call("session", device, name)
        return codec

    async def _call(self, name: str, *values: Any) -> Any:
        try:
            found = await asyncio.wait_for(self._keeper.call.remote(name, *values), ASK_S)
        except (RayError, RayServeException, asyncio.TimeoutError) as error:
            raise OSError(f"it does not answer ({type(error).__name__})") from error
        if isinstance(found, Exception):
            raise found
        return found


class Replica:
    """One copy of the server: the application of `create_app`, with the memory of all.

    Args:
        arguments: what it serves.
        limits: what a request may take, of this copy.
        keeper: the memory.
    """

    def __init__(self, arguments: Arguments, limits: Limits, keeper: DeploymentHandle) -> None:
        codecs = [
            Served(Server.from_pretrained(name, device=arguments.device), arguments.pictures)
            for name in arguments.codecs
        ]
        named = arguments.token_file
        tokens = OPEN if named is None else read_tokens(Path(named))
        self._own_app = create_app(codecs, tokens, limits, memory=SharedMemory(keeper))

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self._own_app

    def check_health(self) -> None:
        """Ray asks this every few seconds, and replaces a copy that raises.

        Raises:
            RuntimeError: a worker has ended, so nothing would be answered any more.
        """
        state: State = self._own_app.state.server
        for name, queue in state.workers:
            if not queue.is_running:
                raise RuntimeError(f"the worker of {name} has ended")


def build(arguments: dict[str, Any]) -> Application:
    """The application that a config names as `import_path: codec.serve.cluster:build`. Its
    deployments are `server` and `memory`.

    Args:
        arguments: see `Arguments`.

    Raises:
        ValueError: there is an argument too many, one is missing or wrong.
    """
    asked = Arguments.model_validate(arguments)
    limits = Limits(shadow=asked.shadow)
    keeper = serve.deployment(Keeper, name="memory", num_replicas=1, max_ongoing_requests=1000)
    server = serve.deployment(serve.ingress()(Replica), name="server", max_ongoing_requests=64)
    return server.bind(asked, limits, keeper.bind(limits, asked.state))
