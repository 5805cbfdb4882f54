"""What a server remembers, whoever keeps it: its own process, or one that several servers share."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from codec.coding.container import shorten
from codec.link.session import BLOB_TYPE
from codec.model import FeatureCodec
from codec.pipeline import Device, Server
from codec.serve.answering import Asked, Reply, answer
from codec.serve.app import create_app
from codec.serve.memory import OwnMemory
from codec.serve.models import Served
from codec.serve.replies import Replies
from codec.serve.settings import Limits
from codec.serve.shapes import AskHeaders

Picture = Callable[..., Image.Image]
BLOB = {"Content-Type": "application/octet-stream"}
DEFAULT = Limits()


class Shared(OwnMemory):
    """A memory in which another server's reply was first, where `first` names one."""

    first: bytes | None = None

    async def keep_reply(self, device: str, sequence: int, digest: bytes, reply: bytes) -> bytes:
        return await super().keep_reply(device, sequence, digest, self.first or reply)


class Slow(OwnMemory):
    """A memory that keeps a reply after a while."""

    def __init__(self, replies: Replies) -> None:
        super().__init__(DEFAULT, replies)
        self.asked, self.goes_on = asyncio.Event(), asyncio.Event()

    async def keep_reply(self, device: str, sequence: int, digest: bytes, reply: bytes) -> bytes:
        self.asked.set()
        await self.goes_on.wait()
        return await super().keep_reply(device, sequence, digest, reply)


class Away(OwnMemory):
    """A memory that cannot be reached."""

    async def session(self, device: str, name: str) -> str | None:
        raise OSError("it does not answer")


def test_of_two_runs_of_a_request_the_reply_that_was_kept_first_is_sent(
    tiny_codec: FeatureCodec, picture: Picture, tmp_path: Path
) -> None:
    memory = Shared(DEFAULT, Replies(tmp_path / "replies"))
    memory.first = b'{"said": "by another server"}'
    path = f"/v1/{tiny_codec.config.name}/classify"
    asked = {"content": Device(tiny_codec)(picture(1)), "headers": BLOB | {"Sequence": "1"}}
    with TestClient(create_app([Served(Server(tiny_codec))], memory=memory)) as client:
        assert client.post(path, **asked).content == memory.first
        assert client.post(path, **asked).content == memory.first


def test_a_reply_is_kept_though_who_asked_is_gone_and_the_request_is_not_run_again(
    tiny_codec: FeatureCodec, picture: Picture, tmp_path: Path
) -> None:
    blob, name = Device(tiny_codec)(picture(1)), tiny_codec.config.name
    asked = Asked(name, "classify", "cam", BLOB_TYPE, "x", AskHeaders(sequence=1))

    async def twice() -> tuple[Reply, float]:
        memory = Slow(Replies(tmp_path / "replies"))
        state = create_app([Served(Server(tiny_codec))], memory=memory).state.server
        for _, queue in state.workers:
            queue.start()
        try:
            first = asyncio.ensure_future(answer(state, asked, blob))
            await asyncio.wait_for(memory.asked.wait(), 20)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            memory.goes_on.set()
            while len(memory._replies) < 1:
                await asyncio.sleep(0.01)
            return await answer(state, asked, blob), state.metrics.read(0.0).total(
                "taskcodec_ways_total"
            )
        finally:
            for _, queue in state.workers:
                queue.stop()

    again, n_runs = asyncio.run(asyncio.wait_for(twice(), 60))
    assert again.done is None, "it was not run again"
    assert n_runs == 1


def test_servers_with_one_memory_know_each_others_replies_blobs_and_sessions(
    tiny_codec: FeatureCodec, picture: Picture, tmp_path: Path
) -> None:
    memory = OwnMemory(DEFAULT, Replies(tmp_path / "replies"))
    blob, fingerprint = Device(tiny_codec)(picture(1)), tiny_codec.fingerprint
    path = f"/v1/{tiny_codec.config.name}"
    apps = [create_app([Served(Server(tiny_codec))], memory=memory) for _ in range(2)]
    with TestClient(apps[0]) as one, TestClient(apps[1]) as other:
        headers = BLOB | {"Sequence": "7"}
        first = one.post(f"{path}/classify?keep=true", content=blob, headers=headers)
        again = other.post(f"{path}/classify?keep=true", content=blob, headers=headers)
        assert again.content == first.content
        assert "Server-Timing" not in again.headers  # nothing was run
        later = other.post(f"{path}/classify?blob={first.json()['id']}")
        assert later.json()["labels"] == first.json()["labels"]
        opened = one.post("/v1/sessions", json={"fingerprint": fingerprint.hex()}).json()
        session = BLOB | {"Session": opened["session"]}
        short = shorten(blob, fingerprint)
        assert other.post(f"{path}/classify", content=short, headers=session).status_code == 200
        assert other.delete(f"{path}/blobs/{first.json()['id']}").status_code == 204
        assert one.post(f"{path}/classify?blob={first.json()['id']}").status_code == 404


def test_a_memory_that_does_not_answer_is_said_with_when_to_come_again(
    tiny_codec: FeatureCodec, picture: Picture, tmp_path: Path
) -> None:
    memory = Away(DEFAULT, Replies(tmp_path / "replies"))
    with TestClient(create_app([Served(Server(tiny_codec))], memory=memory)) as client:
        reply = client.post(
            f"/v1/{tiny_codec.config.name}/classify",
            content=b"short",
            headers=BLOB | {"Session": "any"},
        )
        assert reply.status_code == 503
        assert reply.headers["Retry-After"] == "1"
        assert "does not answer" in json.loads(reply.content)["detail"]


def test_a_store_that_stalls_holds_back_no_request_for_long_and_no_other_at_all(
    tiny_codec: FeatureCodec, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, begin, file = threading.Event(), Replies.begin, io.BytesIO()

    def stalled(*asked: Any) -> bytes | None:
        assert gate.wait(60)
        return begin(*asked)

    monkeypatch.setattr(Replies, "begin", stalled)
    monkeypatch.setattr("codec.serve.storing.ANSWER_S", 1.0)
    picture(1).save(file, "png")
    app, path = create_app([Served(Server(tiny_codec))]), f"/v1/{tiny_codec.config.name}/classify"
    with TestClient(app) as client, ThreadPoolExecutor(40) as pool:  # more than asyncio has threads

        def numbered(number: int) -> Any:
            return client.post(path, content=b"any", headers=BLOB | {"Sequence": str(number)})

        try:
            asked = [pool.submit(numbered, number) for number in range(40)]
            other = client.post(
                path, content=file.getvalue(), headers={"Content-Type": "image/png"}
            )
            assert other.status_code == 200
            for one in asked:
                reply = one.result(20)
                assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
                assert reply.json()["detail"].endswith("reached: no answer within 1 seconds")
        finally:
            gate.set()


@pytest.mark.parametrize(
    ("options", "reason"),
    [(("--ray-config", "ray.yaml"), "--ray-config is for --ray")],
)
def test_a_config_of_ray_without_ray_is_refused(options: tuple[str, ...], reason: str) -> None:
    from typer.testing import CliRunner

    from codec.cli.app import app as cli

    result = CliRunner().invoke(cli, ["serve", "tiny", *options])
    assert result.exit_code == 2
    assert reason in result.stderr
