"""`codec send` and `codec watch`: what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from codec.cli.app import app as cli


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
