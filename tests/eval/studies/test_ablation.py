"""The ablation: bytes at a drop, interpolated and resampled, from real trainings to the table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codec import FeatureCodec
from codec.coding.container import HEADER_BYTES
from eval.studies import ablation, depth
from eval.studies.ablation import FULL, PLAIN, STATIC, TRUNCATED, main
from eval.studies.compare import compare
from eval.studies.counting import Counted, count
from eval.studies.static_tables import static_bytes
from training.codecs.recipe import CodecRecipe
from training.data.images import Images

N = 4000


def counted(
    bytes_by_quality: tuple[float, ...], drops: tuple[float, ...], seed: int = 0
) -> Counted:
    """A codec of these mean bytes and drops on images where the uncut model is right in 90%."""
    rng = np.random.default_rng(seed)
    uncut = (np.arange(N) < 0.9 * N).astype(float)
    right = np.stack([(np.arange(N) < (0.9 - drop / 100) * N).astype(float) for drop in drops])
    return Counted(
        np.array(bytes_by_quality)[:, None] + rng.integers(-2, 3, (len(drops), N)),
        right,
        uncut,
        1000,
    )


def test_bytes_are_those_at_the_drop_and_lie_in_their_interval() -> None:
    some = {
        FULL: counted((20, 40, 80), (2.2, 0.2, 0.0)),
        "worse": counted((40, 80, 160), (2.2, 0.2, 0.0)),
    }
    full, worse = compare(some, {FULL: "a", "worse": "b"}, drop=0.2)
    assert full.n_bytes == pytest.approx(40, abs=0.5)
    assert worse.n_bytes == pytest.approx(80, abs=0.5)
    assert worse.ratio == pytest.approx(2, rel=0.02)
    for step in (full, worse):
        assert step.low < step.n_bytes < step.high
        assert step.ratio_low <= step.ratio <= step.ratio_high
        assert step.bound == ""
    assert (full.ratio_low, full.ratio_high) == (1, 1)
    assert worse.ratio_high - worse.ratio_low < 0.1, "both codecs answer the same resampled images"


def test_a_codec_that_never_or_always_keeps_to_the_drop_is_a_bound() -> None:
    some = {FULL: counted((20, 40), (5, 3)), "always": counted((20, 40), (0.1, 0.0))}
    never, always = compare(some, {FULL: "", "always": ""}, drop=0.2)
    assert (never.bound, always.bound) == (">", "<=")
    assert "| >40" in ablation.markdown([never, always])


def test_a_codec_of_one_rate_is_compared_at_its_own_drop() -> None:
    some = {FULL: counted((20, 40, 80), (4.2, 2.2, 0.2)), "alone": counted((30,), (2.2,))}
    _, alone = compare(some, {FULL: "", "alone": ""}, drop=0.2)
    assert alone.drop == pytest.approx(2.2)
    assert (alone.n_bytes, alone.ratio, alone.bound) == (
        pytest.approx(30, abs=0.2),
        pytest.approx(0.75, rel=0.02),
        "",
    )
    assert alone.ratio_low < alone.ratio < alone.ratio_high


@pytest.mark.long
@pytest.mark.usefixtures("uncompiled")
def test_the_command_trains_measures_and_draws(
    tmp_path: Path,
    make_recipe: Callable[..., CodecRecipe],
    labelled: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    adapters = "without adapters in the tail"
    steps = {name: ablation.STEPS[name] for name in (FULL, STATIC, TRUNCATED, PLAIN, adapters)}
    monkeypatch.setattr(ablation, "STEPS", steps | {"alone": ("rate_weights=[{rate_weights[1]}]",)})
    recipe = make_recipe(labelled)
    (tmp_path / "small.yaml").write_text(json.dumps(asdict(recipe)))
    rows, picture = tmp_path / "rows.jsonl", tmp_path / "ablation.png"
    options = ["--runs", str(tmp_path / "runs"), "--rows", str(rows), "--out", str(picture)]
    assert main(["n_channels=5", "--train", str(tmp_path / "small.yaml"), *options]) == 0
    printed = capsys.readouterr().out
    assert "16 images" in printed
    assert "Contexts save of the payload, by quality: " in printed
    assert "adapter_rank=0" in printed
    assert "n_channels=5" in printed
    codecs = [FeatureCodec.from_pretrained(tmp_path / "runs" / i / "final") for i in "0345"]
    assert [codec.config.adapter_rank for codec in codecs] == [2, 2, 0, 2]
    assert [len(codec.config.dead_zone) for codec in codecs] == [2, 0, 2, 1]
    assert torch.equal(codecs[0].log_gain, codecs[1].log_gain), (
        "for plain rounding nothing is trained anew"
    )
    assert Image.open(picture).size[0] > 600
    assert main(["--rows", str(rows), "--out", str(picture)]) == 0
    (row,) = [line for line in printed.splitlines() if line.startswith(f"| {FULL} |")]
    assert row in capsys.readouterr().out
    monkeypatch.setattr(ablation, "count", lambda *_: pytest.fail("what was counted is kept"))
    assert main(["n_channels=5", "--train", str(tmp_path / "small.yaml"), *options]) == 0
    assert row in capsys.readouterr().out


@torch.inference_mode()
def test_static_tables_and_truncation_are_measured_on_real_blobs(
    tiny_codec: FeatureCodec, labelled: Path
) -> None:
    fit, images = (
        Images(str(labelled), split, tiny_codec.config.preprocess) for split in ("train", "test")
    )
    static = static_bytes(tiny_codec, fit, images)
    whole, cut = count(tiny_codec, images), count(tiny_codec, images, truncated=True)
    assert static.shape == whole.n_bytes.shape == cut.n_bytes.shape == (3, 16)
    assert (static > HEADER_BYTES).all()
    np.testing.assert_array_equal(cut.n_bytes[-1], whole.n_bytes[-1])
    assert not np.array_equal(cut.n_bytes[0], whole.n_bytes[0])
    assert np.abs(cut.n_bytes[0] - whole.n_bytes[0]).max() < 20
    np.testing.assert_array_equal(cut.uncut, whole.uncut)


def test_rows_that_are_none_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows").write_text('{"a": 1}\n')
    for path in (tmp_path / "rows", tmp_path / "nowhere"):
        assert main(["--rows", str(path)]) == 2
        assert "holds no rows of kind Compared" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.usefixtures("uncompiled")
def test_depths_are_trained_measured_and_drawn(
    tmp_path: Path,
    make_recipe: Callable[..., CodecRecipe],
    labelled: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shapes = {name: depth.SHAPES[name] for name in ("student", "blocks, k = 1", "blocks, k = 2")}
    monkeypatch.setattr(
        depth,
        "SHAPES",
        {name: tuple(c for c in changes if c != "side=8") for name, changes in shapes.items()},
    )
    (tmp_path / "small.yaml").write_text(json.dumps(asdict(make_recipe(labelled))))
    rows, picture = tmp_path / "rows.jsonl", tmp_path / "depth.png"
    options = ["--runs", str(tmp_path / "runs"), "--rows", str(rows), "--out", str(picture)]
    assert depth.main(["--train", str(tmp_path / "small.yaml"), *options]) == 0
    printed = capsys.readouterr().out
    codecs = [FeatureCodec.from_pretrained(tmp_path / "runs" / i / "final").config for i in "012"]
    assert [(c.encoder, c.k) for c in codecs] == [("student", 1), ("blocks", 1), ("blocks", 2)]
    one, two = (
        float(line.split("|")[2].split()[0])
        for line in printed.splitlines()
        if line.startswith("| blocks, k =")
    )
    assert one < two, "a block more costs the device more"
    assert Image.open(picture).size[0] > 600
    assert depth.main(["--rows", str(rows), "--out", str(picture)]) == 0
    assert "| student | " in capsys.readouterr().out
