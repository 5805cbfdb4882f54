"""Shadow checks: the codec's answer held against the uncut model's, while nobody waits for it."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from codec.model import FeatureCodec
from codec.pipeline import Device, Server
from codec.serve import shadow as module
from codec.serve.app import create_app
from codec.serve.metrics import Metrics
from codec.serve.models import Job, Served
from codec.serve.settings import Limits
from codec.serve.shadow import Shadow

Picture = Callable[..., Image.Image]
PNG = {"Content-Type": "image/png"}


def as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def outcomes(client: TestClient, name: str, task: str) -> dict[str, float]:
    state: Any = client.app.state.server  # type: ignore[attr-defined]
    reading = state.metrics.read(0.0)
    found: dict[str, float] = reading.by("outcome", "taskcodec_shadow_total", codec=name, task=task)
    return found


def checked(client: TestClient, name: str, task: str, n_answers: int) -> dict[str, float]:
    """The outcomes, when so many answers have been checked."""
    deadline = time.monotonic() + 10
    while sum(found := outcomes(client, name, task).values()) < n_answers:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return outcomes(client, name, task)


def test_the_codecs_answer_is_held_against_the_uncut_models(
    tiny_codec: FeatureCodec, picture: Picture
) -> None:
    name, expected = tiny_codec.config.name, 0
    app = create_app([Served(Server(tiny_codec))], limits=Limits(shadow=1.0))
    with TestClient(app) as client:
        n_bytes = {"blob": 0, "picture": 0}
        for seed in range(6):
            file = as_png(picture(seed))
            reply = client.post(f"/v1/{name}/classify", content=file, headers=PNG).json()
            blob = Device(tiny_codec)(picture(seed))
            expected += Server(tiny_codec)(blob)[0].label == reply["labels"][0]["label"]
            found = checked(client, name, "classify", seed + 1)
            n_bytes = {
                "blob": n_bytes["blob"] + len(blob),
                "picture": n_bytes["picture"] + len(file),
            }
        reading = app.state.server.metrics.read(0.0)
        assert reading.by("kind", "taskcodec_shadow_bytes_total") == n_bytes
        page = client.get("/").text
    assert found == {"agreed": expected, "differed": 6 - expected}
    assert "Shadow check" in page
    assert f"{expected / 6:.1%} of 6" in page


def test_each_question_is_an_answer(tiny_blip_codec: FeatureCodec, picture: Picture) -> None:
    name = tiny_blip_codec.config.name
    app = create_app([Served(Server(tiny_blip_codec))], limits=Limits(shadow=1.0))
    with TestClient(app) as client:
        asked = PNG | {"Question": "how many ?,what colour ?"}
        client.post(f"/v1/{name}/answer", content=as_png(picture(1)), headers=asked)
        assert sum(checked(client, name, "answer", 2).values()) == 2
        client.post(f"/v1/{name}/caption", content=as_png(picture(1)), headers=PNG)
        assert sum(checked(client, name, "caption", 1).values()) == 1


def test_no_share_no_check_and_blobs_are_never_checked(
    tiny_codec: FeatureCodec, picture: Picture
) -> None:
    name, kind = tiny_codec.config.name, {"Content-Type": "application/octet-stream"}
    for share, body, headers in (
        (0.0, as_png(picture(1)), PNG),
        (1.0, Device(tiny_codec)(picture(1)), kind),
    ):
        app = create_app([Served(Server(tiny_codec))], limits=Limits(shadow=share))
        with TestClient(app) as client:
            client.post(f"/v1/{name}/classify", content=body, headers=headers)
            time.sleep(0.1)
            assert outcomes(client, name, "classify") == {}


class Busy:
    """A queue in which others wait, until a test says otherwise."""

    def __init__(self) -> None:
        self.n_waiting, self.n_run = 1, 0

    async def run(self, _job: Job) -> Any:
        self.n_run += 1
        return SimpleNamespace(value={"labels": [{"label": "cat", "score": 1.0}]})


def by_outcome(metrics: Metrics) -> dict[str, float]:
    return metrics.read(0.0).by("outcome", "taskcodec_shadow_total")


def test_a_check_waits_for_a_moment_in_which_no_request_does(
    tiny_codec: FeatureCodec, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    queue, metrics, served = Busy(), Metrics(), Served(Server(tiny_codec))
    queues: Any = {served.name: queue}
    job, reply = Job("classify"), {"labels": [{"label": "cat", "score": 1.0}]}

    async def checks() -> None:
        shadow = Shadow(1.0, queues, metrics)
        shadow.answered(served, job, as_png(picture(1)), reply)
        shadow.answered(served, job, as_png(picture(2)), reply)
        assert by_outcome(metrics) == {"left_out": 1}, "another one runs"
        assert shadow._running is not None
        await shadow._running
        assert by_outcome(metrics) == {"left_out": 2}, "requests waited all the time"
        assert queue.n_run == 0
        queue.n_waiting = 0
        shadow.answered(served, job, as_png(picture(1)), reply)
        await shadow._running
        shadow.answered(served, job, b"no picture", reply)
        await shadow.stop()

    asyncio.run(checks())
    assert by_outcome(metrics)["agreed"] == 1
    assert queue.n_run == 1


def test_a_check_that_fails_is_counted_and_hurts_nobody(
    tiny_codec: FeatureCodec, caplog: pytest.LogCaptureFixture
) -> None:
    metrics, served = Metrics(), Served(Server(tiny_codec))
    queues: Any = {served.name: Busy()}

    async def check() -> None:
        shadow = Shadow(1.0, queues, metrics)
        shadow.answered(served, Job("classify"), b"no secret picture", {"labels": []})
        assert shadow._running is not None
        await shadow._running

    asyncio.run(check())
    assert by_outcome(metrics) == {"failed": 1}
    assert "a shadow check" in caplog.text
    assert "secret" not in caplog.text


def test_the_share_of_the_draws_is_checked(tiny_codec: FeatureCodec) -> None:
    metrics, served = Metrics(), Served(Server(tiny_codec))
    draws, queues = iter((0.1, 0.3, 0.2, 0.9)), {served.name: Busy()}

    async def check() -> None:
        shadow = Shadow(0.25, queues, metrics, lambda: next(draws))  # type: ignore[arg-type]
        for _ in range(4):
            shadow.answered(served, Job("classify"), b"x", {"labels": []})
            if shadow._running is not None:
                await shadow._running

    asyncio.run(check())
    assert by_outcome(metrics) == {"failed": 2}
