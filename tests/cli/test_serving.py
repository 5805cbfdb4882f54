"""`codec serve`: a server on a port, for as long as it is wanted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from typer.testing import CliRunner

from codec.cli.app import app as cli
from codec.model import FeatureCodec
from codec.pipeline import Device

TOKEN = "token-of-the-first-camera"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.long
def test_a_served_codec_answers_on_its_port_until_it_is_stopped(
    tiny_codec_folder: Path,
    tiny_codec: FeatureCodec,
    picture: Callable[..., Image.Image],
    tmp_path: Path,
) -> None:
    tokens, port = tmp_path / "tokens", free_port()
    tokens.write_text(f"cam-1 {TOKEN}\n")
    command = [sys.executable, "-m", "codec.cli", "serve", str(tiny_codec_folder)]
    command += ["--port", str(port), "--token-file", str(tokens)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as server:
        try:
            base, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 90
            while True:
                try:
                    urllib.request.urlopen(f"{base}/healthz", timeout=5).close()
                    break
                except (urllib.error.URLError, OSError):
                    assert server.poll() is None, server.stderr and server.stderr.read()
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
            request = urllib.request.Request(
                f"{base}/v1/{tiny_codec.config.name}/classify",
                data=Device(tiny_codec)(picture(1)),
                headers={
                    "Content-Type": "application/octet-stream",
                    "Authorization": f"Bearer {TOKEN}",
                },
            )
            with urllib.request.urlopen(request, timeout=30) as reply:
                assert b'"labels"' in reply.read()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
        assert server.stderr is not None
        assert TOKEN.encode() not in server.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("tiny", "--host", "0.0.0.0"), "name a --token-file"),
        (("tiny", "--tls-cert", "cert.pem"), "belong together"),
        (("tiny", "--tls-cert", "no.pem", "--tls-key", "no.pem"), "there is no file no.pem"),
        (("tiny", "--token-file", "no-tokens"), "no-tokens"),
        (("nothing-of-this-name",), "nothing-of-this-name"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    shipped: SimpleNamespace, arguments: tuple[str, ...], reason: str
) -> None:
    result = CliRunner().invoke(cli, ["serve", *arguments])
    assert result.exit_code == 2, result.output
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1
