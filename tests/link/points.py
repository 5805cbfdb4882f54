"""The outbox and the store of replies, ended at every single write to the disk. A process of its
own, with `cutting.c` preloaded:

    LD_PRELOAD=cutting.so python -m tests.link.points FOLDER device|server killed|full

A life does a little of everything, and notes what it was told is done. It is ended at its first
write, its second, and so on until it reaches its end. After each, what was noted must be there, and
the same life, run again, must come to the same end.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from codec.link.queue import Outbox
from codec.serve.replies import Replies
from tests.link.killing import start

N_REQUESTS = 3
SIZES = (5, 9000, 400)


def device(folder: Path, note: Callable[[str], object]) -> None:
    """Put all requests and answer them."""
    outbox = Outbox(folder / "file")
    for number, n_bytes in enumerate(SIZES):
        assert outbox.put(bytes([number]) * n_bytes, name=str(number)) == number
        note(f"put {number}")
    while (item := outbox.next()) is not None:
        outbox.done(item.sequence, b"%d" % len(item.body))
        note(f"done {item.sequence}")
    assert outbox.n_waiting == 0
    assert [outbox.reply(number) for number in range(3)] == [b"%d" % n for n in SIZES]
    outbox.close()


def check_device(folder: Path, said: list[str]) -> None:
    outbox = Outbox(folder / "file")
    for event, number in (line.split() for line in said):
        reply = outbox.reply(int(number))  # raises where the request is not there
        assert event == "put" or reply == b"%d" % SIZES[int(number)], (event, number, reply)
    outbox.close()


def server(folder: Path, note: Callable[[str], object]) -> None:
    """Answer each request twice; a reply names the process that ran it."""
    replies = Replies(folder / "file", window=2)
    last = len(folder.joinpath("said").read_text().splitlines())
    for number in range(last, N_REQUESTS):
        key = "camera", number, bytes(32)
        reply = replies.begin(*key) or replies.store(*key, b"%d" % os.getpid())
        assert replies.begin(*key) == reply
        note(reply.decode())
    assert len(replies) == 2
    replies.close()


def check_server(folder: Path, said: list[str]) -> None:
    replies = Replies(folder / "file", window=2)
    if said:
        assert replies.begin("camera", len(said) - 1, bytes(32)) == said[-1].encode()
    replies.close()


def preloaded(name: str) -> ctypes.c_long:
    return ctypes.c_long.in_dll(ctypes.CDLL(None), name)


def ended(life: Callable[[], None]) -> int:
    """The exit code of a life; minus the signal, where it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(start(life), 0)[1])


def main(folder: Path, who: str, how: str) -> None:
    life, check = {"device": (device, check_device), "server": (server, check_server)}[who]
    if how == "full":
        ctypes.c_int.in_dll(ctypes.CDLL(None), "disk_full").value = 1
    n_syncs = folder / "syncs"

    def once(here: Path, n_calls: int) -> None:
        file = os.open(here / "said", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        preloaded("calls_left").value = n_calls
        life(here, lambda line: os.write(file, f"{line}\n".encode()))
        n_syncs.write_text(str(preloaded("n_syncs").value))

    for n_calls in range(1000):
        here = folder / str(n_calls)
        here.mkdir()
        code = ended(partial(once, here, n_calls))
        if code == 0:
            break
        assert code == (2 if how == "full" else -signal.SIGKILL), (n_calls, code)
        said = (here / "said").read_text().splitlines()
        assert ended(partial(check, here, said)) == 0, f"lost after write {n_calls}: {said}"
        assert ended(partial(once, here, -1)) == 0, f"stuck after write {n_calls}"
    print(json.dumps({"writes": n_calls, "syncs": int(n_syncs.read_text())}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
