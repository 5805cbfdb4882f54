"""eval.report: tables, and how many more bytes others need."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval import plot, report


def test_the_report_prints_a_table_and_how_many_times_more_bytes_pictures_need(
    tmp_path: Path, made_up: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [made_up("uncut", 3072, 0), made_up("ours", 10, 1.0), made_up("ours", 40, 0.0)]
    rows += [
        made_up("jpeg", 100, 1.0),
        made_up("jpeg", 400, 0.0),
        made_up("webp", 90, 3),
        made_up("webp", 300, 1),
    ]
    rows += [made_up("bottleneck", 25, 1.0), made_up("bottleneck", 100, 0.0)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert report.main([str(file)]) == 0
    printed = capsys.readouterr().out
    assert len([line for line in printed.splitlines() if line.startswith("| ")]) == 1 + len(rows)
    assert "ours needs 20 bytes" in printed
    assert "JPEG needs 200 bytes: 10.0 times as many" in printed
    assert "WebP needs more than 300 bytes: more than 15.0 times as many" in printed
    assert "The linear bottleneck needs 50 bytes: 2.5 times as many" in printed
    assert "The best picture codec is JPEG" in printed
    assert printed.count("needs 50 bytes") == 1, "it is held against the codec, not taken for one"


@pytest.mark.parametrize("text", [None, "", "\n", "{}", "not json", "[1]", '"codec"', "no bytes"])
def test_a_file_that_holds_no_rows_is_refused_in_one_line(
    tmp_path: Path,
    made_up: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    text: str | None,
) -> None:
    file = tmp_path / "rows.jsonl"
    if text == "no bytes":
        text = json.dumps(made_up("jpeg", -1, 0))
    if text is not None:
        file.write_text(text)
    for command in (
        lambda: plot.main([str(file), "--out", str(tmp_path / "p.png")]),
        lambda: report.main([str(file)]),
    ):
        assert command() == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "p.png").exists()


def test_the_report_has_a_table_and_ratios_for_each_task(
    two_tasks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(two_tasks), "--drop", "0.5"]) == 0
    captions, answers = capsys.readouterr().out.split(
        "visual-question-answering (accuracy of answers, %): made:up"
    )
    assert captions.startswith("image-to-text (BLEU-4, %): made:up")
    for printed, n_bytes, whole in ((captions, 20, 900), (answers, 40, 450)):
        assert f"For a drop of 0.5 points ours needs {n_bytes} bytes." in printed
        assert f"The best picture codec is WebP: {100:.1f} times as many." in printed
        assert f"PNG takes 18,000 bytes: {whole:.1f} times as many." in printed
        assert printed.count("| ours |") == 2


def test_a_row_of_no_known_task_is_refused(
    tmp_path: Path, made_up: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(made_up("ours", 1, 0, task="singing")))
    assert report.main([str(file)]) == 2
    assert "task 'singing' is none of" in capsys.readouterr().err


def test_the_report_compares_at_the_agreement_that_the_codec_has_at_its_drop(
    tmp_path: Path, made_up: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        made_up("ours", 10, 1.0, agreement=80),
        made_up("ours", 40, 0.0, agreement=90),
        made_up("webp", 100, 1.0, agreement=75),
        made_up("webp", 1600, 0.0, agreement=95),
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert report.main([str(file)]) == 0
    same_drop, same_agreement = capsys.readouterr().out.split(
        "There ours agrees with the uncut model in 85.00%. For that agreement:"
    )
    assert "ours needs 20 bytes" in same_drop
    assert "WebP needs 400 bytes: 20.0 times as many" in same_drop
    assert "WebP needs 400 bytes: 20.0 times as many" in same_agreement
    assert "The best picture codec is WebP: 20.0 times as many." in same_agreement


def test_a_picture_codec_is_compared_at_its_best_size(
    tmp_path: Path, made_up: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [made_up("ours", 10, 1.0), made_up("ours", 40, 0.0)]
    rows += [made_up("jpeg", 400, 1.0), made_up("jpeg", 900, 0.0)]
    rows += [made_up("jpeg@24", 100, 1.0), made_up("jpeg@24", 400, 0.0)]
    rows += [made_up("jpeg@16", 50, 9.0), made_up("jpeg@16", 60, 8.0)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert report.main([str(file)]) == 0
    printed = capsys.readouterr().out
    assert "JPEG needs 200 bytes: 10.0 times as many" in printed
    assert "jpeg@24 needs" not in printed, "it is held against the codec, not taken for one"


def test_the_table_has_intervals_where_the_sweep_kept_them(
    tmp_path: Path, made_up: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [made_up("ours", 10, 1.0), made_up("ours", 40, 0.25, drop_margin=0.625)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert report.main([str(file)]) == 0
    printed = capsys.readouterr().out
    assert "| 1.00 |" in printed
    assert "| 0.25 ± 0.62 |" in printed
