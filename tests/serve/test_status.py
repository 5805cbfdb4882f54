"""The numbers of a server: what its metrics say, now and lately, and what its sweep lets expect."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image

from codec.link.client import SplitClient
from codec.link.frames import SPARED_BYTES, to_frame
from codec.link.policy import Way
from codec.link.uplinks import CHIRPSTACK
from codec.model import FeatureCodec
from codec.pipeline import Device, Server
from codec.serve import page
from codec.serve.app import create_app
from codec.serve.batching import Done
from codec.serve.comparing import expected_of
from codec.serve.metrics import Metrics
from codec.serve.models import Served
from codec.serve.settings import Limits
from codec.serve.status import N_POINTS, N_READINGS, READING_EVERY, CodecNumbers, Facts, Status
from codec.serve.uplinks import Rule
from tests.broker import NEEDED, Client, mosquitto
from tests.link.test_mqtt import on_broker
from tests.link.test_uplinks import TOPICS, sample

Picture = Callable[..., Image.Image]


@contextmanager
def serving(codec: FeatureCodec) -> Iterator[tuple[str, Any]]:
    """The address of a server in a thread, and its state; replies have the headers that they have
    under `codec serve`.
    """
    app = create_app([Served(Server(codec))])
    config = uvicorn.Config(app, port=0, log_level="critical", server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", app.state.server
    finally:
        server.should_exit = True
        thread.join(20)


def only(state: Any) -> CodecNumbers:
    (found,) = state.status.numbers().codecs
    assert isinstance(found, CodecNumbers)
    return found


def test_bytes_are_those_that_the_device_counts_on_its_socket(
    tiny_codec: FeatureCodec, picture: Picture
) -> None:
    ways = {"classify": [Way("picture:webp@24 q50", 900, 400, 1, 1, 80.0)]}
    with serving(tiny_codec) as (url, state):
        client = SplitClient(url, Device(tiny_codec), ways=ways)
        client.session.verb(False)  # the session's own bytes are of no codec
        found = [client(picture(1)), client(picture(2), quality=1), client(picture(3))]
        client.close()
        sent, end_s = sum(one.n_bytes_up for one in found), time.monotonic() + 10
        while only(state).up.get("HTTP", 0) < sent and time.monotonic() < end_s:
            time.sleep(0.01)  # the server counts a request when its reply is out
        numbers = only(state)
    assert numbers.up == {"HTTP": sent}
    assert numbers.down == {"HTTP": sum(one.n_bytes_down for one in found)}
    assert (numbers.ways["picture"], numbers.ways["blob"]) == (2, 1)
    assert numbers.body.blob == found[1].n_body_bytes


def test_a_device_tells_once_how_often_it_answered_by_itself(
    tiny_codec: FeatureCodec, picture: Picture
) -> None:
    own = [{"label": "cat", "score": 0.5}]
    with serving(tiny_codec) as (url, state):
        client = SplitClient("http://127.0.0.1:1", Device(tiny_codec), alone=lambda _image: own)
        assert [client(picture(1)).provisional for _ in range(3)] == [True] * 3
        client.session = SplitClient(url, Device(tiny_codec)).session
        client(picture(1))
        client(picture(2))
        client.close()
        assert only(state).ways == {"blob": 2, "picture": 0, "kept": 0, "alone": 3}


def test_stages_add_up_to_the_whole(tiny_codec: FeatureCodec, picture: Picture) -> None:
    with serving(tiny_codec) as (url, state):
        client = SplitClient(url, Device(tiny_codec))
        for seed in range(5):
            client(picture(seed))
        client.close()
        reading = state.metrics.read(0.0)
        for _ in range(100):  # the last one is counted when its reply is out
            if min(reading.by("stage", "taskcodec_stage_seconds_count").values()) == 5:
                break
            time.sleep(0.05)
            reading = state.metrics.read(0.0)
    sums = reading.by("stage", "taskcodec_stage_seconds_sum")
    assert reading.by("stage", "taskcodec_stage_seconds_count") == dict.fromkeys(sums, 5)
    assert sums["whole"] == pytest.approx(sums["queue"] + sums["run"] + sums["around"], abs=1e-6)
    assert sums["around"] > 0


def swept(folder: Path, codec: FeatureCodec, out: Path) -> FeatureCodec:
    """The codec, in a folder with a sweep in which no picture is as good as its best quality."""
    shutil.copytree(folder, out)
    name, rows = codec.config.name, []
    for one, quality, score, n_bytes in (
        (name, 0, 60.0, 20.0),
        (name, 1, 99.0, 22.0),
        ("webp@24", 10, 50.0, 100.0),
        ("webp@24", 50, 70.0, 300.0),
        ("avif@24", 50, 65.0, 200.0),
    ):
        sizes = dict.fromkeys(("bytes_mean", "bytes_p50", "bytes_p95"), n_bytes)
        row = {"task": "image-classification", "codec": one, "quality": quality, "score": score}
        rows.append(row | sizes | {"encode_ms": 1.0, "decode_ms": 1.0, "agreement": 80.0 + quality})
    (out / "sweep.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return FeatureCodec.from_pretrained(out)


def test_blobs_are_held_against_pictures_of_the_same_score(
    tiny_codec_folder: Path, tiny_codec: FeatureCodec, picture: Picture, tmp_path: Path
) -> None:
    codec = swept(tiny_codec_folder, tiny_codec, tmp_path / "swept")
    expected = expected_of(Served(Server(codec)))
    # the smallest that is good enough; where none is, the smallest of the best
    assert expected.picture_bytes == {("classify", 0): 200.0, ("classify", 1): 300.0}
    assert expected.agreement == {"classify": 80.0 + codec.config.default_quality}
    with serving(codec) as (url, state):
        client = SplitClient(url, Device(codec), ways={})
        found = [client(picture(1), quality=0), client(picture(2), quality=1)]
        client.close()
        numbers = only(state)
    assert numbers.compared == (sum(one.n_body_bytes for one in found), 500.0)
    assert numbers.as_pictures == numbers.up["HTTP"] - numbers.compared.blob + 500.0


@NEEDED
def test_what_comes_over_a_broker_is_counted_where_it_is_compared(
    tiny_codec_folder: Path, tiny_codec: FeatureCodec, picture: Picture, tmp_path: Path
) -> None:
    codec = swept(tiny_codec_folder, tiny_codec, tmp_path / "swept")
    blob = Device(codec)(picture(1), 0)
    said = sample(CHIRPSTACK) | {"data": b64encode(to_frame(blob, codec.fingerprint)).decode()}
    rules = [Rule(None, "tiny", "classify", None)]
    with (
        mosquitto(tmp_path / "broker") as broker,
        on_broker(broker.url("server"), codec, rules=rules) as state,
    ):
        client = SplitClient(broker.url("cam-1"), Device(codec), ways={})
        found = [client(picture(n), quality=1) for n in (1, 2)]
        client.close()
        at_mqtt = only(state)
        network = Client(broker, "codec/v1/uplink/+/+/answer")
        for n in (1, 2):  # twice the same frame, which was on the air once
            network.publish(TOPICS[CHIRPSTACK], json.dumps(said).encode())
            network.until(lambda n=n: len(network.seen) == n)
        network.close()
        text, numbers = page.details(state.status.numbers()), only(state)
    # the session is of no codec; of each reply the device acknowledges the message, in 4 bytes
    session = found[0].n_bytes_up - found[1].n_bytes_up + found[1].n_body_bytes
    session -= found[0].n_body_bytes
    assert at_mqtt.up == {"MQTT": sum(one.n_bytes_up - 4 for one in found) - session}
    assert numbers.up == at_mqtt.up | {"LoRaWAN": 13 + len(blob) - SPARED_BYTES}
    n_blobs = sum(one.n_body_bytes for one in found) + len(blob)
    assert numbers.compared == (n_blobs, 2 * 300.0 + 200.0)
    assert numbers.as_pictures == sum(numbers.up.values()) - n_blobs + 800.0
    for shown in ("MQTT up", "MQTT down", "LoRaWAN up", "all up with such pictures"):
        assert f">{shown}<" in text
    assert "LoRaWAN down" not in text
    assert "HTTP" not in text


def test_a_sweep_that_cannot_be_read_lets_expect_nothing(
    tiny_codec_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(tiny_codec_folder, tmp_path / "codec")
    (tmp_path / "codec" / "sweep.jsonl").write_text("no JSON\n")
    codec = FeatureCodec.from_pretrained(tmp_path / "codec")
    assert not expected_of(Served(Server(codec))).picture_bytes
    assert "not JSON" in caplog.text


def test_percentiles_are_of_the_last_quarter_of_an_hour() -> None:
    metrics = Metrics()
    status = Status(metrics, [Facts("tiny", "00", {})], Limits(), clock=lambda: 1000.0)

    def run(whole_ms: float) -> None:
        done = Done({}, 0.0, whole_ms, 1)
        metrics.done("tiny", done)
        metrics.whole("tiny", whole_ms / 1000, done)

    run(20_000.0)
    before = status.sample()
    assert before.p50_ms is not None
    assert before.p50_ms > 10_000
    for _ in range(N_READINGS * READING_EVERY):
        empty = status.sample()
    assert empty.p50_ms is None, "a point is of the time since the last one"
    for _ in range(10):
        run(4.0)
    numbers = status.numbers()
    assert numbers.whole_ms[2] is not None
    assert numbers.whole_ms[2] < 10
    assert numbers.codecs[0].ways["blob"] == 11, "counts are since the start"
    assert len(status.points) == N_POINTS


def test_the_age_of_the_queue_is_that_of_the_oldest(tiny_codec: FeatureCodec) -> None:
    app = create_app([Served(Server(tiny_codec))])  # whose workers have not started
    state = app.state.server
    queue = state.queues[tiny_codec.config.name]

    async def wait() -> None:
        tasks = [asyncio.create_task(queue.run(None)) for _ in range(2)]
        await asyncio.sleep(0.05)
        (numbers,) = state.status.numbers().codecs
        assert numbers.n_waiting == 2
        assert 0.04 < numbers.oldest_s < 5
        pictures = [asyncio.create_task(state.pictures.run(None)) for _ in range(3)]
        await asyncio.sleep(0)
        both = state.status.numbers()
        assert both.n_waiting == 5, "pictures that wait to be decoded are among them"
        assert both.oldest_s >= numbers.oldest_s
        assert b"taskcodec_undecoded_pictures 3.0" in state.metrics.text()
        for task in tasks + pictures:
            task.cancel()
        await asyncio.gather(*tasks, *pictures, return_exceptions=True)

    asyncio.run(wait())


def test_a_picture_that_waits_to_be_decoded_may_be_the_oldest(tiny_codec: FeatureCodec) -> None:
    state = create_app([Served(Server(tiny_codec))]).state.server

    async def wait() -> None:
        task = asyncio.create_task(state.pictures.run(None))
        await asyncio.sleep(0.05)
        numbers = state.status.numbers()
        assert numbers.n_waiting == 1
        assert 0.04 < numbers.oldest_s < 5
        assert re.search(r"Waiting</dt><dd>1</dd><dd>oldest \d+ ms<", page.summary(numbers))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(wait())
