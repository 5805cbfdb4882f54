"""What a command of eval says when it fails."""

from __future__ import annotations

import pytest

from eval.measuring.failing import failed


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no such split\nand a second line"), "eval.sweep: no such split\n"),
        (OSError(), "eval.sweep: OSError\n"),
        (ValueError(""), "eval.sweep: ValueError\n"),
    ],
)
def test_one_line_is_said(error: Exception, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert failed("eval.sweep", error) == 2
    assert capsys.readouterr() == ("", said)
