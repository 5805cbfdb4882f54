"""eval.studies.progressive: what layers cost, on real blobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.studies import progressive


def test_a_table_has_a_row_for_each_layer_and_one_layer_alone_costs_nothing(
    tiny_codec_folder: Path, labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(labelled), "--limit", "6", "--layers", "0,2", "--layers", "0,1,2"]
    assert progressive.main([str(tiny_codec_folder), *options]) == 0
    first, second = capsys.readouterr().out.split("layers 0,1,2, 6 pictures")
    assert "layers 0,2, 6 pictures" in first
    rows = [line.split("|")[1:-1] for line in first.splitlines() if line.startswith("| ")][1:]
    assert [int(row[0]) for row in rows] == [0, 2]
    assert rows[0][3].strip() == "+0.0%", "the lowest layer is a blob as it is alone"
    assert rows[-1][2] == rows[-1][4], "the finest is not cut"
    assert len([line for line in second.splitlines() if line.startswith("| ")]) == 1 + 3


def test_layers_that_do_not_rise_are_refused_in_one_line(
    tiny_codec_folder: Path, labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(labelled), "--layers", "2,0"]
    assert progressive.main([str(tiny_codec_folder), *options]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
