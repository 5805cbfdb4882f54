"""eval.samples: what a person can read, of uncut models and of codecs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

pytest.importorskip("pycocoevalcap")

from codec.device.preprocess import Preprocess
from codec.tasks import CAPTIONS, QUESTIONS
from eval import samples
from eval.measuring.samples import WRONG, marked, show
from eval.measuring.transcript import Transcript, totals
from tests.eval.conftest import N_WORDED
from tests.eval.test_words import rows_of
from training.backbones.shared_tower import REST
from training.data.texts import TextImages, open_source
from training.scenes.facts import Span

pytestmark = pytest.mark.usefixtures("short_texts")


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
    words_data: Path,
    words_swept: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for q in (0, 2):
        assert (
            samples.main(
                [
                    str(tiny_blip_folder),
                    "--quality",
                    str(q),
                    "--data",
                    str(words_data),
                    "--split",
                    "test",
                ]
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
            assert f" {rows_of(words_swept, 'tiny-blip', task)[q][key]:.2f} " in line
        assert printed.count("reference: ") == N_WORDED, "there is no scene to judge by"
        assert "stated facts" not in printed


def test_samples_of_one_model_say_what_it_can(
    tiny_blips: Path, words_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        samples.main([f"{tiny_blips}/{QUESTIONS}", "--data", str(words_data), "--split", "test"])
        == 0
    )
    printed = capsys.readouterr().out
    assert "answers right, in all, %" in printed
    assert "BLEU" not in printed
    assert re.search(r"answers right, in all, % +40.00 +15 questions", printed), (
        "as the sweep's uncut row"
    )


def test_the_scenes_own_words_have_nothing_marked_and_full_scores() -> None:
    images = TextImages(open_source("scenes", "test[:4]"), Preprocess(96))
    said = Transcript(
        [words.captions[0] for words in images.words],
        [[answer for _, answer in words.questions] for words in images.words],
        [9] * 4,
    )
    values = {total.name: total.value for total in totals(said, images)}
    assert values.pop("CIDEr-D x 100") > 100
    assert values.pop("bytes sent for a picture") == 9
    assert list(values.values()) == pytest.approx([100] * len(values))
    console = Console(width=200)
    with console.capture() as printed:
        show(said, images, 4, console)
    assert "*" not in printed.get()
    wrong = said._replace(
        answers=[["green"] * 10] * 4, captions=["a purple thing left of a cone"] * 4
    )
    with console.capture() as printed:
        show(wrong, images, 4, console)
    assert "*green* (" in printed.get()
    assert "*purple*" in printed.get()


def test_wrong_words_are_marked_where_they_are() -> None:
    text = marked("a small red ring left of a cube", (Span(2, 7), Span(17, 24)))
    assert text.plain == "a *small* red ring *left of* a cube"
    assert [(text.plain[s.start : s.end], s.style) for s in text.spans] == [
        ("*small*", WRONG),
        ("*left of*", WRONG),
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
    weights = tmp_path / "broken" / REST
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
    assert (
        len([line for line in lines if line.startswith("eval.samples: error: ") and said in line])
        == 1
    )
    assert not any("Traceback" in line for line in lines)
