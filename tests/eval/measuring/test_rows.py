"""Rows of sweeps: what earlier files lack, and what no file may hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codec.model.checkpoint import shipped_names, shipped_root
from eval.measuring.rows import KEYS, LATER, Row, read_rows, write_rows


def test_rows_of_earlier_sweeps_are_read_with_the_later_keys_empty(
    tmp_path: Path, made_up: Callable[..., dict[str, Any]]
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(made_up("jpeg", 100, 1.0)) + "\n")
    (row,) = read_rows(file)
    assert set(row) == {*KEYS, *LATER}
    assert all(row[key] is None for key in LATER)


def test_what_is_written_is_read_back_and_empty_keys_are_not_written(
    tmp_path: Path, made_up: Callable[..., dict[str, Any]]
) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        Row(**made_up("ours", 10, 1.0)),
        Row(**made_up("ours", 10, 1.0, drop_margin=0.5, n_answers=7, server_macs=9)),
    ]
    write_rows(rows, file)
    assert [Row(**row) for row in read_rows(file)] == rows
    first, second = map(json.loads, file.read_text().splitlines())
    assert list(first) == list(KEYS)
    assert list(second) == [*KEYS, *LATER]


def test_a_later_key_that_is_no_number_is_refused(
    tmp_path: Path, made_up: Callable[..., dict[str, Any]]
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(made_up("jpeg", 100, 1.0, drop_margin="wide")))
    with pytest.raises(ValueError, match="line 1: drop_margin is not a number"):
        read_rows(file)


def test_every_shipped_sweep_is_read() -> None:
    files = sorted(shipped_root().glob("*/sweep.jsonl"))
    assert [file.parent.name for file in files] == shipped_names()
    # that of photographs has two sizes of one picture codec so far
    least = {"vit-small-caltech101": 14}
    assert all(len(read_rows(file)) > least.get(file.parent.name, 20) for file in files)
