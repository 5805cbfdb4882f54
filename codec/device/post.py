"""blob -> a server -> its reply, over HTTP, within a time and a size: what a device sends with.

Part of the one file for devices: Python 3.6, standard library.
"""

from __future__ import annotations

import threading
from typing import Any

MAX_REPLY_BYTES = 1 << 20


def post(url: str, blob: bytes, timeout_s: float) -> bytes:
    """Post a blob as application/octet-stream; gives the reply.

    Args:
        timeout_s: seconds until the whole reply must be there, however it trickles in.

    Raises:
        ValueError: no reply in time, one of more than 1 MiB, or the server refuses; the message
            says why.
    """
    from urllib.request import Request

    request = Request(url, data=blob, headers={"Content-Type": "application/octet-stream"})
    return reply_to(request, timeout_s, MAX_REPLY_BYTES)


def reply_to(request: Any, timeout_s: float, max_bytes: int) -> bytes:
    """Send a `urllib.request.Request`; gives the reply. Errors as `post`."""
    done: list[Any] = []
    # a daemon, so that a server that sends without end does not keep the process alive
    args = (done, request, timeout_s, max_bytes)
    thread = threading.Thread(target=_outcome, args=args, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not done:
        raise ValueError(f"no reply from {request.full_url}: not whole after {timeout_s:g} seconds")
    if isinstance(done[0], Exception):
        raise done[0]
    reply: bytes = done[0]
    return reply


def _outcome(done: list[Any], request: Any, timeout_s: float, max_bytes: int) -> None:
    """Put the reply, or what was raised, into `done`."""
    try:
        done.append(_reply(request, timeout_s, max_bytes))
    except Exception as error:  # raised anew where the caller waits
        done.append(error)


def _reply(request: Any, timeout_s: float, max_bytes: int) -> bytes:
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    url = request.full_url
    try:
        with urlopen(request, timeout=timeout_s) as reply:
            found: bytes = reply.read(max_bytes + 1)
    except HTTPError as error:
        reason = error.read(1000).decode("utf-8", "replace")
        raise ValueError(f"{url} answered {error.code}: {reason or error.reason}") from error
    except (OSError, HTTPException) as error:
        why = error.reason if isinstance(error, URLError) else str(error) or type(error).__name__
        raise ValueError(f"no reply from {url}: {why}") from error
    if len(found) > max_bytes:
        raise ValueError(f"the reply from {url} has more than {max_bytes} bytes")
    return found
