"""eval.encoder_cost: a recipe's encoder beside a block, for every target."""

from __future__ import annotations

import pytest

from codec.targets import TARGETS
from eval import encoder_cost

SMALL = ["student_widths=[8,8,8,8,8]", "student_depths=[0,0,0,0,1]"]


def test_every_target_has_a_row_and_a_small_encoder_is_cheaper_than_a_block(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_cost, "RUNS", 1)
    encoder_cost.main(["vit-base-imagenet-student", *SMALL])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if " MB " in line]
    assert [row[0] for row in rows] == list(TARGETS)
    assert all(float(row[-1]) < 0.5 for row in rows)


def test_a_recipe_of_another_size_is_refused() -> None:
    with pytest.raises(SystemExit, match="not of a student encoder for 224 x 224"):
        encoder_cost.main(["vit-tiny-cifar10-student"])
