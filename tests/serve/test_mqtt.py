"""The server's end of MQTT: what comes is answered once, what is wrong is refused, and nothing of
it ends the rest.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from PIL import Image
from typer.testing import CliRunner

from codec.cli.app import app as cli
from codec.link.airtime import lora_airtime_s
from codec.link.frames import to_frame
from codec.link.properties import read, written
from codec.link.uplinks import CHIRPSTACK, THINGS_STACK, read_uplink
from codec.model import FeatureCodec
from codec.pipeline import Device, Server
from codec.serve.counters import Counters
from codec.serve.mqtt import Mqtt
from codec.serve.problems import ProblemError
from codec.serve.settings import Limits
from codec.serve.uplinks import Rule, rule_in
from tests.broker import NEEDED, Client, Mosquitto, mosquitto
from tests.link.test_mqtt import count, on_broker, wait_for
from tests.link.test_uplinks import TOPICS, sample

Picture = Callable[..., Image.Image]
REQUEST = "codec/v1/tiny/cam-1/classify"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path / "broker") as running:
        yield running


def uplink(network: str, frame: bytes, counter: int = 12, port: int = 1, **more: Any) -> bytes:
    """A network's message with another frame."""
    said, coded = copy.deepcopy(sample(network)), base64.b64encode(frame).decode()
    inner = said.get("uplink_message", said)
    names = ("f_cnt", "f_port", "frm_payload") if inner is not said else ("fCnt", "fPort", "data")
    inner |= dict(zip(names, (counter, port, coded), strict=True)) | more
    return json.dumps(said).encode()


def counter_of(answer: Any) -> int:
    return int(json.loads(answer.payload)["counter"])


def ask(client: Client, topic: str, body: bytes, retain: bool = False, **headers: str) -> Any:
    """The reply to a request: its properties and its JSON."""
    n_seen = len(client.seen)
    client.publish(topic, body, written(headers, b"\1\2"), retain)
    client.until(lambda: len(client.seen) > n_seen)
    reply = client.seen[-1]
    assert reply.topic == f"{topic}/reply"
    said = read(reply.properties)
    assert said.correlation == b"\1\2"
    return said, json.loads(reply.payload)


