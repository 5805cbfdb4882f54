"""Several copies of the server behind Ray's proxy, asked by many devices while one is killed:

    python -m tests.serve.copies CODEC --requests 400 --kill server memory

Prints what happened as one line of JSON; raises where a request is lost, or answered wrongly or in
two ways. Needs the extra `ray`; `make ray` installs it and runs the test.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from codec.cli.scaling import ALONE
from codec.link.http import Connection
from codec.pipeline import Device, Server

START_S, ANSWER_S = 600.0, 300.0
BLOB = {"Content-Type": "application/octet-stream"}
PORTS = ("port", "dashboard-agent-grpc-port", "dashboard-agent-listen-port")
PORTS += ("runtime-env-agent-port", "node-manager-port", "object-manager-port")
PORTS += ("metrics-export-port",)


def free_ports(n: int) -> list[int]:
    """Ports of this machine that nothing listens on."""
    with contextlib.ExitStack() as taken:
        found = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(n)]
        return [one.getsockname()[1] for one in found]


@contextlib.contextmanager
def ended(command: Sequence[str], log: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process, which is told to end with the context."""
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | more
        ) as process,
    ):
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def ray_head(folder: Path, n_cpus: int) -> Iterator[dict[str, str]]:
    """A Ray at loopback; gives the variables that lead to it. On a machine that is very busy it may
    not start: its parts wait for one another for 15 seconds.
    """
    ports = free_ports(len(PORTS))
    own = ALONE | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    own |= {"RAY_worker_register_timeout_seconds": "300"}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += [f"--{name}={port}" for name, port in zip(PORTS, ports, strict=True)]
    command += ["--include-dashboard=false", "--object-store-memory=134217728"]
    command += [f"--num-cpus={n_cpus}", f"--temp-dir={folder}"]
    with ended(command, folder / "ray.log", **own) as process:
        deadline = time.monotonic() + START_S
        while b"Ray runtime started" not in (folder / "ray.log").read_bytes():
            assert process.poll() is None, (folder / "ray.log").read_text()
            assert time.monotonic() < deadline, "Ray does not start"
            time.sleep(0.5)
        yield own | {"RAY_ADDRESS": f"127.0.0.1:{ports[0]}"}


@contextlib.contextmanager
def served(codec: str, folder: Path, *options: str, **more: str) -> Iterator[str]:
    """`codec serve`, ready; gives its address."""
    (port,) = free_ports(1)
    url, log = f"http://127.0.0.1:{port}", folder / "serve.log"
    command = [sys.executable, "-m", "codec.cli", "serve", codec, "--port", str(port), *options]
    with ended(command, log, **more) as process:
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(ValueError):
                if Connection(url, timeout_s=5).get("/readyz").status == 200:
                    break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.3)
        yield url


def copies(deployment: str, token: str) -> list[int]:
    """Process ids of a deployment's copies, of the Ray with this token alone."""
    title = f"ray::ServeReplica:codec:{deployment}".encode()
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if file.read_bytes().startswith(title) and token.encode() in (
                file.with_name("environ").read_bytes()
            ):
                found.append(int(file.parent.name))
    return found


class Devices:
    """Devices that ask until each of their requests is answered, and count what came instead."""

    def __init__(self, url: str, codec: str, n_blobs: int = 8) -> None:
        device, server = Device.from_pretrained(codec), Server.from_pretrained(codec)
        drawn = np.random.default_rng(0).integers(0, 256, (n_blobs, 32, 32, 3), np.uint8)
        self.blobs: list[bytes] = device([Image.fromarray(one) for one in drawn])
        self._expected = [server(blob, top_k=1)[0].label for blob in self.blobs]
        self._url, self._path = url, f"/v1/{server.codec.config.name}/classify"
        self.instead: Counter[str] = Counter()
        self.n_done = 0

    def ask(self, wire: Connection, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        """The reply to one request, however often it must be sent."""
        deadline = time.monotonic() + ANSWER_S
        while True:
            try:
                reply = wire.post(path, body, headers)
                if reply.status == 200:
                    return reply.body
                what = str(reply.status)
                assert reply.status >= 500, (reply.status, reply.body)
            except ValueError:
                what = "no reply"
            self.instead[what] += 1
            assert time.monotonic() < deadline, f"no answer: {dict(self.instead)}"
            time.sleep(0.2)

    def live(self, name: str, n_requests: int) -> None:
        """One device: each blob is kept and asked, then asked again, as one that had no reply."""
        wire = Connection(self._url, timeout_s=30)
        for number in range(n_requests):
            place = number % len(self.blobs)
            headers = BLOB | {"Sequence": str(number), "Device": name}
            target = f"{self._path}?keep=true"
            first = self.ask(wire, target, self.blobs[place], headers)
            said = json.loads(first)
            assert said["labels"][0]["label"] == self._expected[place], said
            assert self.ask(wire, target, self.blobs[place], headers) == first
            self.n_done += 1
        wire.close()


def kill_under_load(
    codec: str, url: str, token: str, n_requests: int, kills: Sequence[str], n_devices: int = 8
) -> dict[str, Any]:
    """Kill a copy of each deployment in turn while devices ask; gives what happened."""
    devices = Devices(url, codec)
    n_each, killed = n_requests // n_devices, []
    with ThreadPoolExecutor(n_devices) as pool:
        lives = [pool.submit(devices.live, f"d{i}", n_each) for i in range(n_devices)]
        for turn, deployment in enumerate(kills, 1):
            while devices.n_done < turn * n_requests // (len(kills) + 1):
                assert any(not life.done() for life in lives), [life.exception() for life in lives]
                time.sleep(0.02)
            before = copies(deployment, token)
            os.kill(before[0], signal.SIGKILL)
            killed.append(deployment)
        for life in lives:
            life.result()
    assert devices.n_done == n_each * n_devices
    happened = {"n_requests": devices.n_done, "killed": killed}
    return happened | {"n_sent_again": devices.instead.total(), "instead": dict(devices.instead)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("codec")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--kill", nargs="*", default=["server", "memory"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with ray_head(folder, 3) as own, served(args.codec, folder, "--ray", **own) as url:
            token = own["RAY_AUTH_TOKEN"]
            print(json.dumps(kill_under_load(args.codec, url, token, args.requests, args.kill)))


if __name__ == "__main__":
    main()
