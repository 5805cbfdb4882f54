"""Copies of the server behind Ray's proxy: they answer as one, also while one of them is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from codec.coding.container import shorten
from codec.link.http import Connection
from codec.model import FeatureCodec

pytest.importorskip("ray", reason="Ray is not installed: `make ray` runs these tests")

from codec.serve.cluster import NAME, Arguments, build
from codec.serve.deploying import SHIPPED, merged
from tests.serve.copies import BLOB, Devices, copies, kill_under_load, ray_head, served

ARGUMENTS = Arguments(codecs=["tiny"], state="/replies")


class Running(NamedTuple):
    """Two copies: their address, and the token of their Ray."""

    url: str
    token: str


@pytest.fixture(scope="module")
def two(tiny_codec_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("ray")
    with (
        ray_head(folder, 3) as own,
        served(str(tiny_codec_folder), folder, "--ray", **own) as url,
    ):
        yield Running(url, own["RAY_AUTH_TOKEN"])


def test_what_a_command_says_takes_the_place_of_what_the_config_says() -> None:
    config = merged(SHIPPED, ARGUMENTS, {"port": 1234})
    assert config["http_options"]["port"] == 1234
    assert config["http_options"]["keep_alive_timeout_s"] == 75
    (application,) = config["applications"]
    assert application["import_path"] == NAME
    assert application["args"]["codecs"] == ["tiny"]
    assert [one["name"] for one in application["deployments"]] == ["server", "memory"]


@pytest.mark.parametrize(
    "text", ["", "a", "applications: []", "applications: [{import_path: 'os:system'}]", "{"]
)
def test_a_config_that_is_not_of_this_server_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"a\.yaml"):
        merged(tmp_path / "a.yaml", ARGUMENTS, {})


def test_an_argument_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="colour"):
        build({"codecs": ["tiny"], "state": "/replies", "colour": "red"})


@pytest.mark.long
def test_all_copies_know_what_one_was_told(
    two: Running, tiny_codec: FeatureCodec, tiny_codec_folder: Path
) -> None:
    assert len(copies("server", two.token)) == 2
    assert len(copies("memory", two.token)) == 1
    blob = Devices(two.url, str(tiny_codec_folder)).blobs[0]
    fingerprint, path = tiny_codec.fingerprint, f"/v1/{tiny_codec.config.name}"
    wire = Connection(two.url, timeout_s=60)
    kept = wire.post(f"{path}/blobs", blob, BLOB)
    opened = wire.post(
        "/v1/sessions",
        b'{"fingerprint": "%s"}' % fingerprint.hex().encode(),
        {"Content-Type": "application/json"},
    )
    assert (kept.status, opened.status) == (201, 201)
    name, session = json.loads(kept.body)["id"], json.loads(opened.body)["session"]
    for _ in range(8):  # the proxy chooses a copy each time
        assert wire.post(f"{path}/classify?blob={name}", b"", {}).status == 200
        short = shorten(blob, fingerprint)
        assert wire.post(f"{path}/classify", short, BLOB | {"Session": session}).status == 200
    numbered = BLOB | {"Sequence": "1"}
    assert wire.post(f"{path}/classify", blob, numbered).status == 200
    assert wire.post(f"{path}/classify?top_k=1", blob, numbered).status == 409
    wrong = wire.post(f"{path}/classify", blob[:-1], BLOB)
    assert wrong.status == 400
    assert wrong.headers["content-type"] == "application/problem+json"


@pytest.mark.long
def test_no_request_is_lost_or_answered_twice_while_a_copy_and_the_memory_are_killed(
    two: Running, tiny_codec_folder: Path
) -> None:
    happened = kill_under_load(str(tiny_codec_folder), *two, 240, ["server", "memory"])
    print(happened)
    assert happened["n_requests"] == 240
    assert happened["killed"] == ["server", "memory"]
    assert happened["n_sent_again"] > 0
