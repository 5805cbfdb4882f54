"""The OpenAPI page: it describes what the server takes and gives, and nothing that it allows breaks
the server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from PIL import Image
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from codec.model import FeatureCodec
from codec.pipeline import Device, Server
from codec.serve.app import create_app
from codec.serve.models import Served
from codec.serve.tokens import Tokens
from tests.serve.test_app import BLOB, QUESTIONS, asks

TOKEN = {"Authorization": "Bearer token-of-the-first-camera"}

load_all_checks()


@pytest.fixture(scope="module")
def client(tiny_codec: FeatureCodec, tiny_blip_codec: FeatureCodec) -> Iterator[TestClient]:
    """A server that answers all kinds of questions, to one device."""
    codecs = [Served(Server(codec)) for codec in (tiny_codec, tiny_blip_codec)]
    tokens = Tokens({TOKEN["Authorization"].split()[1]: "cam-1"})
    with TestClient(create_app(codecs, tokens), headers=TOKEN) as client:
        yield client


@pytest.fixture(scope="module")
def page(client: TestClient) -> Any:
    async def started(scope: Scope, receive: Receive, send: Send) -> None:
        """The application, which the client has started already."""
        if scope["type"] != "lifespan":
            return await client.app(scope, receive, send)
        for told in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{told}.complete"})

    return schemathesis.openapi.from_asgi("/openapi.json", started)


def test_the_page_says_that_a_server_without_time_says_when_to_come_again(
    client: TestClient,
) -> None:
    page = client.get("/openapi.json").json()
    asked = page["paths"]["/v1/{codec}/{verb}"]["post"]["responses"]
    for status in ("429", "503"):
        assert "Retry-After" in asked[status]["headers"]
        assert "application/problem+json" in asked[status]["content"]


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_whatever_comes_gets_a_reply_that_the_page_describes(
    page: Any, mode: GenerationMode
) -> None:
    n_operations = 0
    for found in page.get_all_operations():
        with contextlib.suppress(Unsatisfiable):  # nothing is wrong where nothing is asked
            _hold(found.ok().as_strategy(generation_mode=mode))
            n_operations += 1
    assert n_operations > 5


def _hold(cases: Any) -> None:
    """Send cases of one operation; each reply is as the page says."""

    @given(case=cases)
    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Case) -> None:
        if len(str(case.path_parameters.get("codec", ""))) % 2:  # the others are of unknown codecs
            case.path_parameters["codec"] = "tiny-blip"
        # bytes of the right type need not be a blob: 400 is right then
        excluded = [positive_data_acceptance]
        reply = case.call(headers=TOKEN)
        if reply.status_code == 413:  # it was too long to look at what it says
            excluded.append(negative_data_rejection)
        case.validate_response(reply, excluded_checks=excluded)

    check()


def test_the_page_describes_every_route_with_its_replies_and_refusals(client: TestClient) -> None:
    found = client.get("/openapi.json").json()
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation.get("description"), where
            replies = operation["responses"]
            assert any(status.startswith("2") for status in replies), where
            for status, reply in replies.items():
                kinds = reply.get("content", {})
                if int(status) >= 400:
                    assert set(kinds) == {"application/problem+json"}, f"{where}: {status}"
                for kind, content in kinds.items():
                    assert content.get("schema"), f"{where}: {status} {kind} has no shape"
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), f"{where}: {parameter['name']}"
            if path.startswith("/v1"):
                assert operation["security"], where


def test_right_replies_are_as_the_page_says(
    client: TestClient,
    page: Any,
    tiny_codec: FeatureCodec,
    tiny_blip_codec: FeatureCodec,
    picture: Callable[..., Image.Image],
) -> None:
    blob, words = Device(tiny_codec)(picture(1)), Device(tiny_blip_codec)(picture(2))
    ask = page["/v1/{codec}/{verb}"]["POST"]
    for path, body, headers in (
        ("tiny/classify?keep=true", blob, {}),
        ("tiny-blip/caption", words, {}),
        ("tiny-blip/answer", words, asks(*QUESTIONS)),
    ):
        reply = client.post(f"/v1/{path}", content=body, headers=BLOB | headers)
        assert reply.status_code == 200
        ask.validate_response(reply)
    refused = client.post("/v1/other/caption", content=blob, headers=BLOB)
    assert refused.status_code == 404
    ask.validate_response(refused)
    page["/v1/codecs"]["GET"].validate_response(client.get("/v1/codecs"))
