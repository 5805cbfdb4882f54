"""What `make pythons` runs on each Python is what the README shows."""

from __future__ import annotations

import platform
import sys

from tests.pythons import five_lines, version_of


def test_the_readmes_answers_are_what_its_comments_say():
    lines = five_lines()
    assert "from codec import Device, Server" in lines
    assert "assert server.caption(blob) == " in lines
    assert 'assert server.answer(blob, "what shape is the small thing?") == ' in lines
    compile(lines, "README.md", "exec")


def test_an_interpreter_that_is_not_there_or_does_not_run_has_no_version():
    assert version_of(sys.executable) == platform.python_version()
    assert version_of("python3.999") is None
    assert version_of("false") is None