@NEEDED
def test_what_is_asked_wrongly_is_refused_and_counted_and_the_rest_goes_on(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    blob = Device(tiny_codec)(picture(1))
    client = Client(broker, "codec/v1/+/+/+/reply")
    with on_broker(broker.url(), tiny_codec) as state:
        for topic, body, headers, status, reason in (
            (REQUEST, b"", {}, 400, "empty"),
            (REQUEST, blob[:-1] + bytes([blob[-1] ^ 1]), {}, 400, "damaged"),
            (REQUEST, bytes(Limits.blob_bytes + 1), {}, 413, "more than"),
            (REQUEST, blob, {"Content-Type": "text/html"}, 415, "octet-stream"),
            (REQUEST, blob, {"Sequence": "-1"}, 422, "sequence"),
            (REQUEST, blob, {"top_k": "0"}, 422, "top_k"),
            (REQUEST, blob, {"Session": "old"}, 404, "no such session"),
            ("codec/v1/other/cam-1/classify", blob, {}, 404, "does not serve"),
            ("codec/v1/tiny/cam-1/caption", blob, {}, 404, "does not caption"),
            ("codec/v1/tiny/cam-1/dance", blob, {}, 404, "classify"),
            ("codec/v1/tiny/c%20m/classify", blob, {}, 400, "letters"),
            ("codec/v1/sessions/cam-1/open", b"{", {}, 422, "JSON"),
        ):
            said, problem = ask(client, topic, body, **headers)
            assert said.kind == "application/problem+json"
            assert (problem["status"], problem["type"]) == (status, "about:blank"), problem
            assert reason in problem["detail"]
        assert "retained" in ask(client, REQUEST, blob, retain=True)[1]["detail"]
        assert "labels" in ask(client, REQUEST, blob)[1]
        assert count(state, outcome="refused") == 13
        assert count(state, outcome="answered") == 1
    client.close()


@NEEDED
def test_bodies_count_with_those_of_http_and_are_refused_where_they_fill_the_memory(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    blob, client = Device(tiny_codec)(picture(1)), Client(broker, "codec/v1/+/+/+/reply")
    uplinks = Client(broker, "codec/v1/uplink/+/+/answer")
    rules = [Rule(1, "tiny", "classify", None)]
    message = uplink(CHIRPSTACK, to_frame(blob, tiny_codec.fingerprint))
    with on_broker(broker.url(), tiny_codec, rules=rules) as state:
        over_http = [state.bodies.held(f"cam-{number}") for number in range(28)]
        for number, one in enumerate(over_http, 1):  # together all but a byte
            one.add(Limits.bodies_bytes >> number)
        said, problem = ask(client, REQUEST, blob)
        assert (problem["status"], "memory" in problem["detail"]) == (503, True)
        assert said.headers["retry-after"] == "1"
        uplinks.publish(TOPICS[CHIRPSTACK], message)
        uplinks.until(lambda: len(uplinks.seen) == 1)
        assert json.loads(uplinks.seen[0].payload)["problem"]["status"] == 503
        for one in over_http:
            one.end()
        assert "labels" in ask(client, REQUEST, blob)[1]
        uplinks.publish(TOPICS[CHIRPSTACK], message)
        uplinks.until(lambda: len(uplinks.seen) == 2)
        assert "reply" in json.loads(uplinks.seen[1].payload)
        wait_for(lambda: state.bodies.n_bytes == 0)
    client.close()
    uplinks.close()


@NEEDED
def test_a_connection_that_ends_leaves_no_body_counted(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    async def late(*_all: Any) -> Any:
        while not over.is_set():
            await asyncio.sleep(0.01)
        raise ProblemError(503, "too late")

    monkeypatch.setattr("codec.serve.messages.answer", late)
    client, blob = Client(broker), Device(tiny_codec)(picture(1))
    with on_broker(broker.url(), tiny_codec) as state:
        for _ in range(100):  # 64 in work, the others wait
            client._client.publish(REQUEST, blob, qos=0)
        wait_for(lambda: state.bodies.n_bytes == 100 * len(blob))
        broker.kill()
        over.set()
        wait_for(lambda: state.bodies.n_bytes == 0)
    client.close()


@NEEDED
def test_blobs_are_kept_and_asked_again_by_their_device_alone(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    client = Client(broker, "codec/v1/+/+/+/reply")
    with on_broker(broker.url(), tiny_codec):
        kept = ask(client, REQUEST, Device(tiny_codec)(picture(1)), keep="true")[1]
        assert ask(client, REQUEST, b"", blob=kept["id"])[1]["labels"] == kept["labels"]
        other = ask(client, REQUEST.replace("cam-1", "cam-2"), b"", blob=kept["id"])[1]
        assert other["status"] == 404
    client.close()


@NEEDED
def test_a_fault_of_the_servers_own_is_one_reply_and_names_nothing_of_the_message(
    broker: Mosquitto, tiny_codec: FeatureCodec, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def broken(*_all: Any) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr("codec.serve.messages.answer", broken)
    client = Client(broker, "codec/v1/+/+/+/reply")
    with on_broker(broker.url(), tiny_codec) as state:
        for _ in range(2):
            assert ask(client, REQUEST, b"")[1]["status"] == 500
        assert count(state, outcome="failed") == 2
    client.close()
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


@NEEDED
def test_a_message_that_no_answer_can_be_sent_to_is_done_with_and_the_rest_goes_on(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture, caplog: Any
) -> None:
    blob, client = Device(tiny_codec)(picture(1)), Client(broker, "codec/v1/+/+/+/reply")
    with on_broker(broker.url(), tiny_codec, rules=[Rule(1, "tiny", "classify", None)]) as state:
        client.publish(f"codec/v1/{'a' * 65_511}/cam-1/classify", blob)
        client.publish("v3//devices/x/up", blob)
        client.publish(f"v3/a/devices/{'x' * 65}/up", blob)
        assert "labels" in ask(client, REQUEST, blob)[1]
        assert count(state, outcome="failed") == 3
        assert count(state, kind="uplink", outcome="failed") == 2
        assert "1,024" in ask(client, f"codec/v1/{'a' * 1000}/cam-1/classify", blob)[1]["detail"]
    client.close()
    assert "again" not in caplog.text, "the connection has not ended"


@NEEDED
@pytest.mark.parametrize("network", TOPICS)
def test_uplinks_are_answered_once_for_the_application(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture, network: str, tmp_path: Path
) -> None:
    blobs = [Device(tiny_codec)(picture(seed), 0) for seed in range(3)]
    frames = [to_frame(blob, tiny_codec.fingerprint) for blob in blobs]
    client = Client(broker, "codec/v1/uplink/+/+/answer")
    rules = [Rule(None, "tiny", "classify", None)]
    with on_broker(broker.url(), tiny_codec, rules=rules, state=tmp_path / "state") as state:
        for counter, frame in ((12, frames[0]), (14, frames[1]), (14, frames[1])):
            client.publish(TOPICS[network], uplink(network, frame, counter))
        client.until(lambda: len(client.seen) == 3)
        found = [json.loads(one.payload) for one in client.seen]
        assert [one["counter"] for one in found] == [12, 14, 14]
        for one, blob in zip(found, (blobs[0], blobs[1], blobs[1]), strict=True):
            expected = Server(tiny_codec)(blob)[0]
            assert one["reply"]["labels"][0]["label"] == expected.label
            assert one["airtime_s"] > 1
        assert found[1] == found[2], "the same answer, and nothing was run"
        reading = state.metrics.read(0.0)
        assert reading.total("taskcodec_ways_total") == 2
        assert reading.total("taskcodec_uplink_frames_total", what="missing") == 1
        assert reading.total("taskcodec_uplink_frames_total", what="repeated") == 1
        ((device, seen),) = state.status.devices.latest()
        assert device.startswith(f"{network}:")
        assert seen.airtime_s == pytest.approx(found[0]["airtime_s"] + found[1]["airtime_s"])
        assert seen.budget_s == 30
        ((owned,),) = state.memory._replies._database.rows("SELECT name FROM devices")
        assert owned == "/".join(device.rsplit(":", 1)), "the application owns its devices"
    client.close()


@NEEDED
@pytest.mark.parametrize("change", ["start", "join", "no times"])
def test_uplinks_that_come_again_after_a_device_began_anew_have_the_same_answers(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture, change: str, tmp_path: Path
) -> None:
    frames = [to_frame(Device(tiny_codec)(picture(n)), tiny_codec.fingerprint) for n in range(3)]
    messages = []
    for n, (counter, frame) in enumerate(zip((5, 0, 1), frames, strict=True)):
        time_of = None if change == "no times" else f"2026-11-27T10:00:0{n}Z"
        session = "00189441" if change == "join" and n else "00189440"
        messages.append(uplink(CHIRPSTACK, frame, counter, time=time_of, devAddr=session))
    client = Client(broker, "codec/v1/uplink/+/+/answer")

    def answers(*which: int) -> list[bytes]:
        n_before = len(client.seen)
        for n in which:
            client.publish(TOPICS[CHIRPSTACK], messages[n])
        client.until(lambda: len(client.seen) == n_before + len(which))
        return [one.payload for one in client.seen[n_before:]]

    more: Any = {"rules": [Rule(None, "tiny", "classify", None)], "state": tmp_path / "state"}
    with on_broker(broker.url(), tiny_codec, **more) as state:
        first = answers(0, 1)
        assert answers(0, 1) == first
        assert state.metrics.read(0.0).total("taskcodec_ways_total") == 2
    with on_broker(broker.url(), tiny_codec, **more) as state:
        assert answers(0, 1, 2)[:2] == first
        assert state.metrics.read(0.0).total("taskcodec_ways_total") == 1, "the new one"
    assert all("reply" in json.loads(one.payload) for one in client.seen)
    client.close()


@NEEDED
@pytest.mark.parametrize("error", [OSError("no room on the disk"), TimeoutError("it is locked")])
def test_an_uplink_waits_for_a_store_that_fails(
    broker: Mosquitto,
    tiny_codec: FeatureCodec,
    picture: Picture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    place, n_failed = Counters.place, 2

    def failing(self: Any, came: Any) -> Any:
        nonlocal n_failed
        if n_failed:
            n_failed -= 1
            raise error
        return place(self, came)

    monkeypatch.setattr(Counters, "place", failing)
    monkeypatch.setattr("codec.serve.uplinks.WAIT_S", 0.01)
    frame = to_frame(Device(tiny_codec)(picture(1)), tiny_codec.fingerprint)
    client = Client(broker, "codec/v1/uplink/+/+/answer")
    with on_broker(broker.url(), tiny_codec, rules=[Rule(None, "tiny", "classify", None)]):
        client.publish(TOPICS[CHIRPSTACK], uplink(CHIRPSTACK, frame))
        client.until(lambda: len(client.seen) == 1)
        assert "reply" in json.loads(client.seen[0].payload)
        assert n_failed == 0
    client.close()


@NEEDED
def test_uplinks_that_are_wrong_are_refused_where_the_application_listens(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    frame = to_frame(Device(tiny_codec)(picture(1)), tiny_codec.fingerprint)
    client = Client(broker, "codec/v1/uplink/+/+/answer")
    topic = TOPICS[CHIRPSTACK]
    with on_broker(broker.url(), tiny_codec, rules=[Rule(1, "tiny", "classify", None)]) as state:
        for n, (message, status, reason) in enumerate(
            (
                (b"no JSON", 400, "no JSON"),
                (uplink(CHIRPSTACK, frame, port=2), 404, "FPort 2"),
                (uplink(CHIRPSTACK, b"\xff" * 9), 400, "format version 15"),
                (uplink(CHIRPSTACK, b""), 400, "carried nothing"),
                (uplink(CHIRPSTACK, b""), 400, "carried nothing"),
                (bytes(1 << 17), 413, "more than 65,536"),
            ),
            1,
        ):
            client.publish(topic, message)
            client.until(lambda n=n: len(client.seen) == n)
            problem = json.loads(client.seen[-1].payload)["problem"]
            assert (problem["status"], reason in problem["detail"]) == (status, True), problem
        client.publish(topic, uplink(CHIRPSTACK, frame))
        client.until(lambda: len(client.seen) == 7)
        assert "reply" in json.loads(client.seen[-1].payload)
        assert count(state, kind="uplink", outcome="refused") == 6
        ((_, seen),) = state.status.devices.latest()
        on_air = [lora_airtime_s(13 + n, 12) for n in (len(frame), 9, 0, len(frame))]
        assert seen.airtime_s == pytest.approx(sum(on_air)), "all but the one that came again"
        assert seen.last_s == read_uplink(topic, uplink(CHIRPSTACK, frame)).at_s
    client.close()


@NEEDED
def test_a_reply_that_was_stored_but_not_sent_is_sent_after_the_connection_is_back(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, n_failed = aiomqtt.Client.publish, 2

    async def failing(self: Any, topic: str, *args: Any, **more: Any) -> None:
        nonlocal n_failed
        if n_failed:
            n_failed -= 1
            raise aiomqtt.MqttError("the connection broke off")
        await publish(self, topic, *args, **more)

    monkeypatch.setattr(aiomqtt.Client, "publish", failing)
    client = Client(broker, "codec/v1/+/+/+/reply")
    with on_broker(broker.url(), tiny_codec) as state:
        _, found = ask(client, REQUEST, Device(tiny_codec)(picture(1)), Sequence="0")
        assert "labels" in found
        reading = state.metrics.read(0.0)
        assert reading.total("taskcodec_ways_total") == 1, "it was run once"
        # the server counts a message when its reply is out
        client.until(lambda: count(state, outcome="repeated") == 2)
    client.close()


@NEEDED
@pytest.mark.long
def test_what_came_to_a_server_that_is_killed_is_answered_after_its_restart(
    broker: Mosquitto,
    tiny_codec: FeatureCodec,
    tiny_codec_folder: Path,
    picture: Picture,
    tmp_path: Path,
) -> None:
    frames = [to_frame(Device(tiny_codec)(picture(n)), tiny_codec.fingerprint) for n in range(100)]
    client = Client(broker, "codec/v1/uplink/+/+/answer")
    command = [sys.executable, "-m", "codec.cli", "serve", str(tiny_codec_folder), "--port", "0"]
    command += ["--mqtt", broker.url("server"), "--uplink-codec", "tiny"]
    command += ["--state", str(tmp_path / "state")]

    def numbered(counter: int) -> bytes:
        at = f"2026-11-27T10:00:00.{counter:03}Z"
        return uplink(THINGS_STACK, frames[counter], counter, received_at=at)

    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}) as first:
        try:
            deadline = time.monotonic() + 240
            while not client.seen:  # until it has subscribed
                assert time.monotonic() < deadline
                client.publish(TOPICS[THINGS_STACK], numbered(0))
                time.sleep(0.2)
            for counter in range(1, len(frames)):
                client.publish(TOPICS[THINGS_STACK], numbered(counter))
            client.until(lambda: len(client.seen) >= 3)
        finally:
            first.send_signal(signal.SIGKILL)
    n_before = len({counter_of(one) for one in client.seen})
    rules, state = [Rule(None, "tiny", "classify", None)], tmp_path / "state"
    with on_broker(broker.url("server"), tiny_codec, rules=rules, state=state):
        client.until(
            lambda: {counter_of(one) for one in client.seen} == set(range(len(frames))), 120
        )
    assert n_before < len(frames), "it was killed in the midst of them"
    by_counter: dict[int, set[bytes]] = {}
    for one in client.seen:
        by_counter.setdefault(counter_of(one), set()).add(one.payload)
    assert all(len(same) == 1 for same in by_counter.values()), "each has one answer"
    client.close()


@NEEDED
def test_a_broker_that_comes_later_is_found(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    client = Client(broker)
    with on_broker(broker.url(), tiny_codec) as state:
        broker.kill()
        wait_for(lambda: b"taskcodec_mqtt_connected 0.0" in state.metrics.text())
        broker.start()
        wait_for(lambda: b"taskcodec_mqtt_connected 1.0" in state.metrics.text())
        fresh = Client(broker, "codec/v1/+/+/+/reply")
        assert "labels" in ask(fresh, REQUEST, Device(tiny_codec)(picture(1)))[1]
        fresh.close()
    client.close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0=tiny", "1 to 223"),
        ("other", "other is not served"),
        ("tiny:caption", "does not caption"),
        ("tiny:classify:why ?", "question belongs"),
        ("=tiny", "is not"),
    ],
)
def test_a_wrong_rule_is_named(tiny_codec: FeatureCodec, text: str, reason: str) -> None:
    from codec.serve.models import Served

    served = {"tiny": Served(Server(tiny_codec))}
    with pytest.raises(ValueError, match=reason):
        rule_in(text, served)
    assert rule_in("7=tiny", served) == Rule(7, "tiny", "classify", None)


def test_the_commands_options_belong_together(shipped: Any) -> None:
    for extra in (["--uplink-codec", "tiny"], ["--mqtt-password-file", "x"]):
        result = CliRunner().invoke(cli, ["serve", "tiny", *extra])
        assert result.exit_code == 2
        assert "belong to --mqtt" in result.stderr
    result = CliRunner().invoke(cli, ["serve", "tiny", "--mqtt", "http://x"])
    assert "a broker's address is mqtt" in result.stderr


def test_a_state_file_gives_the_server_the_same_name_again(tmp_path: Path) -> None:
    from codec.link.broker import broker_at

    at = broker_at("mqtt://host")
    kept = [Mqtt(at, state=tmp_path / name).identity for name in ("a", "a", "b")]
    assert kept[0] == kept[1] != kept[2]
    assert Mqtt(at).identity != Mqtt(at).identity
