"""eval.studies.precision: emulated arithmetic is what it says, and what is compared is the codec's
own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from codec.model import FeatureCodec
from codec.tasks import CAPTIONS, LABELS, QUESTIONS
from eval.measuring.evaluators import Evaluator, LabelEvaluator
from eval.studies import arithmetic, precision
from training.data.images import Images


@pytest.fixture(scope="module")
def test_split(tiny_codec: FeatureCodec, labelled: Path) -> Images:
    return Images(str(labelled), "test", tiny_codec.config.preprocess)


def evaluators(images: Images) -> list[Evaluator]:
    return [LabelEvaluator(images, 10)]


def test_the_encoder_itself_changes_nothing(tiny_codec: FeatureCodec, test_split: Images) -> None:
    (kept,) = precision.compare(
        tiny_codec, {"itself": tiny_codec.encoder}, test_split, evaluators(test_split)
    ).values()
    assert kept == precision.Kept(100, 100, {LABELS: [(0, 0), (0, 0)]})


def test_coarser_arithmetic_keeps_fewer_symbols(
    tiny_codec: FeatureCodec, test_split: Images
) -> None:
    before = {name: p.clone() for name, p in tiny_codec.encoder.named_parameters()}
    made = arithmetic.variants(
        tiny_codec, torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    )
    kept = {
        name: row.symbols
        for name, row in precision.compare(
            tiny_codec, made, test_split, evaluators(test_split)
        ).items()
    }
    assert 99 < kept["products float16"] < 100
    assert kept["products float16"] > kept["products bfloat16"] > kept["products int8"] > 50
    assert all(torch.equal(p, before[name]) for name, p in tiny_codec.encoder.named_parameters())


def test_int8_has_255_levels_in_a_channel_and_in_an_input(tiny_codec: FeatureCodec) -> None:
    pixels = torch.randn(16, 3, 32, 32)
    encoder = arithmetic.int8(tiny_codec.encoder, pixels)
    seen: list[torch.Tensor] = []
    first = next(module for module in encoder.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    encoder(pixels)
    step = pixels.abs().max() / 127
    torch.testing.assert_close(seen[0] / step, (pixels / step).round())
    whole = first.weight[0] / first.weight[0].abs().max() * 127
    torch.testing.assert_close(whole, whole.round(), atol=1e-3, rtol=0)


def test_a_projection_that_ends_in_integers_is_left_alone(tiny_codec: FeatureCodec) -> None:
    encoder = arithmetic.int8(tiny_codec.encoder, torch.randn(4, 3, 32, 32))
    assert torch.equal(
        encoder.get_parameter("project.weight"), tiny_codec.encoder.get_parameter("project.weight")
    )


def test_the_table_has_a_row_for_each_arithmetic(
    tiny_codec_folder: Path,
    labelled: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    precision.main(["--codec", str(tiny_codec_folder), "--data", str(labelled), "--limit", "4"])
    out = capsys.readouterr().out
    assert "symbols kept" in out
    assert all(
        name in out
        for name in ("products float16", "everything float16", "products int8, but the first")
    )


@pytest.mark.long
def test_codecs_for_words_are_asked_their_questions(
    tiny_blip_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    splits = ["--split", "test[:3]", "--fit-split", "train[:2]"]
    assert precision.main(["--codec", str(tiny_blip_folder), "--data", "scenes", *splits]) == 0
    out = capsys.readouterr().out
    assert all(f"{task}, 3 images" in out for task in (CAPTIONS, QUESTIONS))


def test_data_that_is_not_there_is_one_line(
    tiny_codec_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        precision.main(["--codec", str(tiny_codec_folder), "--data", str(tmp_path / "none")]) == 2
    )
    assert len(capsys.readouterr().err.splitlines()) == 1
