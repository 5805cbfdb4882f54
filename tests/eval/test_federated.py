"""python -m eval.federated: runs that learned together, as curves and a table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from eval.federated import main
from eval.measuring.rounds import read_run
from training.engine.recipe import plain_values
from training.rounds.recipe import FederatedRecipe, Updates


def write_run(folder: Path, updates: Updates, n_bytes: int, accuracies: list[float]) -> Path:
    recipe = FederatedRecipe("x", "data", "train", "validation", "test", 3, updates=updates)
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plain_values(recipe)))
    lines = [
        {
            "accuracy": accuracy,
            "bytes_up": {"0": n_bytes, "1": n_bytes},
            "bytes_down": {"0": 3 * n_bytes, "1": 3 * n_bytes},
            "link_s": n_bytes / 1000,
        }
        for accuracy in accuracies
    ]
    (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    score = max(accuracies, default=1) - 1
    right = np.packbits(np.arange(1000) < 10 * score).tobytes().hex()
    said = {"test_accuracy": score, "n_images": 1000, "right": right}
    (folder / "result.json").write_text(json.dumps(said))
    return folder


def test_the_table_says_how_many_times_fewer_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    plain = write_run(tmp_path / "float32", Updates(), 1_000_000, [40.0, 71.0, 72.0])
    ours = write_run(tmp_path / "ours", Updates("coded", 100, 30), 10_000, [39.0, 69.0, 71.5])
    assert main([str(plain), str(ours), "--out", str(tmp_path / "fed.png")]) == 0
    assert (tmp_path / "fed.png").stat().st_size > 1000
    rows = {line.split(" | ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["| float32"] == (
        "| float32 | 3 | 71.00 |  | 6.00 | 18.00 | 1.0 | 1.0 | 2 | 16.00 | 2000.0 |"
    )
    assert rows["| ours"] == (
        "| ours | 3 | 70.50 | 0.50 ± 0.44 | 0.06 | 0.18 | 100.0 | 100.0 | 3 | 0.24 | 30.0 |"
    )


def test_a_run_without_rounds_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = write_run(tmp_path / "empty", Updates(), 1, [])
    (folder / "result.json").unlink()
    assert main([str(folder), "--out", str(tmp_path / "fed.png")]) == 2
    assert "no round yet" in capsys.readouterr().err


def test_a_result_of_too_few_images_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = write_run(tmp_path / "cut", Updates(), 1, [50.0])
    said = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(said | {"right": said["right"][:20]}))
    assert main([str(folder), "--out", str(tmp_path / "fed.png")]) == 2
    assert "of 80 images" in capsys.readouterr().err


def test_a_run_that_goes_on_has_no_score_yet(tmp_path: Path):
    folder = write_run(tmp_path / "going", Updates(), 1, [50.0])
    (folder / "result.json").unlink()
    run = read_run(folder)
    assert run.test_accuracy is None
    assert run.at(50) == 0
    assert run.at(51) is None
