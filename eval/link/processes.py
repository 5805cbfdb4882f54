"""a codec -> its real server, a proxy and its real client, each a process of its own, and what the
client's requests take over a link between them.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from codec.link.replay import Setting
from codec.link.traces import Trace
from codec.model import checkpoint
from eval.link.asking import Asked
from eval.link.namespaces import BURST_BYTES, SERVER_ADDRESS, Namespaces
from eval.link.proxy import Conditions, written

ROUND_TRIP_MS = 20.0
START_S, PORT = 120.0, 8000
_READY = """
import sys, time, urllib.request
deadline = time.monotonic() + float(sys.argv[2])
while time.monotonic() < deadline:
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5)
        break
    except OSError:
        time.sleep(0.2)
else:
    sys.exit("the server does not start")
"""


class Processes:
    """A server, a proxy and a client of one codec, for as long as the context lasts.

    Raises:
        OSError: one of them does not start.
    """

    def __init__(self, codec: str, images: Sequence[Path], spaces: Namespaces | None) -> None:
        self._codec, self._images, self.spaces = codec, images, spaces
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> Processes:
        inside = [] if self.spaces is None else self.spaces.server
        at_device = [] if self.spaces is None else self.spaces.device
        port = _free_port() if self.spaces is None else PORT
        python = [sys.executable, "-m"]
        try:
            serve = [*python, "codec.cli", "serve", self._codec, "--port", str(port)]
            self._open([*inside, *serve])
            host = "127.0.0.1" if self.spaces is None else SERVER_ADDRESS
            proxy = [*python, "eval.link.proxy", "--host", host, "--to", str(port)]
            self._proxy = self._open([*inside, *proxy])
            self.url = f"http://{host}:{int(_line(self._proxy))}"
            ready = [sys.executable, "-c", _READY, f"{self.url}/readyz", str(START_S)]
            if subprocess.run([*at_device, *ready], check=False).returncode:
                raise OSError(f"the server of {self._codec} does not start")
            folder = checkpoint.shipped_root() / self._codec
            ask = [*python, "eval.link.asking", str(folder), *map(str, self._images)]
            self._client = self._open([*at_device, *ask])
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self._opened.close()

    def ask(self, trace: Trace | None, ways: list[str] | None, setting: Setting) -> list[Asked]:
        """The requests of a setting over a link; None for one without limits."""
        bucket = self.spaces is not None and trace is not None and len(trace.rates) == 1
        job: dict[str, object] = {"url": self.url, "ways": ways, "n_requests": setting.n_requests}
        job |= {"every_s": setting.every_s, "timeout_s": setting.timeout_s}
        _say(self._client, json.dumps(job))
        _line(self._client)
        if bucket and self.spaces is not None and trace is not None:
            self.spaces.limit(trace.rates[0])
            time.sleep(min(5.0, 2 * BURST_BYTES / trace.rates[0]))  # until the bucket is empty
        start_s = time.monotonic() + 0.5
        link = Conditions(None if bucket else trace, start_s, ROUND_TRIP_MS / 2)
        self._set(None if trace is None else link)
        _say(self._client, repr(start_s))
        found = [Asked(*one) for one in json.loads(_line(self._client))]
        if bucket and self.spaces is not None:
            self.spaces.limit(None)
        self._set(None)
        return found

    def _set(self, link: Conditions | None) -> None:
        _say(self._proxy, written(link))
        _line(self._proxy)

    def _open(self, command: list[str]) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self._opened.callback(process.communicate)
        self._opened.callback(process.kill)
        return process


def _say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _line(process: subprocess.Popen[str]) -> str:
    """
    Raises:
        OSError: the process has ended.
    """
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise OSError(f"{process.args!r} has ended")
    return line.strip()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
