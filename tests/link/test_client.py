"""The device's end against a real server: the same answers as without a link."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from PIL import Image

from codec.link.client import SplitClient
from codec.model import FeatureCodec
from codec.pipeline import Device, Server
from codec.serve.app import create_app
from codec.serve.models import Served
from codec.serve.tokens import Tokens

Picture = Callable[..., Image.Image]
TOKEN = "token-of-the-first-camera"


@contextmanager
def serving(*codecs: FeatureCodec, tokens: Tokens = Tokens({})) -> Iterator[str]:  # noqa: B008
    """The address of a server of these codecs on this machine."""
    app = create_app([Served(Server(codec)) for codec in codecs], tokens)
    config = uvicorn.Config(app, port=0, log_level="critical", access_log=False)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not running.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.should_exit = True
        thread.join(20)


def test_a_picture_gets_the_label_that_the_library_gives(
    tiny_codec: FeatureCodec, picture: Picture
) -> None:
    tokens = Tokens({TOKEN: "cam-1"})
    with serving(tiny_codec, tokens=tokens) as url:
        client = SplitClient(url, Device(tiny_codec), TOKEN)
        answers = [client(picture(seed), quality=1) for seed in (1, 2)]
        client.close()
    for seed, found in zip((1, 2), answers, strict=True):
        blob = Device(tiny_codec)(picture(seed), 1)
        best = Server(tiny_codec)(blob)[0]
        assert found.answer[0]["label"] == best.label
        assert found.quality == 1
        assert found.n_blob_bytes == len(blob) - 3, "in a session"
        assert found.n_bytes_up > found.n_blob_bytes + 50, "headers are counted"
        assert set(found.stages_ms) == {"encode", "link", "queue", "run"}
        assert min(found.stages_ms.values()) >= 0


def test_captions_and_answers_come_over_the_link(
    tiny_blip_codec: FeatureCodec, picture: Picture
) -> None:
    asked = ["how many red things ?", "what colour, is the cube ?"]
    with serving(tiny_blip_codec) as url:
        client = SplitClient(url, Device(tiny_blip_codec))
        caption, answers = client(picture(1)), client(picture(1), asked)
        one = client(picture(1), asked[0])
        client.close()
    blob, server = Device(tiny_blip_codec)(picture(1)), Server(tiny_blip_codec)
    assert caption.answer == server.caption(blob)
    assert answers.answer == server.answer(blob, asked)
    assert one.answer == answers.answer[:1]


def test_a_server_that_forgot_the_session_gets_another_one(
    tiny_codec: FeatureCodec, picture: Picture
) -> None:
    with serving(tiny_codec) as first:
        client = SplitClient(first, Device(tiny_codec))
        before = client(picture(1))
    with serving(tiny_codec) as second:
        client.connection = SplitClient(second, Device(tiny_codec)).connection
        assert client(picture(1)).answer == before.answer
        client.close()


def test_the_same_number_gets_the_same_reply(tiny_codec: FeatureCodec, picture: Picture) -> None:
    with serving(tiny_codec) as url:
        client = SplitClient(url, Device(tiny_codec))
        first, again = (client(picture(1), sequence=3) for _ in range(2))
        assert first.answer == again.answer
        assert "run" not in again.stages_ms, "nothing was run"
        with pytest.raises(ValueError, match=r"409: .* another content"):
            client(picture(2), sequence=3)
        client.close()


def test_a_server_without_the_codec_says_which_it_has(
    tiny_codec: FeatureCodec, tiny_blip_codec: FeatureCodec, picture: Picture
) -> None:
    with serving(tiny_codec) as url:
        client = SplitClient(url, Device(tiny_blip_codec))
        with pytest.raises(ValueError, match=f"it has {tiny_codec.config.name}"):
            client(picture(1))
        client.close()


def test_a_wrong_token_and_a_codec_that_only_answers_are_named(
    tiny_codec: FeatureCodec, picture: Picture
) -> None:
    with serving(tiny_codec, tokens=Tokens({TOKEN: "cam-1"})) as url:
        client = SplitClient(url, Device(tiny_codec), "token-of-somebody-else")
        with pytest.raises(ValueError, match="401: a bearer token") as caught:
            client(picture(1))
        assert "somebody" not in str(caught.value)
        client.close()


def test_what_is_no_codec_is_named(tmp_path: Path) -> None:
    with pytest.raises((FileNotFoundError, ValueError), match="nothing"):
        SplitClient("http://127.0.0.1:1", tmp_path / "nothing")


def test_the_devices_end_loads_no_torch() -> None:
    code = "import sys, codec.link.client; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
