"""Requests made by an adversary who has a token: each gets a refusal that names its reason, and
what others have is left to them.
"""

from __future__ import annotations

import base64
import io
import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from codec.coding.container import pack, shorten, unpack
from codec.model import FeatureCodec
from codec.pipeline import Device, Server
from codec.serve.app import create_app
from codec.serve.models import Served
from codec.serve.replies import Replies
from codec.serve.settings import Limits
from codec.serve.tokens import Tokens
from tests.serve.test_app import BLOB, problem

Picture = Callable[..., Image.Image]
FIRST, SECOND = (
    {"Authorization": f"Bearer token-of-the-{which}-camera"} for which in ("first", "second")
)
TOKENS = Tokens(
    {one["Authorization"].split()[1]: f"cam-{i}" for i, one in enumerate((FIRST, SECOND))}
)
JSON = {"Content-Type": "application/json"}


def serving(codec: FeatureCodec, **more: Any) -> TestClient:
    return TestClient(create_app([Served(Server(codec))], TOKENS, **more), headers=FIRST)


@pytest.fixture(scope="module")
def classes(tiny_codec: FeatureCodec) -> Iterator[TestClient]:
    with serving(tiny_codec) as client:
        yield client


@pytest.fixture(scope="module")
def words(tiny_blip_codec: FeatureCodec) -> Iterator[TestClient]:
    with serving(tiny_blip_codec) as client:
        yield client


@pytest.fixture(scope="module")
def blob(tiny_codec: FeatureCodec, picture: Picture) -> bytes:
    return Device(tiny_codec)(picture(1))


def test_every_bad_blob_gets_the_librarys_own_reason(
    classes: TestClient, tiny_codec: FeatureCodec, blob: bytes
) -> None:
    payload, own = unpack(blob, tiny_codec.fingerprint).payload, tiny_codec.fingerprint
    n_symbols = tiny_codec.config.side**2 * tiny_codec.config.n_channels
    session = classes.post("/v1/sessions", json={"fingerprint": own.hex()}).json()["session"]
    for bad, reason in (
        (pack(payload + b"\0", 1, own), "not written at quality 1"),
        (pack(payload.ljust(n_symbols, b"\1"), 1, own), "not written at quality 1|not decode"),
        (pack(payload.ljust(n_symbols + 1, b"\1"), 1, own), f"take at most {n_symbols}"),
        (pack(payload, 15, own), "not one of this codec's 0..2"),
        (pack(payload, 1, own, True), f"take {n_symbols}"),
        (pack(bytes(n_symbols), 1, own, True), "when coded"),
        (pack(b"\x80" * n_symbols, 1, own, True), "holds -128|when coded"),
        (b"\1" + blob[1:], "version 0"),
        (blob[:3] + b"\0\0\0" + payload, "damaged"),
        (pack(payload, 1, own[:2] + bytes(30)), "damaged"),
        (pack(payload, 1, bytes(32)), "another codec"),
        (blob[:6], "damaged"),
        (blob[:5], "fewer than its header"),
        (shorten(blob, own), "shortened for a session"),
    ):
        with pytest.raises(ValueError, match=reason) as refused:
            Server(tiny_codec)(bad)
        said = problem(classes.post("/v1/tiny/classify", content=bad, headers=BLOB), 400)
        assert said == str(refused.value)
        coded = {"blobs": [base64.b64encode(bad).decode()]}
        (one,) = classes.post("/v1/tiny/batch/classify", json=coded).json()["results"]
        assert (one["problem"]["status"], one["problem"]["detail"]) == (400, said)
    short = {"Session": session} | BLOB
    problem(classes.post("/v1/tiny/classify", content=b"ab", headers=short), 400)


