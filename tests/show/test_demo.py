"""codec.show.demo: the bundled pictures, the figures it prints, and the picture it draws."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from codec import FeatureCodec
from codec.cli.app import app as cli
from codec.model.checkpoint import shipped_root
from codec.pipeline import Device, Server
from codec.show import demo, drawing
from codec.show.formats import FORMATS
from codec.show.tables import labels_table

ROWS = [
    {
        "codec": "tiny",
        "quality": q,
        "task": "image-classification",
        "n_images": 10000,
        "bytes_mean": 50.0 + 10 * q,
    }
    | {"score": 70.0 + q, "score_uncut": 75.0, "drop": 5.0 - q}
    for q in range(3)
]


@pytest.fixture
def samples(
    shipped: SimpleNamespace, tiny_codec: FeatureCodec, picture: Callable[..., Image.Image]
) -> list[demo.Sample]:
    """Four bundled pictures, of four labels."""
    folder = shipped.root / "samples" / "cifar10"
    folder.mkdir(parents=True)
    for seed, label in enumerate(("cat", "dog", "ship", "truck")):
        picture(seed).save(folder / f"{seed:02d}_{label}.png")
    return demo.bundled_samples(tiny_codec)


def plain(sent: list[demo.Sent]) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(labels_table(sent))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_48_pictures_of_cifar10_are_bundled() -> None:
    folder = shipped_root() / "samples" / "cifar10"
    samples = demo.label_samples(folder)
    assert len(samples) == 48
    assert len(demo.label_samples(folder, 5)) == 5
    assert [sample.path.name[:2] for sample in samples] == [f"{i:02d}" for i in range(48)]
    labels = {
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    }
    assert {sample.label for sample in samples} <= labels
    for sample in samples:
        with Image.open(sample.path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (32, 32))
    assert (folder / "README.md").is_file()


def test_every_figure_is_measured_on_the_real_bytes(
    tiny_codec: FeatureCodec, samples: list[demo.Sample]
) -> None:
    steps: list[None] = []
    sent = demo.send(tiny_codec, samples, lambda: steps.append(None))
    assert len(steps) == 4
    uncut = tiny_codec.load_uncut()
    for row, sample in zip(sent, samples, strict=True):
        blob = Device(tiny_codec)(sample.path)
        assert row.sample == sample
        assert row.n_bytes == len(blob)
        assert row.coded == Server(tiny_codec)(blob)[0]["label"]
        logits = uncut(Device(tiny_codec).preprocess([sample.path])).logits
        assert row.uncut == Server(tiny_codec).labels[int(logits.argmax())]
        assert row.device_ms > 0
        assert row.server_ms > 0
        with Image.open(sample.path) as image:
            for name, n_bytes in row.picture_n_bytes.items():
                form, options = FORMATS[name]
                buffer = io.BytesIO()
                image.save(buffer, form, **options)
                assert n_bytes == buffer.tell()


def test_the_lossless_formats_are_lossless(samples: list[demo.Sample]) -> None:
    with Image.open(samples[0].path) as image:
        for name in ("PNG", "WebP"):
            form, options = FORMATS[name]
            buffer = io.BytesIO()
            image.save(buffer, form, **options)
            with Image.open(buffer) as again:
                np.testing.assert_array_equal(np.asarray(again.convert("RGB")), np.asarray(image))


def sent_row(label: str, uncut: str, coded: str, n_bytes: int, png: int = 2000) -> demo.Sent:
    sizes = {"PNG": png, "WebP": 1500, "JPEG": 600}
    return demo.Sent(demo.Sample(Path("x.png"), label), uncut, coded, n_bytes, sizes, 1.5, 2.5)


def test_the_table_marks_disagreement_and_sums_up() -> None:
    rows = [
        sent_row("automobile", "automobile", "automobile", 60),
        sent_row("cat", "dog", "dog", 70),
        sent_row("cat", "cat", "automobile", 80, png=2600),
        sent_row("ship", "ship", "ship", 70),
    ]
    printed = plain(rows)
    assert "…" not in printed  # nothing is cut off at 80 columns
    assert printed.count("automobile ≠") == 1
    accuracy = next(line.split() for line in printed.splitlines() if "accuracy" in line)
    assert accuracy == ["accuracy", "75.0%", "50.0%", "70.0", "2,150", "1,500", "600", "1.5", "2.5"]
    agreement = next(line.split() for line in printed.splitlines() if "agreement" in line)
    assert agreement == ["agreement", "75.0%", "1x", "30.7x", "21.4x", "8.6x"]


def colours_of(text: Text) -> set[str]:
    return {str(span.style) for span in text.spans} | {str(text.style)}


def test_a_colour_says_what_is_true_and_the_mark_says_what_the_uncut_model_answers() -> None:
    rows = [
        sent_row("cat", "cat", "cat", 60),
        sent_row("cat", "dog", "cat", 60),  # true, though the uncut model errs
        sent_row("cat", "dog", "dog", 60),  # false, as the uncut model's
    ]
    coded = list(labels_table(rows).columns[3].cells)[:3]
    assert [str(cell) for cell in coded] == ["cat", "cat ≠", "dog"]
    assert [colours_of(cell) for cell in coded] == [{"green"}, {"green"}, {"bold red"}]  # type: ignore[arg-type]


def test_the_picture_has_the_tables_colours_and_marks(
    tiny_codec: FeatureCodec, samples: list[demo.Sample], drawn: list[Any], tmp_path: Path
) -> None:
    sizes = {"PNG": 2000, "WebP": 9, "JPEG": 9}
    answers = [("cat", "cat"), ("cat", "dog"), ("ship", "truck"), ("cat", "cat")]
    labels = ["cat", "dog", "ship", "truck"]
    rows = [
        demo.Sent(sample._replace(label=label), uncut, coded, 60, sizes, 1, 1)
        for sample, label, (uncut, coded) in zip(samples, labels, answers, strict=True)
    ]
    drawing.draw_labels(tiny_codec, rows, [demo.RatePoint(0, 40.0, 50.0)], [], tmp_path / "d.png")
    answer = [ax.texts[0] for ax in drawn[0].axes[:4]]
    marked = [[t.get_text() for t in ax.texts[1:-1]] for ax in drawn[0].axes[:4]]
    assert marked == [[], ["≠ cat"], ["≠ ship"], []]
    green, red = drawing.COLOURS[True], drawing.COLOURS[False]
    assert [(text.get_text(), text.get_color()) for text in answer] == [
        ("cat", green),
        ("dog", green),
        ("truck", red),
        ("cat", red),
    ]


def test_a_legend_covers_no_curve(
    tiny_codec: FeatureCodec, samples: list[demo.Sample], drawn: list[Any], tmp_path: Path
) -> None:
    rows = [sent_row("cat", "cat", "cat", 61)._replace(sample=samples[0])]
    compared = [{**ROWS[0], "codec": name} for name in ("jpeg", "webp", "avif", "bottleneck")]
    for sweep in ([], [*ROWS, *compared]):
        curve = [demo.RatePoint(0, 40.0, 50.0)]
        drawing.draw_labels(tiny_codec, rows, curve, sweep, tmp_path / "demo.png")
        figure, ax = drawn[-1], drawn[-1].axes[-1]
        legend = ax.get_legend().get_window_extent()
        assert not legend.overlaps(ax.get_window_extent())
        assert not legend.overlaps(ax.xaxis.label.get_window_extent())
        assert figure.bbox.y0 <= legend.y0 < legend.y1 <= figure.bbox.y1
        assert figure.bbox.x0 <= legend.x0 < legend.x1 <= figure.bbox.x1


def test_without_matplotlib_the_demo_ends_in_one_line_that_names_the_extra(
    samples: list[demo.Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "matplotlib" else found(name)
    )
    result = CliRunner().invoke(cli, ["demo", "--out", str(tmp_path / "demo.png")])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "pip install 'task-codec[demo]'" in line


def test_the_main_codec_comes_last_and_has_the_picture_of_that_name(
    samples: list[demo.Sample],
    shipped: SimpleNamespace,
    tiny_codec_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("codec.cli.demo.MAIN", "a-main")
    (shipped.root / "a-main").symlink_to(tiny_codec_folder, target_is_directory=True)
    shown: list[Path] = []
    monkeypatch.setattr("codec.cli.demo._show_labels", lambda codec, out, limit: shown.append(out))
    loaded: list[str] = []
    load = FeatureCodec.from_pretrained
    monkeypatch.setattr(
        FeatureCodec, "from_pretrained", lambda name: (loaded.append(name), load(name))[1]
    )
    result = CliRunner().invoke(cli, ["demo", "--out", str(tmp_path / "demo.png")])
    assert result.exit_code == 0, result.output
    assert loaded == ["tiny", "a-main"]
    assert shown == [tmp_path / "demo-tiny.png", tmp_path / "demo.png"]


def test_the_curve_has_a_point_for_every_quality(
    tiny_codec: FeatureCodec, samples: list[demo.Sample]
) -> None:
    curve = demo.rate_curve(tiny_codec, samples)
    assert [point.quality for point in curve] == [0, 1, 2]
    paths = [sample.path for sample in samples]
    for point in curve:
        blobs = Device(tiny_codec)(paths, point.quality)
        right = [
            Server(tiny_codec)(blob)[0]["label"] == s.label
            for blob, s in zip(blobs, samples, strict=True)
        ]
        assert point.bytes_mean == pytest.approx(np.mean([len(blob) for blob in blobs]))
        assert point.score == pytest.approx(100 * np.mean(right))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The matplotlib figures that a test has drawn."""
    from matplotlib.figure import Figure

    figures: list[Any] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1]
    )
    return figures


