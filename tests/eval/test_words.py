"""Captions and answers in a sweep: rows of each task from the same blobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("pycocoevalcap")

import datasets

from codec import FeatureCodec
from codec.device.preprocess import Preprocess
from codec.pipeline import Device, Server
from codec.tasks import CAPTIONS, QUESTIONS
from codec.tasks.answers import normalise_answer
from codec.tasks.captions import bleu
from codec.tasks.judge import agrees
from eval import sweep
from eval.measuring.evaluators import word_evaluators
from eval.measuring.rows import read_rows
from tests import tiny_blip
from tests.eval.conftest import ASKED, N_WORDED, UncutWords
from training.data.texts import TextImages, Words, open_source

pytestmark = pytest.mark.usefixtures("short_texts")


def rows_of(rows: list[dict[str, Any]], name: str, task: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["codec"], row["task"]) == (name, task)]


def test_every_quality_and_baseline_has_a_row_for_each_task_from_the_same_blobs(
    words_swept: list[dict[str, Any]],
) -> None:
    captions, answers = (
        [row for row in words_swept if row["task"] == task] for task in (CAPTIONS, QUESTIONS)
    )
    assert words_swept == captions + answers
    names = [row["codec"] for row in captions]
    assert names == [
        "uncut",
        "tiny-blip",
        "tiny-blip",
        "tiny-blip",
        "factorised",
        "tokens-fp16",
        "tokens-int8-zstd",
        "png",
    ]
    same = (
        "codec",
        "quality",
        "n_images",
        "bytes_mean",
        "bytes_p50",
        "bytes_p95",
        "bits_estimated",
        "encode_ms",
        "device_macs",
    )
    for one, other in zip(captions, answers, strict=True):
        assert [one[key] for key in same] == [other[key] for key in same]
        assert one["decode_ms"] != other["decode_ms"]
    assert {row["n_images"] for row in words_swept} == {N_WORDED}


def test_scores_of_the_uncut_model_are_against_the_datas_words(
    words_swept: list[dict[str, Any]], uncut_words: UncutWords, words_data: Path
) -> None:
    references = [
        words.captions
        for words in TextImages(open_source(str(words_data), "test"), Preprocess(32)).words
    ]
    (captions,), (answers,) = (
        rows_of(words_swept, "uncut", task) for task in (CAPTIONS, QUESTIONS)
    )
    assert captions["score"] == pytest.approx(bleu(uncut_words.captions, references)[3])
    assert 5 < captions["score"] < 95
    assert answers["score"] == pytest.approx(40), "2 of 5 pictures with questions"
    for row in (captions, answers):
        assert (row["drop"], row["agreement"], row["score_uncut"]) == (0, 100, row["score"])


def test_scores_of_a_codec_are_of_what_the_server_says_to_its_blobs(
    words_swept: list[dict[str, Any]],
    tiny_blip_codec: FeatureCodec,
    pictures: list[Image.Image],
    uncut_words: UncutWords,
    words_data: Path,
) -> None:
    device, server = Device(tiny_blip_codec), Server(tiny_blip_codec)
    images = TextImages(open_source(str(words_data), "test"), Preprocess(32))
    for q in (0, 2):
        blobs = device(pictures, q)
        captions = [server.caption(blob) for blob in blobs]
        answers = [answer for blob in blobs[1:] for answer in server.answer(blob, ASKED)]
        said, told = (rows_of(words_swept, "tiny-blip", task)[q] for task in (CAPTIONS, QUESTIONS))
        assert said["bytes_mean"] == np.mean([len(blob) for blob in blobs])
        assert said["score"] == pytest.approx(
            bleu(captions, [words.captions for words in images.words])[3]
        )
        assert said["agreement"] == pytest.approx(
            100 * np.mean(agrees(CAPTIONS, captions, uncut_words.captions))
        )
        truth = [answer for words in images.words for _, answer in words.questions]
        right = [
            normalise_answer(a) == normalise_answer(b) for a, b in zip(answers, truth, strict=True)
        ]
        assert told["score"] == pytest.approx(100 * np.mean(right))
        assert told["agreement"] == pytest.approx(
            100
            * np.mean(
                agrees(QUESTIONS, answers, [a for row in uncut_words.answers[1:] for a in row])
            )
        )
        for row in (said, told):
            assert row["drop"] == row["score_uncut"] - row["score"]
    assert rows_of(words_swept, "tiny-blip", QUESTIONS)[0]["agreement"] < 100, (
        "the test needs answers that coding changes"
    )


def test_what_loses_nothing_answers_as_the_uncut_model_and_other_coders_as_the_codec(
    words_swept: list[dict[str, Any]],
) -> None:
    for task in (CAPTIONS, QUESTIONS):
        (png,), (other,), own = (
            rows_of(words_swept, "png", task),
            rows_of(words_swept, "factorised", task),
            rows_of(words_swept, "tiny-blip", task)[0],
        )
        assert (png["drop"], png["agreement"]) == (0, 100)
        assert rows_of(words_swept, "tokens-fp16", task)[0]["agreement"] > 80
        assert [other[key] for key in ("score", "agreement")] == [
            own[key] for key in ("score", "agreement")
        ]
        assert other["bytes_mean"] != own["bytes_mean"]


def test_a_blob_is_made_and_decoded_once_for_both_tasks(
    tiny_blip_folder: Path, words_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, int]] = []
    for name in ("encode", "decode"):
        inner = getattr(FeatureCodec, name)

        def counted(
            self: FeatureCodec, given: Any, *args: Any, name: str = name, inner: Any = inner
        ) -> Any:
            calls.append((name, len(given)))
            return inner(self, given, *args)

        monkeypatch.setattr(FeatureCodec, name, counted)
    options = ["--limit", "4", "--baselines", "none", "--out", str(tmp_path / "rows.jsonl")]
    assert sweep.main(["--codec", str(tiny_blip_folder), "--data", str(words_data), *options]) == 0
    warm_up = [("encode", 2), ("decode", 2), ("encode", 1), ("decode", 1)]
    assert calls == [*warm_up, ("encode", 4), ("decode", 4)] * 3, (
        "a warm-up on two pictures, one whose products are counted, then all, 3 qualities"
    )


@torch.inference_mode()
def test_the_vision_tower_sees_a_picture_once_however_much_is_asked(
    tiny_blip_codec: FeatureCodec, pictures: list[Image.Image]
) -> None:
    words = [
        Words((), tuple((question, "no") for question in ASKED[: 1 + i % 3]))
        for i in range(N_WORDED)
    ]
    (questions,) = word_evaluators(words, tiny_blip_codec.tails, {QUESTIONS: tiny_blip.tokenizer()})
    seen: list[int] = []
    tail: Any = tiny_blip_codec.tails[QUESTIONS]
    handle = tail.vision_model.encoder.layers[-1].register_forward_hook(
        lambda _module, args, _output: seen.append(len(args[0]))
    )
    blobs = Device(tiny_blip_codec)(pictures, 2)
    answers = questions.answer(tail, tiny_blip_codec.decode(blobs[2:5]), range(2, 5))
    handle.remove()
    assert seen == [3]
    server = Server(tiny_blip_codec)
    assert answers == [
        server.answer(blobs[i], question) for i in range(2, 5) for question, _ in words[i].questions
    ]


def test_only_what_the_data_tells_is_asked(
    tiny_blip_folder: Path,
    tiny_blips: Path,
    words_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make_blip_codec: Any,
) -> None:
    rows = datasets.Dataset.from_parquet(str(words_data / "test.parquet")).remove_columns(
        "captions"
    )
    rows.to_parquet(str(tmp_path / "asked" / "test.parquet"))
    out = tmp_path / "rows.jsonl"
    options = ["--data", str(tmp_path / "asked"), "--baselines", "none", "--out", str(out)]
    assert sweep.main(["--codec", str(tiny_blip_folder), *options]) == 0
    assert {row["task"] for row in read_rows(out)} == {QUESTIONS}
    out.unlink()
    make_blip_codec(task=CAPTIONS, backbone=f"{tiny_blips}/{CAPTIONS}").save_pretrained(
        tmp_path / "captioner"
    )
    capsys.readouterr()
    assert sweep.main(["--codec", str(tmp_path / "captioner"), *options]) == 2
    assert "has no words for image-to-text" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.long
def test_a_sweep_of_scenes_needs_no_data(tiny_blip_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    options = ["--split", "test[:2]", "--baselines", "webp"]
    assert (
        sweep.main(
            ["--codec", str(tiny_blip_folder), "--data", "scenes", *options, "--out", str(out)]
        )
        == 0
    )
    rows = read_rows(out)
    assert {(row["data"], row["n_images"]) for row in rows} == {("scenes:test[:2]", 2)}
    assert len(rows) == 2 * (1 + 3 + 3 * 6), "WebP at three sizes"
