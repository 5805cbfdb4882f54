"""Tokens: each is a device's, and none is ever said."""

from __future__ import annotations

from pathlib import Path

import pytest

from codec.serve.tokens import NOBODY, Tokens, read_tokens

FIRST, SECOND = "first-device-token", "second-device-token"


def test_a_token_names_its_device() -> None:
    tokens = Tokens({FIRST: "cam-1", SECOND: "cam-2"})
    assert tokens.device(f"Bearer {SECOND}") == "cam-2"
    assert tokens.device(f"bearer {FIRST}") == "cam-1"
    for header in (None, "", FIRST, f"Basic {FIRST}", "Bearer ", f"Bearer {FIRST}x", "Bearer é"):
        assert tokens.device(header) is None


def test_a_server_without_tokens_takes_everyone() -> None:
    assert Tokens({}).device(None) == NOBODY


def test_a_file_has_a_device_and_its_token_a_line(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# cameras\ncam-1 {FIRST}\n\ncam-2  {SECOND}\n")
    tokens = read_tokens(file)
    assert (len(tokens), tokens.device(f"Bearer {FIRST}")) == (2, "cam-1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no tokens"),
        (f"cam-1 {FIRST}\ncam-2 {FIRST}", "line 2: .* there already"),
        (f"cam-1 {FIRST}\ncam-1 {SECOND}", "line 2: .* there already"),
        ("cam-1 secret", "line 1: .* 16 characters"),
        (f"{FIRST}", "line 1: not a device id and a token"),
        (f"../x {FIRST}", "line 1: not a device id"),
    ],
)
def test_a_wrong_file_is_refused_without_a_word_of_its_tokens(
    tmp_path: Path, text: str, reason: str
) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    with pytest.raises(ValueError, match=reason) as caught:
        read_tokens(file)
    for secret in (FIRST, SECOND, "secret"):
        assert secret not in str(caught.value)
