"""Captions and answers in eval: rows of each task from the same blobs, intervals, and samples that
a person can read.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

pytest.importorskip("datasets")
pytest.importorskip("compressai")
pytest.importorskip("pycocoevalcap")
pytest.importorskip("zstandard")

import datasets

from codec import FeatureCodec
from codec.device.preprocess import Preprocess
from codec.pipeline import Device, Server
from codec.tasks import CAPTIONS, QUESTIONS
from codec.tasks import generate as text
from codec.tasks.answers import normalise_answer
from codec.tasks.captions import bleu
from codec.tasks.judge import agrees
from eval import plot, report, samples, sweep
from eval.measuring import asked
from eval.measuring.asked import ask_words, paired_margin
from eval.measuring.rows import KEYS, read_rows
from eval.samples import Said
from tests import tiny_blip
from training.data.texts import TextImages, Words, open_source
from training.scenes.facts import Span
from training.scenes.text import captions as captions_of

ASKED = ["how many red things?", "is there a blue cube?", "what colour is the large ring?"]
N = 6


class Uncut(NamedTuple):
    captions: list[str]
    answers: list[list[str]]


@pytest.fixture(scope="module", autouse=True)
def _short_texts() -> Iterator[None]:
    """Random models never end a text: cut it off early."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "CAPTION_TOKENS", 8)
        patch.setattr(text, "ANSWER_TOKENS", 3)
        yield


def said_by(models: dict[str, Any], x: torch.Tensor) -> Uncut:
    """Captions and answers one by one, without anything of eval."""
    tokenizer = tiny_blip.tokenizer()
    captioner, answerer = models[CAPTIONS], models[QUESTIONS]
    limits = [
        text.checked_limits(captioner, None, 1, usual)
        for usual in (text.CAPTION_TOKENS, text.ANSWER_TOKENS)
    ]
    captions = [text.caption(captioner, tokenizer, one[None], limits[0])[0] for one in x]
    ids = [text.question_ids(answerer, tokenizer, question) for question in ASKED]
    return Uncut(
        captions,
        [
            [text.answer(answerer, tokenizer, one[None], [some], limits[1])[0] for some in ids]
            for one in x
        ],
    )


@pytest.fixture(scope="module")
def pictures(picture: Callable[..., Image.Image]) -> list[Image.Image]:
    return [picture(seed) for seed in range(N)]


@pytest.fixture(scope="module")
@torch.no_grad()
def uncut(tiny_blip_codec: FeatureCodec, pictures: list[Image.Image]) -> Uncut:
    models = {task: tiny_blip_codec.load_uncut(task) for task in (CAPTIONS, QUESTIONS)}
    return said_by(models, Device(tiny_blip_codec).preprocess(pictures))


