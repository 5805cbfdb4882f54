"""python -m eval.link.servers KIND NAME: a codec -> a server on the loopback interface,
ours or LitServe's, that a benchmark starts as a process of its own and ends.

LitServe (lightning.ai, Apache-2.0) runs the same `Served`, behind its own HTTP and its own queue.
It may be another interpreter's: one that has `litserve`, and what this project needs.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

KINDS = ("ours", "litserve")
START_S = 300.0
ROOT = Path(__file__).parents[2]


class Running(NamedTuple):
    """A server that runs.

    Attributes:
        port: where it listens, at 127.0.0.1.
        pid: of its first process.
    """

    port: int
    pid: int


@contextlib.contextmanager
def running(
    kind: str, name: str, batch: int, threads: int, python: str = sys.executable
) -> Iterator[Running]:
    """A server that is ready; it ends with the context.

    Args:
        kind: ours or litserve.
        name: of a codec.
        batch: the most requests that run at once.
        threads: of torch.
        python: the interpreter.

    Raises:
        ValueError: it was not ready after 5 minutes, or ended.
    """
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    words = [kind, name, str(port), str(batch)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
    process = subprocess.Popen(
        [python, "-m", "eval.link.servers", *words], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + START_S
        while not _ready(port, "/readyz" if kind == "ours" else "/health"):
            if process.poll() is not None or time.monotonic() > end:
                raise ValueError(f"the server {' '.join(words)} did not start")
            time.sleep(0.2)
        yield Running(port, process.pid)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started, also those that do not end by themselves."""
    started: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for one in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def _ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def ours(name: str, port: int, batch: int) -> None:
    """Serve as `codec serve` does, with batches of at most `batch`."""
    from codec.pipeline import Server
    from codec.serve.app import create_app
    from codec.serve.models import Served
    from codec.serve.running import run
    from codec.serve.settings import Limits

    served = Served(Server.from_pretrained(name), pictures=False)
    run(create_app([served], limits=Limits(batch=batch)), "127.0.0.1", port)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="eval.link.servers", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("name")
    parser.add_argument("port", type=int)
    parser.add_argument("batch", type=int)
    args = parser.parse_args(argv)
    if args.kind == "litserve":
        from eval.link import litserving

        litserving.serve(args.name, args.port, args.batch)
    else:
        ours(args.name, args.port, args.batch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
