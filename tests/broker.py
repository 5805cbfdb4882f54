"""Debian's mosquitto on a free port of this machine, for tests that need a broker."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
NEEDED = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed: apt-get install mosquitto"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mosquitto:
    """A broker that can be killed and started again on its port. `lines` are of its
    configuration.
    """

    def __init__(self, folder: Path, *lines: str) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        # as root it would give up its rights, and then not read the tests' files
        own = [f"listener {self.port} 127.0.0.1", f"user {getpass.getuser()}"]
        kept = ["persistence true", f"persistence_location {folder}/", "autosave_interval 1"]
        kept += ["autosave_on_changes true", f"log_dest file {folder}/log"]
        (folder / "conf").write_text("\n".join([*own, *kept, *lines]) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen([MOSQUITTO, "-c", str(self.folder / "conf")])
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self, how: int = signal.SIGKILL) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(20)

    def url(self, user: str = "", scheme: str = "mqtt") -> str:
        host = "localhost" if scheme == "mqtts" else "127.0.0.1"
        return f"{scheme}://{user + '@' if user else ''}{host}:{self.port}"


@contextlib.contextmanager
def mosquitto(folder: Path, *lines: str) -> Iterator[Mosquitto]:
    """A broker, until the block ends; without lines everyone may do everything."""
    broker = Mosquitto(folder, *(lines or ("allow_anonymous true",)))
    try:
        yield broker
    finally:
        broker.kill()


class Client:
    """A plain client of a broker, that keeps what comes: what tests send and see by themselves."""

    def __init__(self, broker: Mosquitto, *filters: str) -> None:
        import paho.mqtt.client as paho

        self.seen: list[Any] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = lambda _c, _data, message: self.seen.append(message)
        ready: list[int] = []
        self._client.on_subscribe = lambda *_all: ready.append(1)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        for one in filters:
            self._client.subscribe(one, qos=1)
        self.until(lambda: len(ready) == len(filters))

    def until(self, done: Any, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, "it did not come"
            time.sleep(0.01)

    def publish(self, topic: str, body: bytes, properties: Any = None, retain: bool = False) -> int:
        sent = self._client.publish(topic, body, qos=1, retain=retain, properties=properties)
        sent.wait_for_publish(30)
        return int(sent.mid)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
