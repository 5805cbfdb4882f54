"""The status page in a browser: its script runs under its own rules, and listens."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import uvicorn
from PIL import Image

from codec.model import FeatureCodec
from codec.pipeline import Server
from codec.serve.app import create_app
from codec.serve.models import Served
from codec.serve.running import Stopping

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.long
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_a_browser_runs_the_script_and_breaks_no_rule(
    tiny_codec: FeatureCodec, tmp_path: Path
) -> None:
    assert CHROMIUM is not None
    app = create_app([Served(Server(tiny_codec))])
    status, heard = app.state.server.status, threading.Event()
    for _ in range(3):
        status.sample()  # so that there are charts to draw
    server = Stopping(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()

    def listen() -> None:
        while not heard.is_set() and thread.is_alive():
            if status.events.n_listeners:
                heard.set()
            time.sleep(0.005)

    watching = threading.Thread(target=listen, daemon=True)
    watching.start()
    port, picture = server.servers[0].sockets[0].getsockname()[1], tmp_path / "page.png"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--window-size=500,1500", f"--screenshot={picture}"]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, timeout=60
    )
    assert heard.is_set(), "the page listens"
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not said, "\n".join(said)
    with Image.open(picture) as seen:
        assert seen.width == 500
