"""request -> what later ones may need of it: its reply, the blob it left, the session it opened.

A server has an `OwnMemory`. Several servers that answer as one share one over what lies between
them, see `codec.serve.cluster`.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, TypeVar

from codec.serve.kept import Kept
from codec.serve.problems import ProblemError, busy
from codec.serve.replies import KeyReused, Replies, TooOld, owner_of
from codec.serve.settings import Limits
from codec.serve.storing import Storing

T = TypeVar("T")


class Memory(Protocol):
    """What a server remembers; a device sees only what is its own.

    Every call raises OSError where the store fails, and the two of replies raise `ValueError` as
    `Replies` does; `remembered` makes problems of them.
    """

    async def reply_before(self, device: str, sequence: int, digest: bytes) -> bytes | None:
        """The reply that this request got when it came before; None for a new one."""

    async def keep_reply(self, device: str, sequence: int, digest: bytes, reply: bytes) -> bytes:
        """Keep a reply; gives the one to send, which is the first where two ran at once."""

    async def keep_blob(self, device: str, codec: str, blob: bytes) -> str:
        """Keep a blob of a codec; gives its name."""

    async def kept_blob(self, device: str, name: str) -> tuple[str, bytes] | None:
        """The codec and the bytes of a kept blob; None where there is none."""

    async def forget_blob(self, device: str, name: str) -> bool:
        """Forget a blob; whether it was there."""

    async def open_session(self, device: str, codec: str) -> str:
        """Open a session of a codec; gives its name."""

    async def session(self, device: str, name: str) -> str | None:
        """The codec of a session; None where there is none."""


class OwnMemory:
    """The memory of one process: replies on its disk, blobs and sessions in its RAM. Its calls are
    those of `Memory`; those of replies wait in a thread of their own, `codec.serve.storing`.

    Args:
        limits: how much is kept.
        replies: the replies.
    """

    def __init__(self, limits: Limits, replies: Replies) -> None:
        self._replies, self._storing = replies, Storing("replies")
        self._blobs: Kept[tuple[str, bytes]] = Kept(
            limits.kept_blobs, limits.kept_bytes, limits.kept_s
        )
        self._sessions: Kept[str] = Kept(limits.sessions, limits.sessions, limits.kept_s)

    async def reply_before(self, device: str, sequence: int, digest: bytes) -> bytes | None:
        """See `Memory`."""
        begin = self._replies.begin
        return await self._storing.call(owner_of(device), begin, device, sequence, digest)

    async def keep_reply(self, device: str, sequence: int, digest: bytes, reply: bytes) -> bytes:
        """See `Memory`."""
        store = self._replies.store
        return await self._storing.call(owner_of(device), store, device, sequence, digest, reply)

    async def keep_blob(self, device: str, codec: str, blob: bytes) -> str:
        """See `Memory`."""
        return self._blobs.put(device, (codec, blob), len(blob))

    async def kept_blob(self, device: str, name: str) -> tuple[str, bytes] | None:
        """See `Memory`."""
        return self._blobs.get(device, name)

    async def forget_blob(self, device: str, name: str) -> bool:
        """See `Memory`."""
        return self._blobs.remove(device, name)

    async def open_session(self, device: str, codec: str) -> str:
        """See `Memory`."""
        return self._sessions.put(device, codec, 1)

    async def session(self, device: str, name: str) -> str | None:
        """See `Memory`."""
        return self._sessions.get(device, name)

    def close(self) -> None:
        """End the thread of the replies; their file is the caller's."""
        self._storing.close()


async def remembered(call: Awaitable[T]) -> T:
    """What a call of `Memory` gives.

    Raises:
        ProblemError: 409, a number has come with another request, or is too old; 503, the store
            fails.
    """
    try:
        return await call
    except (KeyReused, TooOld) as error:
        raise ProblemError(409, str(error)) from error
    except (OSError, ValueError) as error:  # ValueError: the file is damaged
        _file, _, reason = str(error).partition(": ")  # whose name is nobody else's business
        raise busy(f"what the server keeps cannot be reached: {reason or error}") from error