def titles(figure: Any) -> str:
    return "\n".join(
        [*(text.get_text() for text in figure.texts), *(ax.get_title("left") for ax in figure.axes)]
    )


@pytest.mark.parametrize("sweep", [[], ROWS], ids=["without a sweep", "with a sweep"])
def test_the_picture_says_what_was_measured(
    tiny_codec: FeatureCodec,
    samples: list[demo.Sample],
    tmp_path: Path,
    drawn: list[Any],
    sweep: list[dict[str, Any]],
) -> None:
    rows = [
        demo.Sent(samples[0], "cat", "cat", 61, {"PNG": 2001, "WebP": 9, "JPEG": 9}, 1, 1),
        demo.Sent(samples[1], "dog", "ship", 64, {"PNG": 2002, "WebP": 9, "JPEG": 9}, 1, 1),
    ]
    drawing.draw_labels(
        tiny_codec, rows, [demo.RatePoint(0, 40.0, 50.0)], sweep, tmp_path / "demo.png"
    )
    with Image.open(tmp_path / "demo.png") as image:
        assert image.size > (1200, 800)
        assert len(image.convert("RGB").getcolors(1 << 24)) > 100
    assert [path.name for path in tmp_path.glob("*demo*")] == ["demo.png"]
    said = titles(drawn[0])
    assert "2 pictures, 62 bytes each on average; PNG needs 2,002" in said
    assert "50.0% right after the trip, 100.0% uncut" in said
    assert ("10,000 test images" in said) == bool(sweep)
    assert ("no sweep" in said) == (not sweep)
    words = [text.get_text() for ax in drawn[0].axes[:2] for text in ax.texts]
    assert words == ["cat", "61 bytes", "ship", "≠ dog", "64 bytes"]