def test_json_bombs_are_refused(classes: TestClient) -> None:
    path = "/v1/tiny/batch/classify"
    for body, status in (
        (b"[" * 1_000_000, 422),
        (b'{"blobs":' * 100_000, 422),
        (b'{"blobs": [' + b'"a",' * 400_000 + b'"a"]}', 422),
        (b'{"blobs": ["' + b"A" * 200_000 + b'"]}', 422),
        (b'{"blobs": ["' + b"A" * (1 << 21) + b'"]}', 413),
        (b'{"blobs": ["\\ud800"]}', 422),
        (b'{"top_k": 1e999, "blobs": ["a"]}', 422),
        (b'{"top_k": ' + b"9" * 100_000 + b', "blobs": ["a"]}', 422),
        (b"\xff\xfe", 422),
    ):
        problem(classes.post(path, content=body, headers=JSON), status)
    foreign = classes.post(path, json={"blobs": ["°ä\U000a1dc9"]}).json()["results"]
    assert "base64" in foreign[0]["problem"]["detail"]


def test_questions_are_bounded_in_number_and_length(
    words: TestClient, tiny_blip_codec: FeatureCodec, picture: Picture
) -> None:
    body = Device(tiny_blip_codec)(picture(1))

    def ask(question: bytes) -> Any:
        headers: Any = {b"Question": question, b"Content-Type": b"application/octet-stream"}
        return words.post("/v1/tiny-blip/answer", content=body, headers=headers)

    assert "at most 32" in problem(ask(b"a," * 1_000_000 + b"a"), 400)
    problem(ask(b"a" * 1_000_000), 400)
    problem(ask(b"%c3%28"), 400)
    problem(ask(b"%00" * 1000), 400)
    for odd in (b"%", b"%zz", b"%2", b"\xff", b"what is it %zz ?"):
        assert ask(odd).status_code in (200, 400)


def test_numbers_beyond_all_bounds_are_refused(classes: TestClient, blob: bytes) -> None:
    for number in (str(2**63), str(2**63 - 1), "9" * 10_000, "-1", "1e3", "nan", "0x1", "1.5", ""):
        headers = BLOB | {"Sequence": number}
        problem(classes.post("/v1/tiny/classify", content=blob, headers=headers), 422)
    long = BLOB | {"Content-Length": "9" * 5000}
    problem(classes.post("/v1/tiny/classify", content=blob, headers=long), 413)
    problem(classes.post("/v1/tiny/classify?top_k=" + "9" * 5000, content=blob, headers=BLOB), 422)
    last = BLOB | {"Sequence": str(2**63 - 2), "Device": "a"}
    assert classes.post("/v1/tiny/classify", content=blob, headers=last).status_code == 200


def test_a_host_that_is_no_name_breaks_nothing(classes: TestClient, blob: bytes) -> None:
    for number, host in enumerate(("[", "a b", "]:x", "a" * 5000, "")):
        odd = BLOB | {"Host": host, "Sequence": str(number), "Device": "b"}
        assert classes.post("/v1/tiny/classify", content=blob, headers=odd).status_code == 200
        problem(classes.get("/nowhere", headers={"Host": host}), 404)


def test_a_picture_of_enormous_size_is_refused(classes: TestClient) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    side = (60_000).to_bytes(4, "big")
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", side + side + b"\x08\2\0\0\0")
    bomb += chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")
    said = problem(
        classes.post("/v1/tiny/classify", content=bomb, headers={"Content-Type": "image/png"}), 400
    )
    assert "pixels" in said


