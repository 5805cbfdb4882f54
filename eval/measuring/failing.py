"""an error -> what a command of eval says of it on stderr, and its exit code."""

from __future__ import annotations

import sys


def failed(prog: str, error: Exception) -> int:
    """Say in one line why a command ends; return its exit code, 2.

    Args:
        prog: name of the command, such as `eval.sweep`.
        error: the first line of its message is said; its type where it has none.
    """
    lines = str(error).splitlines()
    print(f"{prog}: {lines[0] if lines else type(error).__name__}", file=sys.stderr)
    return 2