def test_the_sweep_beside_the_checkpoint_is_read(tiny_codec_folder: Path, tmp_path: Path) -> None:
    codec: Any = SimpleNamespace(folder=tmp_path)
    assert demo.read_sweep(codec) == []
    (tmp_path / "sweep.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert demo.read_sweep(codec) == ROWS
    for bad in ("{", '{"codec": "tiny"}', "[1]"):
        (tmp_path / "sweep.jsonl").write_text(bad)
        with pytest.raises(ValueError, match=r"sweep\.jsonl"):
            demo.read_sweep(codec)


def test_the_command_prints_the_table_and_the_pictures_path(
    samples: list[demo.Sample], tmp_path: Path
) -> None:
    out = tmp_path / "shown.png"
    result = CliRunner().invoke(cli, ["demo", "--codec", "tiny", "--out", str(out), "--limit", "3"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == str(out)
    assert "these 3 pictures alone" in " ".join(result.stdout.split())
    assert out.is_file()


@pytest.mark.parametrize("name", ["demo.txt", "nowhere/demo.png", "demo"])
def test_a_picture_that_cannot_be_written_is_refused_before_any_work(
    samples: list[demo.Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(demo, "send", lambda *_: pytest.fail("it has begun to work"))
    result = CliRunner().invoke(cli, ["demo", "--codec", "tiny", "--out", str(tmp_path / name)])
    assert result.exit_code == 2
    assert result.stderr.startswith("codec: error: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_codec_is_shown_the_pictures_whose_labels_it_knows(
    shipped: SimpleNamespace, tiny_codec: FeatureCodec, samples: list[demo.Sample]
) -> None:
    for name, label in (("animals", "teapot"), ("photos", "teapot")):
        (shipped.root / "samples" / name).mkdir()
        Image.new("RGB", (8, 8)).save(shipped.root / "samples" / name / f"00_{label}.jpg")
    assert demo.bundled_samples(tiny_codec, 2) == samples[:2]
    for sample in samples:
        sample.path.unlink()
    with pytest.raises(ValueError, match="none of the bundled pictures' labels"):
        demo.bundled_samples(tiny_codec)


def test_an_installation_without_pictures_says_so(
    shipped: SimpleNamespace, tiny_codec: FeatureCodec
) -> None:
    with pytest.raises(FileNotFoundError, match="no pictures"):
        demo.bundled_samples(tiny_codec)
