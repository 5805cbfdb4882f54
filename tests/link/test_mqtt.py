"""The device's end over a real broker: the same answers as over HTTP, every byte counted, whatever
happens to the broker.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image
from typer.testing import CliRunner

from codec.cli.app import app as cli
from codec.link.broker import broker_at, request_topic
from codec.link.client import SplitClient
from codec.link.mqtt import MqttConnection
from codec.link.queue import Outbox
from codec.link.watch import Watch
from codec.model import FeatureCodec
from codec.pipeline import Device, Server
from codec.serve.app import create_app
from codec.serve.models import Served
from codec.serve.mqtt import Mqtt
from codec.serve.replies import Replies
from tests.broker import NEEDED, Mosquitto, mosquitto

Picture = Callable[..., Image.Image]
USERS = "cam-1", "cam-2", "server"


@contextmanager
def on_broker(
    url: str,
    *codecs: FeatureCodec,
    password: str | None = None,
    state: Path | None = None,
    rules: Any = (),
) -> Iterator[Any]:
    """The state of a server of these codecs, when it is on the broker."""
    served = [Served(Server(codec)) for codec in codecs]
    replies = None if state is None else Replies(state)
    app = create_app(
        served, replies=replies, mqtt=Mqtt(broker_at(url, password), rules, state=state)
    )
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    wait_for(lambda: connected(app.state.server), thread)
    try:
        yield app.state.server
    finally:
        running.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def wait_for(done: Callable[[], bool], thread: threading.Thread | None = None) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        assert thread is None or thread.is_alive()
        time.sleep(0.01)


def connected(state: Any) -> bool:
    return b"taskcodec_mqtt_connected 1.0" in state.metrics.text()


def count(state: Any, **labels: str) -> float:
    return float(state.metrics.read(0.0).total("taskcodec_mqtt_messages_total", **labels))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path / "broker") as running:
        yield running


@NEEDED
def test_a_picture_gets_the_label_that_the_library_gives(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    with on_broker(broker.url("server"), tiny_codec):
        client = SplitClient(broker.url("cam-1"), Device(tiny_codec))
        client(picture(1), quality=1)
        found = client(picture(2), quality=1)
        client.close()
    blob = Device(tiny_codec)(picture(2), 1)
    assert found.answer[0]["label"] == Server(tiny_codec)(blob)[0].label
    assert (found.quality, found.n_body_bytes) == (1, len(blob))
    topic = request_topic("/v1/tiny/classify", "cam-1")
    around = 6 + len(topic) + 1 + 7 + 5 + 4  # lengths, packet id; correlation, expiry; the PUBACK
    assert found.n_bytes_up == len(blob) + around
    assert set(found.stages_ms) == {"device", "link", "queue", "run"}


@NEEDED
def test_where_the_system_does_not_count_the_messages_are_counted_alike(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_broker(broker.url("server"), tiny_codec):
        client = SplitClient(broker.url("cam-1"), Device(tiny_codec))
        client(picture(1), quality=1, sequence=1)
        found = client(picture(2), quality=1, sequence=2)
        monkeypatch.setattr("codec.link.mqtt.tcp_bytes", lambda _sock: (0, 0))
        client.session.connection._past = 0, 0  # type: ignore[union-attr]
        counted = client(picture(2), quality=1, sequence=3)
        client.close()
    assert counted.n_bytes_up == found.n_bytes_up
    assert abs(counted.n_bytes_down - found.n_bytes_down) <= 20, "a score has more digits or fewer"


@NEEDED
def test_captions_answers_and_problems_come_over_the_broker(
    broker: Mosquitto, tiny_blip_codec: FeatureCodec, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    asked = ["how many red things ?", "what colour, is the cube ?"]
    with on_broker(broker.url(), tiny_blip_codec):
        client = SplitClient(broker.url(), Device(tiny_blip_codec))
        caption, answers = client(picture(1)), client(picture(1), asked)
        client.close()
        foreign = SplitClient(broker.url(), Device(tiny_codec))
        with pytest.raises(ValueError, match=r"404: .* it has tiny-blip"):
            foreign(picture(1))
        foreign.close()
    blob, server = Device(tiny_blip_codec)(picture(1)), Server(tiny_blip_codec)
    assert caption.answer == server.caption(blob)
    assert answers.answer == server.answer(blob, asked)


@NEEDED
def test_the_same_number_gets_the_same_reply(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    with on_broker(broker.url(), tiny_codec) as state:
        client = SplitClient(broker.url("cam-1"), Device(tiny_codec))
        other = SplitClient(broker.url("cam-2"), Device(tiny_codec))
        first, again = (client(picture(1), sequence=3) for _ in range(2))
        assert first.answer == again.answer
        assert "run" not in again.stages_ms, "nothing was run"
        assert "run" in other(picture(2), sequence=3).stages_ms, "another device's numbers"
        with pytest.raises(ValueError, match=r"409: .* another content"):
            client(picture(2), sequence=3)
        assert count(state, outcome="repeated") == 1
        client.close()
        other.close()


@NEEDED
def test_without_a_server_or_a_broker_the_reason_is_named(
    broker: Mosquitto, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    client = SplitClient(broker.url(), Device(tiny_codec), timeout_s=5)
    with pytest.raises(ValueError, match="no server listens there"):
        client(picture(1))
    broker.kill()
    with pytest.raises(ValueError, match="refused"):
        client(picture(1))
    broker.start()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        connection = MqttConnection(f"mqtt://127.0.0.1:{port}", timeout_s=0.5)
        with pytest.raises(ValueError, match=r"not there after 0\.5 seconds"):
            connection.post("/v1/tiny/classify", b"", {})


@NEEDED
def test_users_passwords_and_rules_of_the_broker_hold(
    tmp_path: Path, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    passwords, rules = tmp_path / "passwords", tmp_path / "rules"
    passwords.write_text("".join(f"{user}:{user}-password\n" for user in USERS))
    tool = shutil.which("mosquitto_passwd")
    assert tool is not None
    subprocess.run([tool, "-U", str(passwords)], check=True)
    rules.write_text(RULES)
    lines = ("allow_anonymous false", f"password_file {passwords}", f"acl_file {rules}")
    with mosquitto(tmp_path / "broker", *lines) as broker:
        url = broker.url("server")
        with on_broker(url, tiny_codec, password="server-password"):
            client = SplitClient(broker.url("cam-1"), Device(tiny_codec), "cam-1-password")
            assert client(picture(1)).answer
            wrong = SplitClient(broker.url("cam-1"), Device(tiny_codec), "secret-of-mine")
            with pytest.raises(ValueError, match="refuses") as caught:
                wrong(picture(1))
            assert "secret" not in str(caught.value)
            # a device that says it is another one
            client.session.connection.broker = broker_at(broker.url("cam-2"))  # type: ignore
            with pytest.raises(ValueError, match="refuses messages"):
                client(picture(1))
            client.close()


RULES = """
pattern write codec/v1/+/%u/+
pattern read codec/v1/+/%u/+/reply

