"""The status page: what an operator asks, small, offline, and for those with a token alone."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from prometheus_client import Counter
from starlette.testclient import TestClient

from codec.model import FeatureCodec
from codec.pipeline import Device, Server
from codec.serve import page
from codec.serve.app import create_app
from codec.serve.metrics import Metrics
from codec.serve.models import Served
from codec.serve.settings import Limits
from codec.serve.tokens import Tokens

Picture = Callable[..., Image.Image]
BLOB, WEBP = {"Content-Type": "application/octet-stream"}, {"Content-Type": "image/webp"}
TOKEN = "token-of-the-first-camera"
MOST_BYTES = 100_000


@pytest.fixture
def client(tiny_codec: FeatureCodec) -> Iterator[TestClient]:
    with TestClient(create_app([Served(Server(tiny_codec))])) as client:
        yield client


def text_of(html: str) -> str:
    """What a reader sees, in one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def as_webp(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP")
    return file.getvalue()


def test_the_page_shows_what_came(
    client: TestClient, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    name, blob = tiny_codec.config.name, Device(tiny_codec)(picture(1))
    path = f"/v1/{name}/classify"
    for _ in range(3):
        client.post(path, content=blob, headers=BLOB)
    kept = client.post(f"{path}?keep=true", content=blob, headers=BLOB | {"Alone": "7"}).json()
    client.post(f"{path}?blob={kept['id']}")
    client.post(path, content=as_webp(picture(2)), headers=WEBP)
    client.post(path, content=b"x", headers=BLOB)
    client.get("/nowhere")
    text = text_of(client.get("/").text)
    for shown in (
        "Answers 6 ",
        "Failed 0 2 refused",
        f"fingerprint {tiny_codec.fingerprint.hex()}",
        "classify 6 1 0",
        "blob 4 31%",
        "picture, uncut model 1 8%",
        "kept blob, asked again 1 8%",
        "device alone, as it says 7 54%",
        "400 Bad Request 1",
        "404 Not Found 1",
    ):
        assert shown in text, shown
    assert re.search(r"whole [\d.]+ ms [\d.]+ ms [\d.]+ ms", text)
    assert "airtime" not in text
    assert "Devices" not in text, "without tokens they are not told apart"


def test_devices_and_their_airtime_are_listed(tiny_codec: FeatureCodec, picture: Picture) -> None:
    app = create_app([Served(Server(tiny_codec))], Tokens({TOKEN: "cam-1"}))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(app) as client:
        blob, name = Device(tiny_codec)(picture(1)), tiny_codec.config.name
        client.post(f"/v1/{name}/classify", content=blob, headers=BLOB | bearer)
        before = text_of(client.get("/", headers=bearer).text)
        app.state.server.status.uplink("<b>field</b>", 2.5, 30.0)
        html, metrics = client.get("/", headers=bearer).text, client.get("/metrics").text
    assert re.search(r"cam-1 \d s ago 1", before)
    assert "airtime left today" not in before
    assert "&lt;b&gt;field&lt;/b&gt;" in html
    assert "27.5 s" in text_of(html)
    assert "taskcodec_uplink_airtime_seconds_total 2.5" in metrics
    assert "field" not in metrics
    assert "cam-1" not in metrics


@pytest.mark.parametrize("path", ["/", "/events"])
def test_with_tokens_the_page_asks_for_one(tiny_codec: FeatureCodec, path: str) -> None:
    def basic(pair: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    app = create_app([Served(Server(tiny_codec))], Tokens({TOKEN: "cam-1"}))
    with TestClient(app) as client:
        for wrong in ({}, basic(f"{TOKEN}:x"), basic("x:other"), {"Authorization": "Basic ?"}):
            reply = client.get(path, headers=wrong)
            assert reply.status_code == 401
            assert reply.headers["WWW-Authenticate"].startswith("Basic realm=")
            assert "cam-1" not in reply.text
        assert client.get("/", headers=basic(f"anyone:{TOKEN}")).status_code == 200
        # what other sites may have a browser send opens the page alone
        assert client.get("/v1/codecs", headers=basic(f"anyone:{TOKEN}")).status_code == 401


def test_the_whole_page_is_small_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    reply = client.get("/")
    n_bytes, found = len(reply.content), re.findall(r'(?:src|href)="([^"]+)"', reply.text)
    loaded = [one for one in found if one.startswith("static/") and "grafana" not in one]
    assert len(loaded) == 4
    for address in loaded:
        file = client.get(f"/{address}")
        assert file.status_code == 200
        assert "immutable" in file.headers["Cache-Control"]
        n_bytes += len(file.content)
    with_events = n_bytes + len(reply.content) + 180 * 60  # all points and the parts once more
    assert with_events < MOST_BYTES
    elsewhere = [one for one in found if re.match(r"(\w+:)?//", one)]
    assert not elsewhere
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)|\son\w+=|\sstyle=", reply.text)
    assert client.get("/static/../page.py").status_code == 404
    assert client.get("/static/page.py").status_code == 404


def test_all_files_beside_the_page_are_served_and_licensed() -> None:
    assert {file.name for file in page.STATIC.iterdir()} == set(page.FILES)
    assert "Leon Sorokin" in (page.STATIC / "uPlot.LICENSE").read_text()
    script = (page.STATIC / "uPlot.iife.min.js").read_text()
    assert "v1.6.32" in script


def test_the_dashboard_reads_metrics_that_there_are(
    client: TestClient, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    name, blob = tiny_codec.config.name, Device(tiny_codec)(picture(1))
    client.post(f"/v1/{name}/classify", content=blob, headers=BLOB)
    text = client.get("/metrics").text
    exported = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    kinds = dict(line.split(" ")[2:4] for line in text.splitlines() if line.startswith("# TYPE "))
    suffixes = {"histogram": ("_bucket", "_sum", "_count"), "gauge": ("",), "counter": ("",)}
    samples = {one + suffix for one in exported for suffix in suffixes[kinds[one]]}
    dashboard = json.loads((page.STATIC / "grafana.json").read_text())
    used = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            used |= set(re.findall(r"taskcodec_\w+", target["expr"]))
    used |= set(re.findall(r"taskcodec_\w+", json.dumps(dashboard["templating"])))
    assert used
    assert used <= samples, used - samples
    left_out = {name for name in exported if not name.endswith("_created")} - {
        re.sub(r"_(bucket|sum|count)$", "", one) for one in used
    }
    assert left_out <= {"taskcodec_shadow_bytes_total"}


def test_the_document_names_every_metric_and_its_labels() -> None:
    text = (Path(__file__).parents[2] / "docs" / "status.md").read_text()
    rows = re.findall(r"^\| (`taskcodec_.*) \| (.*) \|$", text, re.MULTILINE)
    documented = {name: labels for names, labels in rows for name in re.findall(r"\w+", names)}
    found = {
        one.describe()[0].name: one for one in Metrics()._registry._names_to_collectors.values()
    }
    exported = {
        name + ("_total" if isinstance(one, Counter) else ""): one for name, one in found.items()
    }
    assert documented.keys() == exported.keys()
    for name, one in exported.items():
        for label in one._labelnames:
            assert re.search(rf"\b{label}\b", documented[name]), (name, label)


def test_no_label_takes_what_a_stranger_writes(
    client: TestClient, tiny_codec: FeatureCodec
) -> None:
    name = tiny_codec.config.name
    for i in range(3):
        client.post(f"/v1/{name}/strange{i}", content=b"x", headers=BLOB)
        client.post(f"/v1/strange{i}/classify", content=b"x", headers=BLOB)
        client.get(f"/strange{i}")
    assert "strange" not in client.get("/metrics").text
    assert "404 Not Found 6" in text_of(client.get("/").text)


def test_the_page_is_whole_while_nothing_came(client: TestClient) -> None:
    text = text_of(client.get("/").text)
    assert "Answers 0 0 a second" in text
    assert "nothing yet" in text


def test_a_shadow_is_a_share() -> None:
    with pytest.raises(ValueError, match="a share from 0 to 1, not 2"):
        Limits(shadow=2)


def test_the_licence_of_what_is_vendored_goes_with_the_wheel() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"codec/serve/static/uPlot.LICENSE"' in project
