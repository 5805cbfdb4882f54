"""The server: what is asked comes back, and what is wrong is refused with its reason."""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image
from starlette.testclient import TestClient

from codec.coding.container import pack, shorten
from codec.model import FeatureCodec
from codec.pipeline import Device, Server
from codec.serve.app import create_app
from codec.serve.models import Served
from codec.serve.replies import Replies
from codec.serve.settings import Limits
from codec.serve.tokens import Tokens

Picture = Callable[..., Image.Image]
BLOB = {"Content-Type": "application/octet-stream"}
TOKEN, OTHER = "token-of-the-first-camera", "token-of-the-second-camera"
QUESTIONS = ["how many red things ?", "what colour is the cube, ?"]


def asks(*questions: str) -> dict[str, str]:
    return {"Question": ",".join(quote(question, safe="") for question in questions)}


@pytest.fixture
def classes(tiny_codec: FeatureCodec) -> Iterator[TestClient]:
    """A server of a classifier."""
    with TestClient(create_app([Served(Server(tiny_codec))])) as client:
        yield client


@pytest.fixture
def words(tiny_blip_codec: FeatureCodec) -> Iterator[TestClient]:
    """A server of a codec that captions and answers."""
    with TestClient(create_app([Served(Server(tiny_blip_codec))])) as client:
        yield client


def problem(reply: Any, status: int) -> str:
    """The detail of a refusal."""
    assert reply.status_code == status, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"
    members = reply.json()
    assert members["status"] == status
    assert {"type", "title"} <= set(members)
    return str(members["detail"])


