"""`codec send` and `codec watch`: what is refused, and when a server is asked again."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from codec.cli import sending
from codec.cli.app import app as cli
from codec.link.http import UnansweredError
from codec.link.policy import TOLERANCE


@pytest.mark.parametrize("text", ["cam-1 token-of-the-first-camera\n", ""])
def test_a_servers_token_file_is_not_a_devices(text: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    options = ("--token-file", str(file))
    for command in (
        ("send", "http://127.0.0.1:9", "tiny", "photo.jpg", *options),
        ("watch", str(tmp_path), "--server", "http://127.0.0.1:9", "--codec", "tiny", *options),
    ):
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 2
        assert "holds its token alone" in result.stderr


@pytest.mark.parametrize(
    ("asked_s", "waits"), [(0.0, [0.5, 1.5, 3.5]), (2.0, [2.0, 4.5, 9.5]), (1e4, [60.0] * 3)]
)
def test_a_watch_waits_as_long_as_a_server_without_time_asks(
    asked_s: float, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, tried = [0.0], []

    def send() -> Any:
        tried.append(now[0])
        if len(tried) == 4:
            raise KeyboardInterrupt
        raise UnansweredError("the server answered 429: why", asked_s)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    clock = SimpleNamespace(sleep=sleep, monotonic=lambda: now[0])
    outbox = SimpleNamespace(n_waiting=1)
    watch = SimpleNamespace(
        n_unsettled=0, look=list, send=send, outbox=outbox, by_itself=lambda _: []
    )
    monkeypatch.setattr("codec.link.client.SplitClient", lambda *_, **__: None)
    monkeypatch.setattr("codec.link.watch.Watch", lambda *_: watch)
    monkeypatch.setattr(sending, "time", clock)
    folder = str(tmp_path)
    CliRunner().invoke(cli, ["watch", folder, "--server", "http://a", "--codec", "tiny"])
    assert [later - earlier for earlier, later in pairwise(tried)] == waits


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), (None, TOLERANCE, 0.0)),
        (("--deadline-ms", "200", "--tolerance", "1.5", "--ms-per-byte", "2"), (200.0, 1.5, 2.0)),
    ],
)
def test_tolerance_and_the_price_of_a_byte_reach_the_client(
    options: tuple[str, ...],
    wanted: tuple[float | None, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[Any, ...]] = []

    def client(_url: str, _name: str, _token: Any, deadline_ms: Any, **rest: Any) -> Any:
        made.append((deadline_ms, rest["tolerance"], rest["ms_per_byte"]))
        raise ValueError("no server here")

    monkeypatch.setattr("codec.link.client.SplitClient", client)
    photo = tmp_path / "photo.png"
    photo.touch()
    command = ["send", "http://127.0.0.1:9", "tiny", str(photo), *options]
    result = CliRunner().invoke(cli, command)
    assert made == [wanted]
    assert result.exit_code == 2


@pytest.mark.parametrize("option", ["--tolerance", "--ms-per-byte"])
def test_a_negative_tolerance_or_price_is_refused(option: str) -> None:
    result = CliRunner().invoke(cli, ["send", "http://127.0.0.1:9", "tiny", "a.png", option, "-1"])
    assert (result.exit_code, option in result.stderr) == (2, True)
