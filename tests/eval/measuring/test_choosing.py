"""Which sizes and qualities of picture codecs are worth measuring."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from codec.tasks import CAPTIONS, LABELS
from eval.measuring.choosing import on_front
from eval.measuring.rows import Row


def row(codec: str, quality: int, n_bytes: float, score: float, task: str = LABELS) -> Row:
    numbers: dict[str, Any] = dict.fromkeys(Row.__dataclass_fields__, 0)
    made = Row(**numbers)
    return replace(made, codec=codec, quality=quality, bytes_mean=n_bytes, score=score, task=task)


def test_what_is_larger_and_no_better_is_not_on_the_front() -> None:
    rows = [
        row("jpeg", 5, 300, 50),
        row("jpeg", 10, 400, 60),
        row("webp", 1, 200, 55),
        row("webp", 5, 400, 61),
        row("webp", 20, 500, 61),
    ]
    assert on_front(rows) == {("webp", 1), ("webp", 5)}


def test_a_row_that_is_best_in_one_task_is_on_the_front() -> None:
    rows = [
        row("jpeg", 5, 300, 50),
        row("webp", 1, 200, 55),
        row("jpeg", 5, 300, 9, CAPTIONS),
        row("webp", 1, 200, 8, CAPTIONS),
    ]
    assert on_front(rows) == {("webp", 1), ("jpeg", 5)}