@pytest.fixture(scope="module")
def data(
    pictures: list[Image.Image], uncut: Uncut, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Pictures, of which every second is captioned and answered as by the uncut model; the first
    has no questions.
    """
    rows: dict[str, list[Any]] = {"image": pictures, "captions": [], "questions": [], "answers": []}
    for i in range(N):
        right = i % 2 == 0
        rows["captions"].append(
            [
                "a ring is left of a small cube",
                uncut.captions[i] if right else uncut.captions[i][::-1],
            ]
        )
        rows["questions"].append(ASKED if i else [])
        rows["answers"].append(
            [answer if right else f"not {answer}" for answer in uncut.answers[i]] if i else []
        )
    texts = datasets.List(datasets.Value("string"))
    features = datasets.Features(
        {"image": datasets.Image(), "captions": texts, "questions": texts, "answers": texts}
    )
    folder = tmp_path_factory.mktemp("words")
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(folder / "test.parquet"))
    return folder


@pytest.fixture(scope="module")
def swept(
    tiny_blip_folder: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    options = [
        "--baselines",
        "png,tokens-fp16,tokens-int8-zstd,factorised",
        "--fit-split",
        "nowhere",
    ]
    assert (
        sweep.main(
            ["--codec", str(tiny_blip_folder), "--data", str(data), *options, "--out", str(out)]
        )
        == 0
    )
    return read_rows(out)


def of(rows: list[dict[str, Any]], name: str, task: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["codec"], row["task"]) == (name, task)]


def test_every_quality_and_baseline_has_a_row_for_each_task_from_the_same_blobs(
    swept: list[dict[str, Any]],
) -> None:
    captions, answers = (
        [row for row in swept if row["task"] == task] for task in (CAPTIONS, QUESTIONS)
    )
    assert swept == captions + answers
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
    assert {row["n_images"] for row in swept} == {N}


def test_scores_of_the_uncut_model_are_against_the_datas_words(
    swept: list[dict[str, Any]], uncut: Uncut, data: Path
) -> None:
    references = [
        words.captions for words in TextImages(open_source(str(data), "test"), Preprocess(32)).words
    ]
    (captions,), (answers,) = (of(swept, "uncut", task) for task in (CAPTIONS, QUESTIONS))
    assert captions["score"] == pytest.approx(bleu(uncut.captions, references)[3])
    assert 5 < captions["score"] < 95
    assert answers["score"] == pytest.approx(40), "2 of 5 pictures with questions"
    for row in (captions, answers):
        assert (row["drop"], row["agreement"], row["score_uncut"]) == (0, 100, row["score"])


def test_scores_of_a_codec_are_of_what_the_server_says_to_its_blobs(
    swept: list[dict[str, Any]],
    tiny_blip_codec: FeatureCodec,
    pictures: list[Image.Image],
    uncut: Uncut,
    data: Path,
) -> None:
    device, server = Device(tiny_blip_codec), Server(tiny_blip_codec)
    images = TextImages(open_source(str(data), "test"), Preprocess(32))
    for q in (0, 2):
        blobs = device(pictures, q)
        captions = [server.caption(blob) for blob in blobs]
        answers = [answer for blob in blobs[1:] for answer in server.answer(blob, ASKED)]
        said, told = (of(swept, "tiny-blip", task)[q] for task in (CAPTIONS, QUESTIONS))
        assert said["bytes_mean"] == np.mean([len(blob) for blob in blobs])
        assert said["score"] == pytest.approx(
            bleu(captions, [words.captions for words in images.words])[3]
        )
        assert said["agreement"] == pytest.approx(
            100 * np.mean(agrees(CAPTIONS, captions, uncut.captions))
        )
        truth = [answer for words in images.words for _, answer in words.questions]
        right = [
            normalise_answer(a) == normalise_answer(b) for a, b in zip(answers, truth, strict=True)
        ]
        assert told["score"] == pytest.approx(100 * np.mean(right))
        assert told["agreement"] == pytest.approx(
            100 * np.mean(agrees(QUESTIONS, answers, [a for row in uncut.answers[1:] for a in row]))
        )
        for row in (said, told):
            assert row["drop"] == row["score_uncut"] - row["score"]
    assert of(swept, "tiny-blip", QUESTIONS)[0]["agreement"] < 100, (
        "the test needs answers that coding changes"
    )


def test_what_loses_nothing_answers_as_the_uncut_model_and_other_coders_as_the_codec(
    swept: list[dict[str, Any]],
) -> None:
    for task in (CAPTIONS, QUESTIONS):
        (png,), (other,), own = (
            of(swept, "png", task),
            of(swept, "factorised", task),
            of(swept, "tiny-blip", task)[0],
        )
        assert (png["drop"], png["agreement"]) == (0, 100)
        assert of(swept, "tokens-fp16", task)[0]["agreement"] > 80
        assert [other[key] for key in ("score", "agreement")] == [
            own[key] for key in ("score", "agreement")
        ]
        assert other["bytes_mean"] != own["bytes_mean"]


def test_a_blob_is_made_and_decoded_once_for_both_tasks(
    tiny_blip_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert sweep.main(["--codec", str(tiny_blip_folder), "--data", str(data), *options]) == 0
    assert calls == [("encode", 2), ("decode", 2), ("encode", 4), ("decode", 4)] * 3, (
        "a warm-up on two pictures, then all, 3 qualities"
    )


@torch.inference_mode()
def test_the_vision_tower_sees_a_picture_once_however_much_is_asked(
    tiny_blip_codec: FeatureCodec, pictures: list[Image.Image]
) -> None:
    words = [
        Words((), tuple((question, "no") for question in ASKED[: 1 + i % 3])) for i in range(N)
    ]
    (questions,) = ask_words(words, tiny_blip_codec.tails, {QUESTIONS: tiny_blip.tokenizer()})
    seen: list[int] = []
    tail: Any = tiny_blip_codec.tails[QUESTIONS]
    handle = tail.vision_model.encoder.layers[-1].register_forward_hook(
        lambda _module, args, _output: seen.append(len(args[0]))
    )
    blobs = Device(tiny_blip_codec)(pictures, 2)
    answers = questions.ask(tail, tiny_blip_codec.decode(blobs[2:5]), range(2, 5))
    handle.remove()
    assert seen == [3]
    server = Server(tiny_blip_codec)
    assert answers == [
        server.answer(blobs[i], question) for i in range(2, 5) for question, _ in words[i].questions
    ]


def test_the_interval_of_bleu_is_a_paired_bootstrap_over_pictures(
    tiny_blips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "N_RESAMPLINGS", 30)
    references = [list(captions_of(open_source("scenes", "test[:20]").scene(i))) for i in range(20)]  # type: ignore[union-attr]
    uncut, own = (
        [texts[0] for texts in references],
        [texts[i % 2] + " ball" * (i % 3) for i, texts in enumerate(references)],
    )
    (captions,) = ask_words(
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


def test_the_interval_of_answers_is_clustered_by_picture() -> None:
    rng = np.random.default_rng(0)
    right, uncut = rng.integers(0, 2, (2, 50)).astype(float)
    single = paired_margin(right, uncut, np.arange(50))
    assert single == pytest.approx(196 * np.std(uncut - right) / 50**0.5)
    twice = paired_margin(np.repeat(right, 2), np.repeat(uncut, 2), np.repeat(np.arange(50), 2))
    assert twice == pytest.approx(single), "asking the same again says nothing new"
    assert paired_margin(np.repeat(right, 2), np.repeat(uncut, 2), np.arange(100)) == pytest.approx(
        single / 2**0.5
    )
    # a picture without questions, too
    uneven = paired_margin(np.array([0.0, 1, 1, 1]), np.ones(4), np.array([1, 1, 2, 2]))
    assert uneven == pytest.approx(196 * (2 * 0.5**2) ** 0.5 / 4)


def test_a_question_may_have_the_answers_of_several_people(tiny_blips: Path) -> None:
    words: Any = [
        Words((), (("how many?", ["2"] * 2 + ["3"] * 8), ("is there a ring?", ["yes"] * 10)))
    ]
    (questions,) = ask_words(
        words, {QUESTIONS: tiny_blip.build(QUESTIONS)}, {QUESTIONS: tiny_blip.tokenizer()}
    )
    assert questions.score(["two", "yes"], ["3", "yes"])[:4] == (2, pytest.approx(80), 100, 50)


def test_only_what_the_data_tells_is_asked(
    tiny_blip_folder: Path,
    tiny_blips: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make_blip_codec: Any,
) -> None:
    rows = datasets.Dataset.from_parquet(str(data / "test.parquet")).remove_columns("captions")
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
    assert len(rows) == 2 * (1 + 3 + 6)


def made_up(codec: str, task: str, n_bytes: float, drop: float) -> dict[str, Any]:
    row = dict.fromkeys(KEYS, 0) | {
        "codec": codec,
        "task": task,
        "data": "made:up",
        "bits_estimated": None,
    }
    return row | {"bytes_mean": n_bytes, "score": 40 - drop, "score_uncut": 40, "drop": drop}


@pytest.fixture
def two_tasks(tmp_path: Path) -> Path:
    points = {CAPTIONS: 10, QUESTIONS: 20}
    rows = []
    for task, n in points.items():
        rows += [
            made_up("uncut", task, 27648, 0),
            made_up("ours", task, n, 1.0),
            made_up("ours", task, 4 * n, 0.0),
        ]
        rows += [
            made_up("webp", task, 100 * n, 1.0),
            made_up("webp", task, 400 * n, 0.0),
            made_up("png", task, 18000, 0.0),
        ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


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


def test_the_plot_has_a_panel_for_each_task(two_tasks: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text("".join(two_tasks.read_text().splitlines(keepends=True)[:6]))
    sizes = []
    for file in (one, two_tasks):
        assert plot.main([str(file), "--out", str(tmp_path / "p.png")]) == 0
        with Image.open(tmp_path / "p.png") as drawn:
            sizes.append(drawn.size)
    assert sizes[1] == (2 * sizes[0][0], sizes[0][1])


def test_a_row_of_no_known_task_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(made_up("ours", "singing", 1, 0)))
    assert report.main([str(file)]) == 2
    assert "task 'singing' is none of" in capsys.readouterr().err


# ---- samples


def test_samples_of_an_uncut_pair_show_marks_and_totals(
    tiny_blips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        samples.main([str(tiny_blips), "--data", "scenes", "--split", "test[:3]", "--shown", "2"])
        == 0
    )
    printed = capsys.readouterr().out
    for said in (
        "uncut; scenes:test[:3]",
        "BLEU-4, %",
        "CIDEr-D",
        "stated facts that are true, %",
        "visible things that are named, %",
    ):
        assert said in printed
    for kind in ("existence", "count", "colour", "relation", "in all"):
        assert f"answers right, {kind}, %" in printed
    assert "30 questions" in printed
    assert "* (" in printed, "a wrong answer and the right one"


def test_samples_of_a_codec_go_through_its_blobs(
    tiny_blip_folder: Path,
    data: Path,
    swept: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for q in (0, 2):
        assert (
            samples.main(
                [str(tiny_blip_folder), "--quality", str(q), "--data", str(data), "--split", "test"]
            )
            == 0
        )
        printed = capsys.readouterr().out
        assert f"tiny-blip, quality {q}" in printed
        for name, task, key in (
            ("bytes sent", CAPTIONS, "bytes_mean"),
            ("BLEU-4", CAPTIONS, "score"),
            ("in all", QUESTIONS, "score"),
        ):
            (line,) = [line for line in printed.splitlines() if name in line]
            assert f" {of(swept, 'tiny-blip', task)[q][key]:.2f} " in line
        assert printed.count("reference: ") == N, "there is no scene to judge by"
        assert "stated facts" not in printed


def test_samples_of_one_model_say_what_it_can(
    tiny_blips: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert samples.main([f"{tiny_blips}/{QUESTIONS}", "--data", str(data), "--split", "test"]) == 0
    printed = capsys.readouterr().out
    assert "answers right, in all, %" in printed
    assert "BLEU" not in printed
    assert re.search(r"answers right, in all, % +40.00 +15 questions", printed), (
        "as the sweep's uncut row"
    )


def test_the_scenes_own_words_have_nothing_marked_and_full_scores() -> None:
    images = TextImages(open_source("scenes", "test[:4]"), Preprocess(96))
    said = Said(
        [words.captions[0] for words in images.words],
        [[answer for _, answer in words.questions] for words in images.words],
        [9] * 4,
    )
    values = {name: value for name, value, _ in samples.totals(said, images)}
    assert values.pop("CIDEr-D x 100") > 100
    assert values.pop("bytes sent for a picture") == 9
    assert list(values.values()) == pytest.approx([100] * len(values))
    console = Console(width=200)
    with console.capture() as printed:
        samples.show(said, images, 4, console)
    assert "*" not in printed.get()
    wrong = said._replace(
        answers=[["green"] * 10] * 4, captions=["a purple thing left of a cone"] * 4
    )
    with console.capture() as printed:
        samples.show(wrong, images, 4, console)
    assert "*green* (" in printed.get()
    assert "*purple*" in printed.get()


def test_wrong_words_are_marked_where_they_are() -> None:
    marked = samples.marked("a small red ring left of a cube", (Span(2, 7), Span(17, 24)))
    assert marked.plain == "a *small* red ring *left of* a cube"
    assert [(marked.plain[s.start : s.end], s.style) for s in marked.spans] == [
        ("*small*", samples.WRONG),
        ("*left of*", samples.WRONG),
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "no-such-thing"}, "no codec or backbone 'no-such-thing'"),
        ({"name": "{classifier}"}, "serves image-classification: neither"),
        ({"name": "{empty}"}, "no codec or backbone"),
        ({"--data": "no/such/folder"}, "no/such/folder"),
        ({"--split": "test"}, "is not of the form train[:20000]"),
        ({"--split": "test[:1]"}, "CIDEr-D"),
        ({"--quality": "3"}, "has qualities 0 to 2, not 3"),
        ({"name": "{backbone}", "--quality": "1"}, "--quality is for codecs"),
        ({"name": "{broken}"}, ""),
    ],
)
def test_what_cannot_be_sampled_is_said_in_one_line(
    tiny_blip_folder: Path,
    tiny_blips: Path,
    tiny_codec_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, str],
    said: str,
) -> None:
    shutil.copytree(tiny_blips / CAPTIONS, tmp_path / "broken")
    weights = tmp_path / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (tmp_path / "empty").mkdir()
    places = {
        "classifier": tiny_codec_folder,
        "empty": tmp_path / "empty",
        "backbone": tiny_blips,
        "broken": tmp_path / "broken",
    }
    options = {"name": str(tiny_blip_folder), "--data": "scenes", "--split": "test[:2]"} | changed
    name = options.pop("name").format(**places)
    assert samples.main([name, *(word for pair in options.items() for word in pair)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("eval.samples: ") and said in line]) == 1
    assert not any("Traceback" in line for line in lines)