def test_a_token_is_looked_up_once_a_request(
    tiny_codec: FeatureCodec, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, device = [], Tokens.device

    def counted(tokens: Tokens, header: str | None) -> str | None:
        asked.append(header)
        return device(tokens, header)

    monkeypatch.setattr(Tokens, "device", counted)
    blob = Device(tiny_codec)(picture(1))
    app = create_app([Served(Server(tiny_codec))], Tokens({TOKEN: "cam-1"}))
    with TestClient(app) as client:
        for token, status in ((TOKEN, 200), (OTHER, 401)):
            own = {"Authorization": f"Bearer {token}"}
            reply = client.post("/v1/tiny/classify", content=blob, headers=BLOB | own)
            assert reply.status_code == status
    assert asked == [f"Bearer {TOKEN}", f"Bearer {OTHER}"]
    assert [name for name, _ in app.state.server.status.devices.latest()] == ["cam-1"]


def test_a_blob_gets_the_labels_that_the_library_gives(
    classes: TestClient, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    blob = Device(tiny_codec)(picture(1), 1)
    name = tiny_codec.config.name
    reply = classes.post(f"/v1/{name}/classify?top_k=2", content=blob, headers=BLOB)
    assert reply.status_code == 200, reply.text
    expected = Server(tiny_codec)(blob, top_k=2)
    assert reply.json() == {
        "codec": name,
        "task": "classify",
        "quality": 1,
        "labels": [{"label": one.label, "score": pytest.approx(one.score)} for one in expected],
    }
    assert reply.headers["Server-Timing"].startswith("queue;dur=")


def test_captions_and_answers_come_from_one_kept_blob(
    words: TestClient, tiny_blip_codec: FeatureCodec, picture: Picture
) -> None:
    blob, server = Device(tiny_blip_codec)(picture(2)), Server(tiny_blip_codec)
    path = f"/v1/{tiny_blip_codec.config.name}"
    first = words.post(f"{path}/caption?keep=true", content=blob, headers=BLOB).json()
    assert first["caption"] == server.caption(blob)
    later = words.post(f"{path}/answer?blob={first['id']}", headers=asks(*QUESTIONS))
    assert later.json()["answers"] == server.answer(blob, QUESTIONS)
    kept = words.post(f"{path}/blobs", content=blob, headers=BLOB)
    assert kept.status_code == 201
    assert words.delete(f"{path}/blobs/{kept.json()['id']}").status_code == 204
    gone = words.post(f"{path}/caption?blob={kept.json()['id']}")
    assert "no such blob" in problem(gone, 404)


def test_a_picture_is_answered_by_the_uncut_model(
    words: TestClient, tiny_blip_codec: FeatureCodec, picture: Picture, tmp_path: Any
) -> None:
    file = tmp_path / "a.png"
    picture(3).save(file)
    path = f"/v1/{tiny_blip_codec.config.name}"
    headers = {"Content-Type": "image/png"}
    reply = words.post(f"{path}/caption", content=file.read_bytes(), headers=headers)
    assert reply.status_code == 200, reply.text
    assert reply.json()["quality"] is None
    bad = words.post(f"{path}/caption", content=b"no picture", headers=headers)
    assert "no picture" in problem(bad, 400)


def test_a_session_agrees_once_and_takes_shortened_blobs(
    classes: TestClient, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    blob, fingerprint = Device(tiny_codec)(picture(1)), tiny_codec.fingerprint
    name = tiny_codec.config.name
    opened = classes.post("/v1/sessions", json={"fingerprint": fingerprint.hex()})
    assert opened.status_code == 201
    session = {"Session": opened.json()["session"]}
    short = shorten(blob, fingerprint)
    reply = classes.post(f"/v1/{name}/classify", content=short, headers=BLOB | session)
    whole = classes.post(f"/v1/{name}/classify", content=blob, headers=BLOB)
    assert reply.json() == whole.json()
    stale = classes.post(f"/v1/{name}/classify", content=short, headers=BLOB | {"Session": "old"})
    assert "open another" in problem(stale, 404)


def test_a_foreign_fingerprint_is_told_which_codecs_there_are(
    classes: TestClient, tiny_codec: FeatureCodec
) -> None:
    reply = classes.post("/v1/sessions", json={"fingerprint": "00" * 32})
    problem(reply, 404)
    known = {"name": tiny_codec.config.name, "fingerprint": tiny_codec.fingerprint.hex()}
    assert reply.json()["codecs"] == [known]


def test_a_batch_has_an_answer_or_a_problem_for_each(
    words: TestClient, tiny_blip_codec: FeatureCodec, picture: Picture
) -> None:
    blobs = Device(tiny_blip_codec)([picture(1), picture(2)])
    coded = [base64.b64encode(blob).decode() for blob in (*blobs, blobs[0][:-1])]
    path = f"/v1/{tiny_blip_codec.config.name}/batch/answer"
    reply = words.post(path, json={"blobs": [*coded, "?"], "questions": QUESTIONS[:1]})
    assert reply.status_code == 200, reply.text
    results = reply.json()["results"]
    expected = Server(tiny_blip_codec).answer(blobs, QUESTIONS[0])
    assert [one["answers"] for one in results[:2]] == [[said] for said in expected]
    assert [one["problem"]["status"] for one in results[2:]] == [400, 400]
    wrong = words.post(path, json={"blobs": coded[:1] * 3, "questions": QUESTIONS})
    assert "one for each" in problem(wrong, 400)


def test_the_codecs_are_listed(classes: TestClient, tiny_codec: FeatureCodec) -> None:
    (one,) = classes.get("/v1/codecs").json()["codecs"]
    assert one["fingerprint"] == tiny_codec.fingerprint.hex()
    assert (one["tasks"], one["n_labels"]) == (["classify"], 4)


def test_bad_blobs_are_refused_with_the_librarys_reason(
    classes: TestClient, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    blob = Device(tiny_codec)(picture(1))
    path = f"/v1/{tiny_codec.config.name}/classify"
    flipped = blob[:-1] + bytes([blob[-1] ^ 1])
    for body, reason in (
        (b"", "empty"),
        (b"abc", "fewer than its header"),
        (flipped, "damaged"),
        (b"\xf0" + blob[1:], "format version 15"),
        (pack(b"abc", 0, bytes(32)), "another codec"),
        (pack(b"\xff" * 40, 0, tiny_codec.fingerprint), ""),  # a right check, a wrong payload
    ):
        assert reason in problem(classes.post(path, content=body, headers=BLOB), 400)


def test_what_is_asked_wrongly_is_refused(
    words: TestClient, tiny_blip_codec: FeatureCodec, picture: Picture
) -> None:
    blob, name = Device(tiny_blip_codec)(picture(1)), tiny_blip_codec.config.name

    def ask(path: str, **headers: str) -> Any:
        return words.post(f"/v1/{path}", content=blob, headers=BLOB | headers)

    assert "does not classify" in problem(ask(f"{name}/classify"), 404)
    assert "does not serve" in problem(ask("other/caption"), 404)
    assert "at least one question" in problem(ask(f"{name}/answer"), 400)
    assert "UTF-8" in problem(ask(f"{name}/answer", Question="%ff"), 400)
    assert "at most 32" in problem(ask(f"{name}/answer", **asks(*["a ?"] * 33)), 400)
    assert "top_k" in problem(ask(f"{name}/caption?top_k=0"), 422)
    assert "octet-stream" in problem(ask(f"{name}/caption", **{"Content-Type": "text/html"}), 415)
    problem(words.get("/nowhere"), 404)
    problem(words.get(f"/v1/{name}/caption"), 405)


def test_only_a_token_lets_in_and_each_device_has_its_own_blobs(
    tiny_codec: FeatureCodec, picture: Picture
) -> None:
    blob, name = Device(tiny_codec)(picture(1)), tiny_codec.config.name
    tokens = Tokens({TOKEN: "cam-1", OTHER: "cam-2"})
    first, second = ({"Authorization": f"Bearer {token}"} for token in (TOKEN, OTHER))
    with TestClient(create_app([Served(Server(tiny_codec))], tokens)) as client:
        path = f"/v1/{name}/classify"
        reply = client.post(path, content=blob, headers=BLOB)
        problem(reply, 401)
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        problem(client.get("/v1/codecs"), 401)
        kept = client.post(f"{path}?keep=true", content=blob, headers=BLOB | first).json()["id"]
        assert client.post(f"{path}?blob={kept}", headers=first).status_code == 200
        problem(client.post(f"{path}?blob={kept}", headers=second), 404)
        assert client.get("/healthz").status_code == 200


def test_a_body_that_is_too_long_is_refused(tiny_codec: FeatureCodec, picture: Picture) -> None:
    name = tiny_codec.config.name
    limits = Limits(blob_bytes=100, picture_bytes=1000)
    with TestClient(create_app([Served(Server(tiny_codec))], limits=limits)) as client:
        path = f"/v1/{name}/classify"
        assert "more than 100" in problem(client.post(path, content=bytes(101), headers=BLOB), 413)

        def endless() -> Iterator[bytes]:
            for _ in range(1000):
                yield bytes(64)

        problem(client.post(path, content=endless(), headers=BLOB), 413)
        long = {"Content-Type": "image/png"}
        problem(client.post(path, content=bytes(1001), headers=long), 413)


def test_a_server_is_ready_while_its_workers_run_and_a_new_device_has_room(
    tiny_codec: FeatureCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app([Served(Server(tiny_codec))])
    with TestClient(app) as client:
        assert client.get("/readyz").status_code == 200
        (queue,) = app.state.server.queues.values()
        with monkeypatch.context() as patched:
            patched.setattr(type(queue), "has_room", False)
            assert "of another device" in problem(client.get("/readyz"), 503)
        app.state.server.pictures.stop()
        assert problem(client.get("/readyz"), 503).startswith("pictures to decode: its worker")
        queue.stop()
        assert "worker" in problem(client.get("/readyz"), 503)


def test_an_application_that_ends_leaves_no_thread(tiny_codec: FeatureCodec) -> None:
    before = set(threading.enumerate())
    with TestClient(create_app([Served(Server(tiny_codec))])) as client:
        assert client.get("/readyz").status_code == 200
        assert len({one for one in threading.enumerate() if one.name == "batches"} - before) == 4
    assert not {one for one in threading.enumerate() if one.name == "batches"} - before


def test_metrics_count_replies_and_name_no_device(
    classes: TestClient, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    blob, name = Device(tiny_codec)(picture(1)), tiny_codec.config.name
    classes.post(f"/v1/{name}/classify", content=blob, headers=BLOB)
    classes.post(f"/v1/{name}/classify", content=b"x", headers=BLOB)
    classes.post("/v1/strange/classify", content=b"x", headers=BLOB)
    text = classes.get("/metrics").text
    for status in ("200", "400"):
        labels = f'{{codec="{name}",status="{status}",task="classify"}}'
        assert f"taskcodec_requests_total{labels} 1.0" in text
    assert "strange" not in text
    assert "anyone" not in text


def test_no_question_and_no_token_is_logged(
    tiny_blip_codec: FeatureCodec, picture: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    blob, name = Device(tiny_blip_codec)(picture(1)), tiny_blip_codec.config.name
    headers = BLOB | {"Authorization": f"Bearer {TOKEN}"}
    tokens = Tokens({TOKEN: "cam-1"})
    with TestClient(create_app([Served(Server(tiny_blip_codec))], tokens)) as client:
        path = f"/v1/{name}/answer"
        for asked in (asks("is the secret cube red ?"), asks("")):
            reply = client.post(path, content=blob, headers=headers | asked)
            assert TOKEN not in reply.text
    assert "secret" not in caplog.text
    assert TOKEN not in caplog.text


def test_a_request_that_comes_again_gets_the_same_reply_and_runs_nothing(
    tiny_codec: FeatureCodec, picture: Picture, tmp_path: Path
) -> None:
    blob, other = (Device(tiny_codec)(picture(seed)) for seed in (1, 2))
    path = f"/v1/{tiny_codec.config.name}/classify?keep=true"
    tokens = Tokens({TOKEN: "cam-1", OTHER: "cam-2"})
    first, second = ({"Authorization": f"Bearer {token}"} for token in (TOKEN, OTHER))
    key = BLOB | {"Sequence": "7"}

    def restarted() -> TestClient:
        served = [Served(Server(tiny_codec))]
        return TestClient(create_app(served, tokens, replies=Replies(tmp_path / "replies")))

    with restarted() as client:
        reply = client.post(path, content=blob, headers=key | first)
        again = client.post(path, content=blob, headers=key | first)
        assert again.content == reply.content, "the id is the same: nothing was kept twice"
        assert "Server-Timing" in reply.headers
        assert "Server-Timing" not in again.headers
        detail = problem(client.post(path, content=other, headers=key | first), 409)
        assert "another content" in detail
        theirs = client.post(path, content=other, headers=key | second)
        assert theirs.status_code == 200
        assert theirs.json()["id"] != reply.json()["id"]
        problem(client.post(path, content=blob, headers=key | first | {"Sequence": "-1"}), 422)
        anew = client.post(path, content=other, headers=key | first | {"Device": "new-queue"})
        assert anew.status_code == 200, "the numbers of another queue are others"
    with restarted() as client:
        late = client.post(path, content=blob, headers=key | first)
        assert late.content == reply.content, "a restart forgets no reply"


def test_a_request_that_comes_again_in_another_session_is_the_same(
    classes: TestClient, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    fingerprint, replies = tiny_codec.fingerprint, []
    short = shorten(Device(tiny_codec)(picture(1)), fingerprint)
    path = f"/v1/{tiny_codec.config.name}/classify"
    for _ in range(2):
        opened = classes.post("/v1/sessions", json={"fingerprint": fingerprint.hex()})
        key = BLOB | {"Sequence": "7", "Session": opened.json()["session"]}
        replies.append(classes.post(path, content=short, headers=key))
    assert [one.status_code for one in replies] == [200, 200], replies[1].text
    assert "Server-Timing" not in replies[1].headers, "it was run once"


def test_without_a_number_a_request_runs_each_time(
    classes: TestClient, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    blob, path = Device(tiny_codec)(picture(1)), f"/v1/{tiny_codec.config.name}/classify?keep=true"
    ids = {classes.post(path, content=blob, headers=BLOB).json()["id"] for _ in range(3)}
    assert len(ids) == 3
