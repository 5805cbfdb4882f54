"""How long outbox and store of replies take for a request, on the disk of temporary files."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from codec.link.queue import Outbox
from codec.serve.replies import Replies

pytest.importorskip("pytest_benchmark")

BLOB, REPLY, DIGEST = bytes(47), bytes(200), bytes(32)


def test_put(benchmark: Any, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    benchmark.pedantic(lambda: outbox.put(BLOB), rounds=300)


def test_done(benchmark: Any, tmp_path: Path) -> None:
    outbox, numbers = Outbox(tmp_path / "outbox"), count()
    for _ in range(300):
        outbox.put(BLOB)
    benchmark.pedantic(lambda: outbox.done(next(numbers), REPLY), rounds=300)


def test_store(benchmark: Any, tmp_path: Path) -> None:
    replies, numbers = Replies(tmp_path / "replies"), count()
    benchmark.pedantic(lambda: replies.store("camera", next(numbers), DIGEST, REPLY), rounds=300)


def test_begin(benchmark: Any, tmp_path: Path) -> None:
    replies = Replies(tmp_path / "replies")
    replies.store("camera", 0, DIGEST, REPLY)
    assert benchmark(lambda: replies.begin("camera", 0, DIGEST)) == REPLY