user server
topic read codec/v1/+/+/+
topic write codec/v1/+/+/+/reply
topic write codec/v1/uplink/+/+/answer
"""


def certificates(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost that signs itself, and its key."""
    folder.mkdir()
    cert, key = folder / "cert.pem", folder / "key.pem"
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@NEEDED
def test_tls_checks_the_broker_and_its_records_are_counted(
    tmp_path: Path, tiny_codec: FeatureCodec, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificates(tmp_path / "tls")
    lines = ("allow_anonymous true", f"certfile {cert}", f"keyfile {key}")
    with mosquitto(tmp_path / "broker", *lines) as broker:
        stranger = SplitClient(broker.url(scheme="mqtts"), Device(tiny_codec), timeout_s=10)
        with pytest.raises(ValueError, match=r"(?i)certificate"):
            stranger(picture(1))
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        with on_broker(broker.url(scheme="mqtts"), tiny_codec):
            client = SplitClient(broker.url("cam-1", "mqtts"), Device(tiny_codec))
            client(picture(2), quality=1)
            found = client(picture(1), quality=1)
            client.close()
    plain = 40 + len(request_topic("/v1/tiny/classify", "cam-1"))
    assert plain < found.n_bytes_up < found.n_body_bytes + plain + 100


@NEEDED
def test_a_silent_end_of_tls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codec.link.mqtt.HANDSHAKE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        connection = MqttConnection(
            f"mqtts://127.0.0.1:{port}", context=ssl.create_default_context()
        )
        start = time.monotonic()
        with pytest.raises(ValueError, match="no reply"):
            connection.post("/v1/tiny/classify", b"", {})
        assert time.monotonic() - start < 5


@NEEDED
@pytest.mark.long
def test_nothing_is_lost_and_each_is_answered_once_over_a_broker_that_is_killed(
    tiny_codec: FeatureCodec, picture: Picture, tmp_path: Path
) -> None:
    blobs = [Device(tiny_codec)(picture(seed)) for seed in range(40)]
    outbox = Outbox(tmp_path / "outbox")
    for blob in blobs:
        outbox.put(blob)
    with (
        mosquitto(tmp_path / "broker") as broker,
        on_broker(broker.url("server"), tiny_codec, state=tmp_path / "replies") as state,
    ):
        connection = MqttConnection(broker.url("cam-1"), timeout_s=2)
        stop = threading.Event()

        def kills() -> None:
            for _ in range(3):
                stop.wait(0.4)
                broker.kill()
                stop.wait(0.1)
                broker.start()
            stop.set()

        killer = threading.Thread(target=kills)
        killer.start()
        answered = []
        deadline = time.monotonic() + 120
        while (item := outbox.next()) is not None:
            assert time.monotonic() < deadline
            headers = {"Sequence": str(item.sequence), "Device": outbox.device_id}
            try:
                reply = connection.post("/v1/tiny/classify", item.body, headers)
            except ValueError:
                continue
            assert reply.status == 200, reply.body
            outbox.done(item.sequence, reply.body)
            answered.append(item.sequence)
        killer.join(30)
        connection.close()
        ran = state.metrics.read(0.0).total("taskcodec_ways_total")
    with contextlib.closing(Replies(tmp_path / "replies")) as kept:
        assert len(kept) == len(blobs)
    assert answered == list(range(len(blobs)))
    assert ran == len(blobs), "each was run once, however often it came"


@NEEDED
def test_the_commands_take_a_brokers_address(
    broker: Mosquitto,
    tiny_codec: FeatureCodec,
    tiny_codec_folder: Path,
    picture: Picture,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    picture(1).save(folder / "a.png")
    with on_broker(broker.url(), tiny_codec):
        watch = Watch(folder, SplitClient(broker.url("cam-1"), Device(tiny_codec)))
        assert [seen.name for _ in range(2) for seen in watch.look()] == []
        assert [seen.name for seen in watch.send()] == ["a.png"]
        arguments = ["send", broker.url("cam-1"), str(tiny_codec_folder), str(folder / "a.png")]
        result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    assert '"n_bytes_up"' in result.stdout


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mqtt://", "address is mqtt"),
        ("mqtt://host:0x", "no valid port"),
        ("mqtt://a+b@host", "letters"),
        ("mqtt://:word@host", "letters"),
        ("mqtt://host/path", "address is mqtt"),
    ],
)
def test_a_wrong_address_is_refused_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        MqttConnection(url)
    assert "word" not in str(caught.value)
    assert "word" not in repr(broker_at("mqtt://cam:word@host"))


def test_the_devices_end_loads_no_paho_before_it_is_wanted() -> None:
    code = (
        "import sys, codec.link.client; sys.exit(any(x in sys.modules for x in ('torch', 'paho')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
