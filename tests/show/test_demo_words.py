"""codec.show.demo_words: what the bundled pictures' blobs say, as printed and as drawn."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from codec import FeatureCodec
from codec.cli.app import app as cli
from codec.model.split_text import decoder_logits
from codec.pipeline import Device, Server
from codec.show import demo_words
from codec.show.drawing import COLOURS
from codec.show.drawing_words import draw_words
from codec.show.tables import words_table

QUESTIONS = (("how many red cube are there?", "two"), ("is the ring blue?", "yes"))


@pytest.fixture
def samples(
    shipped: SimpleNamespace, tiny_blip_folder: Path, picture: Callable[..., Image.Image]
) -> list[demo_words.Asked]:
    """Three pictures that ship for the codec in `tiny_blip_folder`, which ships too."""
    shutil.copytree(tiny_blip_folder, shipped.root / "tiny-blip")
    folder = shipped.root / "samples" / "tiny-blip"
    folder.mkdir(parents=True)
    for seed in range(3):
        picture(seed).save(folder / f"{seed}.png")
    (folder / "samples.json").write_text(
        json.dumps([{"file": f"{seed}.png", "questions": QUESTIONS} for seed in range(3)])
    )
    return demo_words.bundled_questions(FeatureCodec.from_pretrained(tiny_blip_folder))


def plain(told: list[demo_words.Told], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(words_table(told))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.long
def test_every_text_is_from_the_real_bytes(
    tiny_blip_codec: FeatureCodec, samples: list[demo_words.Asked]
) -> None:
    steps: list[None] = []
    told = demo_words.tell(tiny_blip_codec, samples, lambda: steps.append(None))
    assert len(steps) == 3
    device, server = Device(tiny_blip_codec), Server(tiny_blip_codec)
    captioner = tiny_blip_codec.load_uncut("image-to-text")
    for row, sample in zip(told, samples, strict=True):
        blob = device(sample.path)
        assert row.n_bytes == len(blob)
        assert row.coded == (
            server.caption(blob),
            *server.answer(blob, [question for question, _ in QUESTIONS]),
        )
        assert row.picture_n_bytes["PNG"] > 0
        start = torch.tensor([[captioner.config.text_config.bos_token_id]])  # type: ignore[union-attr]
        first = decoder_logits(captioner, device.preprocess([sample.path]), input_ids=start)[
            0, 0
        ].argmax()
        assert row.uncut[0].startswith(
            tiny_blip_codec.load_tokenizer().decode([int(first)]).strip()
        )


def told_row(coded: tuple[str, ...], uncut: tuple[str, ...], n_bytes: int) -> demo_words.Told:
    asked = demo_words.Asked(Path("x.png"), QUESTIONS)
    return demo_words.Told(asked, uncut, coded, n_bytes, {"PNG": 2000, "WebP": 1500, "JPEG": 600})


def test_the_table_marks_what_is_not_the_uncut_models_and_what_is_not_true() -> None:
    rows = [
        told_row(("a ring", "two", "no"), ("a ring", "two", "no"), 10),
        told_row(("a cube", "two", "yes"), ("a ring", "one", "yes"), 30),
    ]
    printed = plain(rows)
    assert "…" not in printed
    assert printed.count("≠ a ring") == printed.count("≠ one") == 1
    assert printed.count("(true: yes)") == 1
    words = " ".join(printed.split())
    assert "3 of 4 answers right (2 uncut); 4 of 6 texts" in words.replace(
        "20.0 2,000 1,500 600 ", ""
    )
    assert "100x" in words


def test_a_colour_says_what_is_true_and_the_mark_says_what_the_uncut_model_says(
    tiny_blip_codec: FeatureCodec,
    samples: list[demo_words.Asked],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a caption that is not the uncut model's, a false answer that is, a true one that is not
    row = told_row(("a ring", "one", "yes"), ("a cube", "one", "no"), 10)
    said = next(iter(words_table([row]).columns[1].cells))
    styles = {str(said)[span.start : span.end]: str(span.style) for span in said.spans}  # type: ignore[union-attr]
    assert (styles["one"], styles["yes"]) == ("bold red", "green")
    assert "a ring" not in styles  # nothing says whether a caption is true
    assert (" ≠ a cube" in styles, " ≠ no" in styles, " ≠ one" in styles) == (True, True, False)

    from matplotlib.figure import Figure

    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1]
    )
    row = row._replace(asked=samples[0])
    draw_words(tiny_blip_codec, [row], tmp_path / "words.svg")
    below = {text.get_text(): text.get_color() for text in figures[0].axes[1].texts}
    assert below["a ring"] == COLOURS[None]
    assert below[f"{QUESTIONS[0][0]} one"] == COLOURS[False]
    assert below[f"{QUESTIONS[1][0]} yes"] == COLOURS[True]
    assert {"≠ a cube", "≠ no"} <= set(below)


def test_answers_without_captions_have_their_questions(tiny_blip_codec: FeatureCodec) -> None:
    row = told_row(("two", "no"), ("two", "no"), 10)
    assert [line[0] for line in row.lines] == [question for question, _ in QUESTIONS]


@pytest.mark.long
def test_the_command_shows_and_draws_it(samples: list[demo_words.Asked], tmp_path: Path) -> None:
    out = tmp_path / "shown.png"
    result = CliRunner().invoke(
        cli, ["demo", "--codec", "tiny-blip", "--out", str(out), "--limit", "2"]
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == str(out)
    assert "how many red cube" in " ".join(result.stdout.split())
    with Image.open(out) as image:
        assert image.width > 600
        assert len(image.convert("RGB").getcolors(1 << 24)) > 100


def test_a_codec_without_pictures_says_so(
    samples: list[demo_words.Asked], shipped: SimpleNamespace, tiny_blip_codec: FeatureCodec
) -> None:
    shutil.rmtree(shipped.root / "samples" / "tiny-blip")
    with pytest.raises(FileNotFoundError, match="no sample pictures ship for tiny-blip"):
        demo_words.bundled_questions(tiny_blip_codec)
