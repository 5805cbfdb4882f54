"""The device's end against a real server: the same answers as without a link."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image

from codec import link
from codec.link.client import MAX_NUMBERS, SplitClient
from codec.link.http import NoReplyError, Response, UnansweredError
from codec.link.policy import Way
from codec.link.session import value_of
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


class Answering:
    """A connection whose server knows the codec and answers every request alike; without a status
    no reply comes.
    """

    shortens = False

    def __init__(self, status: int | None, body: bytes = b'{"detail": "why"}') -> None:
        self.status, self.body = status, body
        self.asked: list[str] = []

    def post(self, path: str, _body: bytes, _headers: dict[str, str]) -> Response:
        self.asked.append(path)
        if path == "/v1/sessions":
            body = b'{"codec": "tiny", "session": "s", "tasks": ["classify"]}'
            return Response(200, {}, body, 0, 0, 0.0)
        if self.status is None:
            raise NoReplyError("no reply from here")
        return Response(self.status, {}, self.body, 0, 0, 0.0)


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
        assert found.n_body_bytes == len(blob) - 3, "in a session"
        assert found.n_bytes_up > found.n_body_bytes + 50, "headers are counted"
        assert set(found.stages_ms) == {"device", "link", "queue", "run"}
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


WAYS = {
    "classify": [
        Way("blob q0", 260, 400, device_ms=1, server_ms=1, score=60.0),
        Way("blob q2", 280, 400, device_ms=1, server_ms=1, score=70.0),
        Way("picture:webp@24 q50", 900, 400, device_ms=1, server_ms=1, score=80.0),
    ]
}


def test_the_best_way_by_the_deadline_is_taken_and_says_why(
    tiny_codec: FeatureCodec, picture: Picture
) -> None:
    with serving(tiny_codec) as url:
        client = SplitClient(url, Device(tiny_codec), deadline_ms=5000, ways=WAYS)
        best = client(picture(1))
        client.close()
        asked = client(picture(1), quality=0)
        slow = SplitClient(url, Device(tiny_codec), deadline_ms=5000, ways=WAYS)
        for _ in range(20):  # 280 bytes took 2.8 s before: no picture comes by then
            link = slow._choosing["classify"].link
            link.add(280, 400, 2.8, time.monotonic())
        careful = slow(picture(1))
        slow.close()
    assert (best.way, best.quality) == ("picture:webp@24 q50", None)
    assert "the best score, 80.00" in best.why
    assert best.n_body_bytes < best.n_bytes_up
    assert (asked.way, asked.why) == ("blob q0", "as asked for")
    assert careful.way == "blob q2"
    assert "answer by 5000 ms" in careful.why


def test_a_price_of_bytes_and_a_tolerance_are_part_of_the_choice(
    tiny_codec: FeatureCodec, picture: Picture
) -> None:
    def way_of(**wanted: Any) -> str:
        client = SplitClient(url, Device(tiny_codec), ways=WAYS, **wanted)
        found = client(picture(1))
        client.close()
        return found.way

    with serving(tiny_codec) as url:
        assert way_of() == "picture:webp@24 q50", "the best score"
        assert way_of(tolerance=20.0, ms_per_byte=1e6) == "blob q0", "the fewest bytes"
        slow = {"classify": [replace(WAYS["classify"][0], device_ms=9e5), *WAYS["classify"][1:]]}
        dear = SplitClient(url, Device(tiny_codec), ways=slow, tolerance=20.0, ms_per_byte=1e6)
        cheap = SplitClient(url, Device(tiny_codec), ways=slow, tolerance=20.0)
        assert (dear(picture(1)).way, cheap(picture(1)).way) == ("blob q0", "blob q2")
        dear.close()
        cheap.close()
    for wrong in ({"tolerance": -1.0}, {"ms_per_byte": -1.0}, {"deadline_ms": -1.0}):
        with pytest.raises(ValueError, match="numbers from 0"):
            SplitClient(url, Device(tiny_codec), ways=WAYS, **wrong)


def test_without_ways_a_blob_goes_and_says_so(tiny_codec: FeatureCodec, picture: Picture) -> None:
    with serving(tiny_codec) as url:
        client = SplitClient(url, Device(tiny_codec))
        assert client(picture(1)).why == "no ways to choose from are known: a blob"
        assert client(picture(1), max_bytes=100).why == "as asked for"
        client.close()


def test_ways_are_those_of_the_sweep_beside_the_codec(
    tiny_codec_folder: Path, tiny_codec: FeatureCodec, picture: Picture, tmp_path: Path
) -> None:
    folder = tmp_path / "swept"
    shutil.copytree(tiny_codec_folder, folder)
    base = {"task": "image-classification", "encode_ms": 1.0, "decode_ms": 1.0}
    rows = [
        base
        | {"codec": tiny_codec.config.name, "quality": q, "score": 70.0 + q}
        | {"bytes_mean": 20.0 + q, "bytes_p50": 20.0 + q, "bytes_p95": 22.0 + q}
        for q in tiny_codec.qualities
    ]
    (folder / "sweep.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(tiny_codec) as url:
        client = SplitClient(url, folder)
        found = client(picture(1))
        client.close()
    assert found.way == f"blob q{tiny_codec.qualities[-1]}"
    assert "the best score" in found.why


def test_the_device_answers_by_itself_where_the_server_does_not(
    tiny_codec: FeatureCodec, picture: Picture
) -> None:
    own = [{"label": "cat", "score": 0.5}]
    client = SplitClient("http://127.0.0.1:1", Device(tiny_codec), alone=lambda _image: own)
    found = client(picture(1))
    assert (found.answer, found.way, found.provisional) == (own, "device alone", True)
    assert "did not answer: no reply" in found.why
    assert found.n_bytes_up == 0
    with pytest.raises(ValueError, match="no reply"):
        client(picture(1), "how many ?")
    with serving(tiny_codec) as url:
        ways = {"classify": [*WAYS["classify"], Way("device alone", 0, 0, 1, 0, score=90.0)]}
        client = SplitClient(url, Device(tiny_codec), ways=ways, alone=lambda _image: own)
        chosen = client(picture(1))
        client.close()
    assert (chosen.way, chosen.provisional) == ("device alone", False)


def test_a_bundle_chooses_among_its_own_ways_and_answers_by_itself(
    own_bundle: Path, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    with serving(tiny_codec) as url:
        client = SplitClient(url, own_bundle)
        best = client(picture(1))
        client.close()
        dear = SplitClient(url, own_bundle, tolerance=5.0)
        link = dear._choosing["classify"].link
        for _ in range(20):  # 280 bytes took 2.8 s before
            link.add(280, 400, 2.8, time.monotonic())
        dear._choosing["classify"]._tolerance = 10.0
        small = dear(picture(1))
        dear._choosing["classify"]._tolerance = 30.0
        own = dear(picture(1))
        dear.close()
    assert (best.way, best.provisional) == ("picture:webp@24 q50", False)
    assert "the best score, 80.00" in best.why
    assert small.way.startswith("blob q")
    assert (own.way, own.provisional, own.n_bytes_up) == ("device alone", False, 0)
    away = SplitClient("http://127.0.0.1:1", own_bundle)(picture(1))
    assert (away.answer, away.way, away.provisional) == (own.answer, "device alone", True)
    assert {one["label"] for one in away.answer} == {"cat", "dog", "ship", "truck"}


def test_a_bundles_user_can_have_other_ways_and_another_model(
    own_bundle: Path, picture: Picture
) -> None:
    client = SplitClient("http://127.0.0.1:1", own_bundle, ways={}, alone=lambda _image: OWN)
    assert client._choosing == {}
    assert client(picture(1)).answer == OWN


def test_a_bundle_chooses_and_answers_without_torch(own_bundle: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    code = (
        "import sys; from codec.link import SplitClient; "
        "client = SplitClient('http://127.0.0.1:1', sys.argv[1]); "
        "assert client._choosing and client(sys.argv[2]).provisional; "
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(own_bundle), str(tmp_path / "a.png")]
    assert subprocess.run(command, timeout=60).returncode == 0


OWN = [{"label": "cat", "score": 0.5}]


def with_own(codec: FeatureCodec, status: int | None, **options: Any) -> tuple[SplitClient, Any]:
    """A client whose device answers by itself too, and a list of its losses of the link."""
    device = Device(codec)
    client = SplitClient("http://127.0.0.1:1", device, alone=lambda _image: OWN, **options)
    client.session.connection = Answering(status)
    losses: list[float] = []
    for choosing in client._choosing.values():
        choosing.failed = losses.append  # type: ignore
    return client, losses


@pytest.mark.parametrize(("ways", "quality"), [({}, None), (WAYS, 0), (WAYS, None)])
def test_the_device_answers_however_a_picture_would_have_gone(
    tiny_codec: FeatureCodec, picture: Picture, ways: Any, quality: int | None
) -> None:
    client, losses = with_own(tiny_codec, None, ways=ways)
    found = client(picture(1), quality=quality)
    assert (found.answer, found.provisional) == (OWN, True)
    assert found.why == "the server did not answer: no reply from here"
    assert len(losses) == (1 if ways and quality is None else 0)


@pytest.mark.parametrize("ways", [{}, WAYS])
def test_what_is_no_picture_is_no_loss_of_the_link(tiny_codec: FeatureCodec, ways: Any) -> None:
    client, losses = with_own(tiny_codec, 200, ways=ways)
    with pytest.raises(ValueError, match="picture"):
        client(b"no picture")
    assert not losses


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_a_wrong_request_is_raised_and_no_loss_of_the_link(
    tiny_codec: FeatureCodec, picture: Picture, status: int
) -> None:
    client, losses = with_own(tiny_codec, status, ways=WAYS)
    with pytest.raises(ValueError, match=f"the server answered {status}: why"):
        client(picture(1))
    assert not losses


@pytest.mark.parametrize("status", [302, 401, 403, 404, 429, 500, 503])
def test_the_device_answers_where_the_server_refuses_and_the_link_lost_nothing(
    tiny_codec: FeatureCodec, picture: Picture, status: int
) -> None:
    client, losses = with_own(tiny_codec, status, ways=WAYS)
    found = client(picture(1))
    assert (found.answer, found.provisional) == (OWN, True)
    assert found.why == f"the server answered {status}: why"
    assert not losses


@pytest.mark.parametrize(
    ("said", "seconds"), [("2", 2), ("9" * 5000, 86_400), ("soon", 0), ("-1", 0), (None, 0)]
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_without_time_says_when_to_come_again(
    status: int, said: str | None, seconds: float
) -> None:
    headers = {} if said is None else {"retry-after": said}
    with pytest.raises(UnansweredError, match=f"{status}: why") as refused:
        value_of(Response(status, headers, b'{"detail": "why"}', 0, 0, 0.0))
    assert refused.value.retry_after_s == seconds


def test_a_server_that_forgot_the_session_gets_another_one(
    tiny_codec: FeatureCodec, picture: Picture
) -> None:
    with serving(tiny_codec) as first:
        client = SplitClient(first, Device(tiny_codec))
        before = client(picture(1))
    with serving(tiny_codec) as second:
        client.session.connection = SplitClient(second, Device(tiny_codec)).session.connection
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


@pytest.mark.parametrize("answered", [False, True])
def test_a_number_keeps_its_way_when_the_link_gets_worse(
    tiny_codec: FeatureCodec, picture: Picture, answered: bool
) -> None:
    with serving(tiny_codec) as url:
        client = SplitClient(url, Device(tiny_codec), deadline_ms=5000, ways=WAYS)
        client(picture(2))  # the session is open
        post = client.session.connection.post

        def lost(path: str, body: bytes, headers: dict[str, str]) -> Response:
            post(path, body, headers)  # the server has run it
            raise NoReplyError("no reply from here")

        client.session.connection.post = lost if not answered else post  # type: ignore
        try:
            client(picture(1), sequence=3)
        except NoReplyError:
            assert not answered
        client.session.connection.post = post  # type: ignore[method-assign]
        found = []
        for sequence in (3, 4):
            for _ in range(20):  # 280 bytes took 2.8 s before: no picture comes by the deadline
                client._choosing["classify"].link.add(280, 400, 2.8, time.monotonic())
            found.append(client(picture(1), sequence=sequence))
        client.close()
    again, other = found
    assert again.way == "picture:webp@24 q50"
    assert "run" not in again.stages_ms, "nothing was run"
    assert other.way == "blob q2", "what the link takes by now"


def test_the_ways_of_old_numbers_are_forgotten(tiny_codec: FeatureCodec) -> None:
    client, _ = with_own(tiny_codec, None, ways=WAYS)
    for sequence in range(MAX_NUMBERS + 2):
        client._choice(client._choosing["classify"], sequence)
    assert (min(client._numbered), len(client._numbered)) == (2, MAX_NUMBERS)


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
    code = "import sys; from codec.link import SplitClient; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_the_package_offers_the_client_and_nothing_else() -> None:
    assert link.SplitClient is SplitClient
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        link.Nothing  # noqa: B018
