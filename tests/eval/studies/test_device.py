"""eval.studies.device: rows, verdict and picture of a codec and the device alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codec.model.cost import device_cost, multiply_accumulates
from codec.model.mobile import MobileAnalysis, mobile_layers
from eval.studies import device
from eval.studies.counting import Counted
from eval.studies.device_rows import DeviceRow, markdown, row_of, verdict
from eval.studies.kept_rows import read_rows, write_rows
from training.codecs.recipe import CodecRecipe
from training.engine.recipe import read_recipe

N = 400


def counted(scores: tuple[float, ...], n_bytes: tuple[float, ...]) -> Counted:
    """A codec whose qualities are right for these shares of the images, the same ones first."""
    right = np.array([np.arange(N) < share * N for share in scores], dtype=float)
    sizes = np.array([np.full(N, size) for size in n_bytes])
    return Counted(sizes, right, (np.arange(N) < 0.95 * N).astype(float), 0)


def alone(share: float) -> np.ndarray:
    return (np.arange(N) < share * N).astype(float)


@pytest.fixture
def rows() -> list[DeviceRow]:
    small = row_of("small", "train", 5_000_000, alone(0.5), counted((0.6, 0.9), (10.0, 200.0)))
    large = row_of("large", "train", 50_000_000, alone(0.9), counted((0.7, 0.9), (10.0, 200.0)))
    whole = row_of("whole", "train", 390_000_000, alone(0.94), None)
    return [small, large, whole]


def test_scores_are_read_off_the_codecs_curve_at_each_budget(rows: list[DeviceRow]) -> None:
    small = rows[0]
    assert small.codec["finest"] == pytest.approx(90)
    assert small.codec["222 bytes"] == pytest.approx(90)  # beyond the finest quality
    share = np.log(51 / 10) / np.log(200 / 10)
    assert small.codec["51 bytes"] == pytest.approx(60 + 30 * share)
    points, low, high = small.ahead["finest"]
    assert points == pytest.approx(40)
    assert low < points < high


def test_a_budget_below_the_smallest_blob_has_no_score() -> None:
    row = row_of("small", "train", 1, alone(0.5), counted((0.6, 0.9), (20.0, 200.0)))
    assert "12 bytes" not in row.codec
    assert "51 bytes" in row.codec


def test_the_verdict_says_up_to_which_cost_the_split_pays(rows: list[DeviceRow]) -> None:
    said = verdict(rows)
    assert "At finest: the split pays up to 5.0 M multiply-accumulates (+40.0 points there)" in said
    never = [row_of("x", "train", 1, alone(0.95), counted((0.6, 0.9), (10.0, 200.0)))]
    assert "At finest: the split pays at none of these costs." in verdict(never)


def test_rows_are_written_read_printed_and_drawn(
    rows: list[DeviceRow], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, picture = tmp_path / "rows.jsonl", tmp_path / "device.png"
    write_rows(rows, file)
    assert markdown(read_rows(DeviceRow, file)) == markdown(rows)
    assert device.main(["--rows", str(file), "--out", str(picture)]) == 0
    said = capsys.readouterr().out
    assert "| whole | 390.0 M | 94.00 |" in said
    assert "400 images, uncut 95.00%" in said
    assert picture.stat().st_size > 10_000


def test_each_size_is_an_encoder_of_its_recipes_latent_and_costs_more_than_the_one_before() -> None:
    works = []
    for changes in device.SIZES["mobile"].values():
        own = read_recipe(CodecRecipe, "vit-small-caltech101-codec", changes)
        assert own.mobile is not None
        encoder = MobileAnalysis(own.mobile, 224, own.side, own.n_channels)
        works.append(device_cost(encoder, 224).macs)
    assert works == sorted(works)
    assert 4e6 < works[0] < 8e6
    assert works[-1] < 2e8


def test_whole_networks_are_efficientnet_lite0_at_three_sizes_of_pictures() -> None:
    works = []
    for changes in device.WHOLE["mobile"].values():
        own = read_recipe(CodecRecipe, "vit-small-caltech101-codec", changes)
        assert own.mobile is not None
        works.append(multiply_accumulates(mobile_layers(own.mobile), (1, 3, 224, 224)))
    assert works == sorted(works)
    assert 3.5e8 < works[-1] < 4e8  # its 390 M, without its last convolution


def test_a_recipe_whose_encoder_is_the_backbones_blocks_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--train", "vit-tiny-cifar10-codec-blocks", "--rows", str(tmp_path / "rows.jsonl")]
    assert device.main(options) == 2
    assert "sizes are known of" in capsys.readouterr().err
    assert device.main(["--rows", str(tmp_path / "none.jsonl")]) == 2
