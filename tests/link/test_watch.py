"""A watched folder: every picture is answered once, in order, whatever happens to the link."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from typer.testing import CliRunner

from codec.cli.app import app as cli
from codec.link.client import SplitClient
from codec.link.http import UnansweredError
from codec.link.watch import Watch
from codec.model import FeatureCodec
from codec.pipeline import Device, Server
from tests.conftest import LABELS
from tests.link.test_client import Answering, serving

Picture = Callable[..., Image.Image]


@pytest.fixture
def camera(picture: Picture, tmp_path: Path) -> Callable[[str, int], Path]:
    """Function (name, second) -> a picture's file of that time."""
    folder = tmp_path / "camera"
    folder.mkdir()

    def take(name: str, second: int) -> Path:
        path = folder / name
        picture(second).save(path)
        os.utime(path, (second, second))
        return path

    return take


def settled(watch: Watch) -> list[str]:
    """The names of pictures that are none, after two looks."""
    return [seen.name for _ in range(2) for seen in watch.look()]


def test_pictures_are_answered_in_the_order_of_their_times(
    tiny_codec: FeatureCodec, camera: Callable[[str, int], Path]
) -> None:
    paths = [camera("b.png", 1), camera("a.png", 2), camera("c.png", 2)]
    with serving(tiny_codec) as url:
        watch = Watch(paths[0].parent, SplitClient(url, Device(tiny_codec)))
        assert watch.look() == []
        assert watch.n_unsettled == 3, "they may still be written"
        assert settled(watch) == []
        seen = list(watch.send())
        later = camera("d.png", 9)
        assert settled(watch) == []
        seen += list(watch.send())
    assert [one.name for one in seen] == ["b.png", "a.png", "c.png", "d.png"]
    server, device = Server(tiny_codec), Device(tiny_codec)
    for one, path in zip(seen, [*paths, later], strict=True):
        assert one.reply is not None
        assert one.reply["labels"][0]["label"] == server(device(path))[0].label


def test_a_picture_that_grows_waits_and_so_do_those_behind_it(
    tiny_codec: FeatureCodec, camera: Callable[[str, int], Path]
) -> None:
    growing, behind = camera("a.png", 1), camera("b.png", 2)
    whole = growing.read_bytes()
    watch = Watch(growing.parent, SplitClient("http://127.0.0.1:1", Device(tiny_codec)))
    for n_bytes in (10, 20, 30):
        growing.write_bytes(whole[:n_bytes])
        os.utime(growing, (1, 1))
        assert watch.look() == []
        assert watch.outbox.n_waiting == 0
    growing.write_bytes(whole)
    os.utime(growing, (1, 1))
    assert settled(watch) == []
    assert (watch.outbox.n_waiting, watch.n_unsettled) == (2, 0)
    assert behind.exists()


def test_a_name_that_comes_again_is_another_picture(
    tiny_codec: FeatureCodec, camera: Callable[[str, int], Path]
) -> None:
    path = camera("a.png", 1)
    watch = Watch(path.parent, SplitClient("http://127.0.0.1:1", Device(tiny_codec)))
    settled(watch)
    settled(watch)
    assert watch.outbox.n_waiting == 1
    camera("a.png", 2)  # in the place of the first
    settled(watch)
    assert watch.outbox.n_waiting == 2
    path.unlink()
    settled(watch)
    assert (watch._taken, watch.n_unsettled) == ({}, 0), "nothing is held of what has gone"
    camera("a.png", 2)
    settled(watch)
    assert watch.outbox.n_waiting == 2, "the same time: the same picture"
    path.write_bytes(b"no picture")
    assert settled(watch) == ["a.png"]
    path.unlink()
    camera("a.png", 4)
    settled(watch)
    assert watch.outbox.n_waiting == 3


def test_what_is_no_picture_is_named_and_the_others_go_on(
    tiny_codec: FeatureCodec, camera: Callable[[str, int], Path]
) -> None:
    good = camera("z.png", 5)
    bad = good.with_name("a.jpg")
    bad.write_bytes(b"no picture")
    watch = Watch(good.parent, SplitClient("http://127.0.0.1:1", Device(tiny_codec)))
    assert settled(watch) == ["a.jpg"]
    assert settled(watch) == [], "it is named once"
    assert watch.outbox.n_waiting == 1