def test_pictures_that_take_long_to_decode_leave_their_turn_to_another_devices(
    tiny_codec: FeatureCodec, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, kind = io.BytesIO(), {"Content-Type": "image/png"}
    picture(1).save(file, "png")
    decode, begun, gate = Served.pixels, threading.Event(), threading.Event()

    def slow(served: Served, body: bytes) -> Any:
        begun.set()
        assert gate.wait(30)
        return decode(served, body)

    def ask(who: dict[str, str]) -> Any:
        return client.post("/v1/tiny/classify", content=file.getvalue(), headers=kind | who)

    def until(done: Callable[[], bool]) -> None:
        end_s = time.monotonic() + 20
        while not done():
            assert time.monotonic() < end_s
            time.sleep(0.01)

    monkeypatch.setattr(Served, "pixels", slow)
    limits = Limits(waiting=3, decoding=1)
    with serving(tiny_codec, limits=limits) as client, ThreadPoolExecutor(10) as pool:
        state = client.app.state.server  # type: ignore[attr-defined]
        state.queues["tiny"]._max_waiting = 100  # of this queue no one is refused
        try:
            flood = [pool.submit(ask, FIRST)]
            assert begun.wait(20)  # else the worker may find more in the queue than fit
            flood += [pool.submit(ask, FIRST) for _ in range(5)]
            until(lambda: sum(one.done() for one in flood) == 2)
            other = pool.submit(ask, SECOND)
            until(lambda: sum(one.done() for one in flood) == 3)
            assert (state.pictures.n_waiting, other.done()) == (3, False)
        finally:
            gate.set()
        assert other.result(20).status_code == 200
        refused = [reply for one in flood if (reply := one.result(20)).status_code != 200]
        assert ["others of this device" in problem(one, 429) for one in refused] == [True] * 3
        assert {one.headers["Retry-After"] for one in refused} == {"1"}


def test_decoding_and_the_model_share_the_time_of_a_request(
    tiny_codec: FeatureCodec, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, decode, run = io.BytesIO(), Served.pixels, Served.__call__
    picture(1).save(file, "png")

    def late(work: Any) -> Any:
        return lambda *both: (time.sleep(0.6), work(*both))[1]

    monkeypatch.setattr(Served, "pixels", late(decode))
    monkeypatch.setattr(Served, "__call__", late(run))
    with serving(tiny_codec, limits=Limits(request_s=1.0)) as client:
        kind = {"Content-Type": "image/png"}
        reply = client.post("/v1/tiny/classify", content=file.getvalue(), headers=kind)
        assert "no answer within 1 seconds" in problem(reply, 503)
        assert reply.headers["Retry-After"]


def test_all_bodies_together_are_bounded(tiny_codec: FeatureCodec, picture: Picture) -> None:
    file = io.BytesIO()
    picture(1).save(file, "png")
    body, kind = file.getvalue(), {"Content-Type": "image/png"}
    with serving(tiny_codec, limits=Limits(bodies_bytes=3 * len(body))) as client:
        bodies = client.app.state.server.bodies  # type: ignore[attr-defined]
        for _ in range(3):
            assert client.post("/v1/tiny/classify", content=body, headers=kind).status_code == 200
        assert bodies.n_bytes == 0, "what was answered takes nothing any more"
        others = [bodies.held("another"), bodies.held("a third")]
        for other, status in zip(others, (200, 503), strict=True):
            other.add(len(body) // 2 + 1)
            reply = client.post("/v1/tiny/classify", content=body, headers=kind)
            assert reply.status_code == status
        assert "of other requests fill" in problem(reply, 503)
        assert reply.headers["Retry-After"]
        for other in others:
            other.end()
        assert bodies.n_bytes == 0


def test_the_bodies_of_one_token_leave_half_of_the_memory_to_others(
    tiny_codec: FeatureCodec, blob: bytes
) -> None:
    with serving(tiny_codec, limits=Limits(bodies_bytes=2000)) as client:
        for _ in range(20):  # requests whose bodies trickle
            client.app.state.server.bodies.held("cam-0").add(50)  # type: ignore[attr-defined]
        mine, theirs = (
            client.post("/v1/tiny/classify", content=blob, headers=BLOB | who)
            for who in (FIRST, SECOND)
        )
        assert "its share" in problem(mine, 429)
        assert mine.headers["Retry-After"] == "1"
        assert theirs.status_code == 200


def test_a_device_that_keeps_more_and_more_pushes_out_its_own_alone(
    tiny_codec: FeatureCodec, blob: bytes
) -> None:
    with serving(tiny_codec, limits=Limits(kept_blobs=10, sessions=10)) as client:
        ask = {"fingerprint": tiny_codec.fingerprint.hex()}
        theirs = client.post("/v1/tiny/blobs", content=blob, headers=BLOB | SECOND).json()["id"]
        session = client.post("/v1/sessions", json=ask, headers=SECOND).json()["session"]
        for _ in range(30):
            mine = client.post("/v1/tiny/blobs", content=blob, headers=BLOB).json()["id"]
            client.post("/v1/sessions", json=ask)
        for name, who in ((theirs, SECOND), (mine, FIRST)):
            reply = client.post(f"/v1/tiny/classify?blob={name}", headers=who)
            assert reply.status_code == 200
        short, who = shorten(blob, tiny_codec.fingerprint), BLOB | SECOND | {"Session": session}
        assert client.post("/v1/tiny/classify", content=short, headers=who).status_code == 200


def test_a_store_of_replies_that_fails_is_said_and_asked_again(
    tiny_codec: FeatureCodec, blob: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codec.link.database.BUSY_S", 0.1)
    path = tmp_path / "replies"
    replies = Replies(path)
    with serving(tiny_codec, replies=replies) as client:

        def ask(number: int) -> Any:
            headers = BLOB | {"Sequence": str(number)}
            return client.post("/v1/tiny/classify", content=blob, headers=headers)

        assert ask(1).status_code == 200
        with sqlite3.connect(path) as other:
            other.execute("BEGIN IMMEDIATE")
            assert "another process" in problem(ask(2), 503)
            other.rollback()
        other.close()
        pages = replies._database.pragma("page_count")
        replies._database.rows(f"PRAGMA max_page_count={pages}")  # a full disk
        full = next(reply for reply in (ask(n) for n in range(3, 200)) if reply.status_code != 200)
        assert "full" in problem(full, 503)
        assert full.headers["Retry-After"]
        replies._database.rows("PRAGMA max_page_count=1000000")
        assert ask(2).status_code == 200
    replies.close()


def test_a_damaged_store_of_replies_is_no_fault_of_the_device(
    tiny_codec: FeatureCodec, blob: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replies = Replies(tmp_path / "replies")
    with serving(tiny_codec, replies=replies) as client:
        replies._database.rows("DROP TABLE replies")
        headers = BLOB | {"Sequence": "1"}
        reply = client.post("/v1/tiny/classify", content=blob, headers=headers)
        said = problem(reply, 503)
        assert "cannot be reached" in said
        assert str(tmp_path) not in said
    replies.close()


def test_two_servers_on_one_store_give_one_reply(
    tiny_codec: FeatureCodec, blob: bytes, tmp_path: Path
) -> None:
    stores = [Replies(tmp_path / "replies") for _ in range(2)]
    headers = BLOB | {"Sequence": "1"}
    path = "/v1/tiny/classify?keep=true"
    with (
        serving(tiny_codec, replies=stores[0]) as one,
        serving(tiny_codec, replies=stores[1]) as two,
    ):
        first = one.post(path, content=blob, headers=headers)
        assert two.post(path, content=blob, headers=headers).content == first.content
        problem(two.post(path, content=blob + b"a", headers=headers), 409)
    for store in stores:
        store.close()


def test_wrong_tokens_are_refused_whatever_they_look_like(classes: TestClient, blob: bytes) -> None:
    right = FIRST["Authorization"].split()[1]
    for wrong in (
        "",
        "Bearer",
        "Bearer ",
        right,
        f"Basic {right}",
        f"Bearer {right}a",
        "Bearer é",
    ):
        headers: Any = BLOB | {"Authorization": wrong.encode("latin-1")}
        reply = classes.post("/v1/tiny/classify", content=blob, headers=headers)
        problem(reply, 401)
        assert json.dumps(right)[1:-1] not in reply.text
