"""What each task scores: the interval of a drop, and several people's answers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from codec.device.preprocess import Preprocess
from codec.tasks import CAPTIONS, QUESTIONS
from codec.tasks.captions import bleu
from eval.measuring import intervals
from eval.measuring.evaluators import LabelEvaluator, word_evaluators
from eval.measuring.opening import data_name
from eval.measuring.source import source_sizes
from tests import tiny_blip
from training.data.texts import TextImages, Words, open_source
from training.scenes.text import captions as captions_of


def test_the_interval_of_the_drop_is_the_paired_one() -> None:
    images: Any = SimpleNamespace(label_column="label", labels=[0, 0, 0, 1])
    labels = LabelEvaluator(images, 2)
    assert labels.score([0, 1, 1, 1], [0, 0, 1, 1])[:4] == (4, 50, 75, 75)
    # differences 0, 1, 0, 0
    assert labels.score([0, 1, 1, 1], [0, 0, 1, 1]).margin == pytest.approx(196 * 3**0.5 / 4 / 2)


def test_the_interval_of_bleu_is_a_paired_bootstrap_over_pictures(
    tiny_blips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "N_RESAMPLINGS", 30)
    source: Any = open_source("scenes", "test[:20]")
    references = [list(captions_of(source.scene(i))) for i in range(20)]
    uncut, own = (
        [texts[0] for texts in references],
        [texts[i % 2] + " ball" * (i % 3) for i, texts in enumerate(references)],
    )
    (captions,) = word_evaluators(
        [Words(tuple(texts[1:]), ()) for texts in references],
        {CAPTIONS: tiny_blip.build(CAPTIONS)},
        {CAPTIONS: None},
    )
    scored, none = captions.score(own, uncut), captions.score(uncut, uncut)
    assert (none.margin, none.agreement, none.score) == (0, 100, none.score_uncut)
    drops = []
    for times in np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), size=30):
        drawn = np.repeat(np.arange(20), times)
        one, other = (
            bleu([texts[i] for i in drawn], [references[i][1:] for i in drawn])[3]
            for texts in (own, uncut)
        )
        drops.append(other - one)
    assert scored.margin == pytest.approx(1.96 * np.std(drops))
    assert scored.margin > 1


def test_a_question_may_have_the_answers_of_several_people(tiny_blips: Path) -> None:
    words: Any = [
        Words((), (("how many?", ["2"] * 2 + ["3"] * 8), ("is there a ring?", ["yes"] * 10)))
    ]
    (questions,) = word_evaluators(
        words, {QUESTIONS: tiny_blip.build(QUESTIONS)}, {QUESTIONS: tiny_blip.tokenizer()}
    )
    assert questions.score(["two", "yes"], ["3", "yes"])[:4] == (2, pytest.approx(80), 100, 50)


def test_a_picture_without_captions_is_not_captioned(tiny_blips: Path) -> None:
    model, tokenizer = tiny_blip.build(CAPTIONS), tiny_blip.tokenizer()
    words = [Words(texts, ()) for texts in (("a ring",), (), ("a cube", "one cube"))]
    (captions,) = word_evaluators(words, {CAPTIONS: model}, {CAPTIONS: tokenizer})
    inputs = torch.randn(3, 3, 32, 32)
    alone = [captions.answer(model, inputs[i : i + 1], range(i, i + 1)) for i in range(3)]
    assert [len(said) for said in alone] == [1, 0, 1]
    said = captions.answer(model, inputs, range(3))
    assert said == [text for some in alone for text in some]
    assert captions.score(["a ring", "a cube"], said).n == 2


def test_the_files_of_several_sets_are_measured_one_after_the_other(tmp_path: Path) -> None:
    for name, texts in (("told", {"captions": ["a ring"]}), ("asked", {"captions": ["a cube"]})):
        rows = {"image": [Image.new("RGB", (8, 8), "red" if name == "told" else "blue")]} | texts
        made = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
        made.to_parquet(str(tmp_path / name / "test.parquet"))
    both = f"{tmp_path / 'told'},{tmp_path / 'asked'}"
    sizes = [source_sizes(opened(data)) for data in (*both.split(","), both)]
    assert sizes[2] == [size for some in sizes[:2] for size in some or ()]
    assert source_sizes(opened(f"{tmp_path / 'told'},scenes", "test[:1]")) is None
    assert data_name(both, "test") == "told, asked:test"


def opened(data: str, split: str = "test") -> TextImages:
    return TextImages(open_source(data, split), Preprocess(96))