def test_nothing_is_lost_or_repeated_over_a_lost_link_and_a_restart(
    tiny_codec: FeatureCodec, camera: Callable[[str, int], Path]
) -> None:
    paths = [camera(f"{i}.png", i) for i in range(1, 4)]
    folder, device = paths[0].parent, Device(tiny_codec)
    watch = Watch(folder, SplitClient("http://127.0.0.1:1", device))
    settled(watch)
    with pytest.raises(ValueError, match="no reply"):
        list(watch.send())
    assert watch.outbox.n_waiting == 3
    watch.outbox.close()
    with serving(tiny_codec) as url:
        watch = Watch(folder, SplitClient(url, device))
        settled(watch)
        assert watch.outbox.n_waiting == 3, "known by their names"
        assert [seen.name for seen in watch.send()] == ["1.png", "2.png", "3.png"]
        watch.outbox.close()
        watch = Watch(folder, SplitClient(url, device))
        settled(watch)
        assert list(watch.send()) == [], "answered before the restart"


def test_the_devices_own_answers_are_provisional_until_the_servers_replace_them(
    tiny_codec: FeatureCodec, camera: Callable[[str, int], Path]
) -> None:
    folder, own = camera("a.png", 1).parent, [{"label": "own", "score": 1.0}]
    camera("b.png", 2)
    asked: list[Path] = []

    def alone(image: Path) -> list[dict[str, object]]:
        asked.append(image)
        return own

    def away() -> list[tuple[str, object, bool]]:
        settled(watch)
        with pytest.raises(UnansweredError) as caught:
            list(watch.send())
        return [(one.name, one.reply, one.provisional) for one in watch.by_itself(caught.value)]

    mine = {"task": "classify", "labels": own}
    client = SplitClient("http://127.0.0.1:1", Device(tiny_codec), alone=alone)
    watch = Watch(folder, client)
    assert away() == [("a.png", mine, True), ("b.png", mine, True)]
    camera("c.png", 3)
    assert away() == [("c.png", mine, True)], "each once"
    watch.outbox.close()
    with serving(tiny_codec) as url:
        there = SplitClient(url, Device(tiny_codec), alone=alone)
        client.session.connection = there.session.connection
        watch = Watch(folder, client)
        settled(watch)
        assert client.told() == {"Alone": "3"}
        seen = list(watch.send())
        assert client.told() == {}, "the server knows"
        there.close()
    assert [(one.name, one.provisional) for one in seen] == [
        (f"{name}.png", False) for name in "abc"
    ]
    assert all(one.reply is not None and one.reply["codec"] == "tiny" for one in seen)
    assert list(watch.by_itself(UnansweredError("gone"))) == [], "nothing waits"
    assert len(asked) == 3


def test_a_device_without_an_own_model_has_no_provisional_answers(
    tiny_codec: FeatureCodec, camera: Callable[[str, int], Path]
) -> None:
    watch = Watch(camera("a.png", 1).parent, SplitClient("http://127.0.0.1:1", Device(tiny_codec)))
    settled(watch)
    assert list(watch.by_itself(UnansweredError("gone"))) == []
    assert watch.outbox.n_waiting == 1


def answering(watch: Watch, status: int, body: bytes = b'{"detail": "why"}') -> Answering:
    """The connection, in the place of the watch's own."""
    found = Answering(status, body)
    watch._client.session.connection = found  # type: ignore[assignment]
    return found


@pytest.mark.parametrize(
    ("status", "body"),
    [(status, b'{"detail": "why"}') for status in (302, 401, 403, 404, 405, 408, 429, 500, 503)]
    + [(200, b"<html>log in to this network</html>"), (403, b"<html>"), (200, b"[]")],
)
def test_what_is_not_about_a_picture_never_costs_one(
    tiny_codec: FeatureCodec, camera: Callable[[str, int], Path], status: int, body: bytes
) -> None:
    folder = camera("a.png", 1).parent
    watch = Watch(folder, SplitClient("http://127.0.0.1:1", Device(tiny_codec)))
    settled(watch)
    connection = answering(watch, status, body)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"the server answered {status}"):
            list(watch.send())
    assert watch.outbox.n_waiting == 1
    assert connection.asked == ["/v1/sessions", "/v1/tiny/classify"] * 2, "the session is forgotten"
    answering(watch, 200, b'{"labels": []}')
    assert list(watch.send()) == [("a.png", {"labels": []}, None, False)]
    assert watch.outbox.n_waiting == 0


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_a_picture_that_the_server_refuses_is_named_and_the_next_goes_on(
    tiny_codec: FeatureCodec, camera: Callable[[str, int], Path], status: int
) -> None:
    folder = camera("a.png", 1).parent
    camera("b.png", 2)
    watch = Watch(folder, SplitClient("http://127.0.0.1:1", Device(tiny_codec)))
    settled(watch)
    answering(watch, status)
    assert [
        (seen.name, seen.reply, str(status) in (seen.error or "")) for seen in watch.send()
    ] == [
        ("a.png", None, True),
        ("b.png", None, True),
    ]
    assert watch.outbox.n_waiting == 0


