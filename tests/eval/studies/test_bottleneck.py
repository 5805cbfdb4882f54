"""The usual way, trained here: a linear bottleneck under compressai's factorised prior, measured
beside the codec.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from codec import FeatureCodec
from eval import sweep
from eval.measuring.rows import read_rows
from eval.methods.bottleneck import LinearBottleneck, bottleneck_methods, load_bottleneck
from eval.studies.bottleneck import run
from training.codecs.recipe import CodecRecipe
from training.engine.loop import last_whole_checkpoint

pytestmark = pytest.mark.usefixtures("uncompiled")


@pytest.fixture
def recipe(
    make_recipe: Callable[..., CodecRecipe],
    labelled: Path,
    tiny_codec: FeatureCodec,
    tiny_codec_folder: Path,
) -> CodecRecipe:
    backbone = str(tiny_codec_folder / "backbone")
    return make_recipe(
        labelled,
        backbone=backbone,
        k=tiny_codec.config.k,
        train_split="train",
        rate_weights=(1e-2, 3e-3, 1e-3, 1e-4),
    )


@pytest.mark.long
def test_it_trains_as_long_as_the_codec_and_its_blobs_hold_its_symbols(
    recipe: CodecRecipe, tiny_codec: FeatureCodec, tmp_path: Path
) -> None:
    run(recipe, tmp_path)
    last = last_whole_checkpoint(tmp_path / "train")
    assert last
    history = [
        row
        for row in json.loads((Path(last) / "trainer_state.json").read_text())["log_history"]
        if "loss" in row
    ]
    assert len(history) == 12, "steps of both stages"
    assert history[-1]["bytes_q0"] < history[0]["bytes_q0"]
    loaded, same = load_bottleneck(tmp_path)
    changed = {"rate_weights": (1e-2, 1e-3), "file": str(tmp_path / "recipe.json")}
    assert asdict(same) == asdict(recipe) | changed, "every second quality"
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        for method in bottleneck_methods(
            tmp_path, torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8), tiny_codec.config
        ):
            blobs = method.encode(pixels)
            bits = method.check(pixels, blobs)
            assert 0 < bits / 8 <= sum(map(len, blobs))
            expected = loaded.answer(
                method.symbols(pixels).transpose(1, 2), torch.full((5,), method.quality)
            )
            torch.testing.assert_close(
                method.models["image-classification"](method.decode(blobs)).logits, expected
            )


@pytest.mark.long
def test_a_sweep_measures_it_beside_the_codec(
    recipe: CodecRecipe, tiny_codec_folder: Path, labelled: Path, tmp_path: Path
) -> None:
    run(recipe, tmp_path / "usual")
    out = tmp_path / "sweep.jsonl"
    options = [
        "--codec",
        str(tiny_codec_folder),
        "--data",
        str(labelled),
        "--baselines",
        "none",
        "--bottleneck",
        str(tmp_path / "usual"),
    ]
    assert sweep.main([*options, "--out", str(out)]) == 0
    rows = [row for row in read_rows(out) if row["codec"] == "bottleneck"]
    assert [row["quality"] for row in rows] == [0, 1]
    assert all(row["device_macs"] > 0 for row in rows)


def test_what_is_no_bottleneck_of_this_codec_is_refused(
    recipe: CodecRecipe,
    tiny_codec_folder: Path,
    labelled: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = [
        "--codec",
        str(tiny_codec_folder),
        "--data",
        str(labelled),
        "--baselines",
        "none",
        "--out",
        str(tmp_path / "sweep.jsonl"),
    ]
    assert sweep.main([*options, "--bottleneck", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert "holds no trained bottleneck: python -m eval.studies.bottleneck RECIPE" in said


def test_before_training_it_is_the_tokens_principal_components(
    recipe: CodecRecipe, tiny_codec: FeatureCodec
) -> None:
    model = LinearBottleneck(tiny_codec.load_uncut(), recipe).eval()
    pixels = torch.rand(20, 3, 32, 32)
    model.start_from_components(pixels)
    with torch.inference_mode():
        tokens, latent = model.head(pixels), model.down(model.head(pixels))
        torch.testing.assert_close(model.up(latent), tokens, atol=1e-4, rtol=1e-4)
        covariance = latent.flatten(0, 1).T.cov()
    variances = covariance.diagonal()
    assert (covariance - variances.diag()).abs().max() < 1e-3, "uncorrelated"
    assert torch.isclose(variances.mean(), torch.tensor(1.0), rtol=1e-2), (
        "a unit of the tokens' mean deviation"
    )