def test_an_answer_comes_again_to_who_was_ended_before_taking_the_next(
    tiny_codec: FeatureCodec, camera: Callable[[str, int], Path]
) -> None:
    folder = camera("a.png", 1).parent
    watch = Watch(folder, SplitClient("http://127.0.0.1:1", Device(tiny_codec)))
    settled(watch)
    answering(watch, 200, b'{"labels": []}')
    assert next(watch.send()).name == "a.png"
    assert watch.outbox.n_waiting == 1
    assert [seen.name for seen in watch.send()] == ["a.png"]
    assert watch.outbox.n_waiting == 0


def test_the_command_prints_a_line_for_each_picture(
    tiny_codec: FeatureCodec, tiny_codec_folder: Path, camera: Callable[[str, int], Path]
) -> None:
    folder = camera("a.png", 1).parent
    camera("b.png", 2)
    (folder / "c.png").write_bytes(b"no picture")
    with serving(tiny_codec) as url:
        arguments = ["watch", str(folder), "--server", url, "--codec", str(tiny_codec_folder)]
        result = CliRunner().invoke(cli, [*arguments, "--once", "--every", "0.05"])
        again = CliRunner().invoke(cli, [*arguments, "--once", "--every", "0.05"])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["name"] for line in lines] == ["c.png", "a.png", "b.png"]
    assert lines[0]["error"]
    assert all(line["reply"]["task"] == "classify" for line in lines[1:])
    assert [json.loads(line)["name"] for line in again.stdout.splitlines()] == ["c.png"]


def test_the_commands_provisional_answers_are_replaced_when_the_link_is_back(
    own_bundle: Path, camera: Callable[[str, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = camera("a.png", 1).parent
    connection = Answering(None)
    monkeypatch.setattr("codec.link.client.connect", lambda *_: connection)
    clock = SimpleNamespace(now_s=0.0, n=0)

    def sleep(seconds: float) -> None:
        clock.now_s, clock.n = clock.now_s + seconds, clock.n + 1
        if clock.n == 10:  # the server is asked again in a while only
            camera("b.png", 2)
        if clock.n == 12:
            connection.status, connection.body = 200, b'{"labels": []}'
        if clock.n == 40:
            raise KeyboardInterrupt

    times = SimpleNamespace(monotonic=lambda: clock.now_s, sleep=sleep)
    monkeypatch.setattr("codec.cli.sending.time", times)
    command = ["watch", str(folder), "--server", "http://x", "--codec", str(own_bundle)]
    result = CliRunner().invoke(cli, command)
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    seen = [(line["name"], line["provisional"]) for line in lines]
    assert seen == [("a.png", True), ("b.png", True), ("a.png", False), ("b.png", False)]
    assert {one["label"] for one in lines[0]["reply"]["labels"]} == set(LABELS)
    assert lines[2]["reply"] == {"labels": []}
    complaints = [line for line in result.stderr.splitlines() if "wait" in line]
    assert complaints == ["codec: error: no reply from here; 1 pictures wait"]
    assert connection.asked.count("/v1/tiny/classify") < 10, "a lost server is asked less and less"


def test_the_command_with_once_says_what_it_can_and_ends(
    own_bundle: Path, camera: Callable[[str, int], Path]
) -> None:
    folder = camera("a.png", 1).parent
    server = ["--server", "http://127.0.0.1:1", "--codec", str(own_bundle)]
    result = CliRunner().invoke(cli, ["watch", str(folder), *server, "--once", "--every", "0.05"])
    assert result.exit_code != 0
    (line,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert (line["name"], line["error"], line["provisional"]) == ("a.png", None, True)
    sent = CliRunner().invoke(cli, ["send", server[1], str(own_bundle), str(folder / "a.png")])
    assert sent.exit_code == 0
    assert "provisional" in sent.stdout
    assert "answered by the device alone: the server did not answer" in sent.stderr


def test_a_picture_that_has_changed_meanwhile_has_no_answer_of_the_devices_own(
    tiny_codec: FeatureCodec, own_bundle: Path, camera: Callable[[str, int], Path]
) -> None:
    path = camera("a.png", 1)
    watch = Watch(path.parent, SplitClient("http://127.0.0.1:1", own_bundle))
    settled(watch)
    path.write_bytes(b"no picture")
    (seen,) = watch.by_itself(UnansweredError("gone"))
    assert (seen.reply, seen.provisional) == (None, True)
    assert "picture" in (seen.error or "")
    assert watch.outbox.n_waiting == 1


def test_a_folder_that_is_not_there_is_one_line() -> None:
    result = CliRunner().invoke(cli, ["watch", "nowhere", "--server", "http://x", "--codec", "y"])
    assert result.exit_code == 2
    assert "no folder nowhere" in result.stderr
