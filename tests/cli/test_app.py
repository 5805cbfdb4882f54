"""codec.cli: what each command prints, writes and returns. Errors are one line on stderr and exit
code 2.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from codec import FeatureCodec, __version__
from codec.cli.app import app as cli
from codec.model.encoding import FeatureEncoder
from codec.pipeline import Device, Server

Picture = Callable[..., Image.Image]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def succeeded(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def json_of(*arguments: object) -> Any:
    return json.loads(succeeded(*arguments, "--json"))


def one_error(result: Result) -> str:
    """The one line on stderr of a command that failed as it should."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("codec: error: ")
    return lines[0]


@pytest.fixture
def images(picture: Picture, tmp_path: Path) -> list[Path]:
    """Three picture files."""
    paths = [tmp_path / name for name in ("a.png", "b.jpg", "c.webp")]
    for seed, path in enumerate(paths):
        picture(seed, 40, 36).save(path)
    return paths


@pytest.fixture
def blob(
    shipped: SimpleNamespace, tiny_codec: FeatureCodec, picture: Picture, tmp_path: Path
) -> Path:
    """A blob file of the shipped codec."""
    path = tmp_path / "good.blob"
    path.write_bytes(Device(tiny_codec)(picture(0)))
    return path


# ---- list


def test_list_shows_what_ships(
    shipped: SimpleNamespace, tiny_codec: FeatureCodec, tiny_codec_folder: Path
) -> None:
    (row,) = json_of("list")
    assert row == {
        "name": "tiny",
        "task": "image-classification",
        "backbone": "backbone",
        "k": 1,
        "encoder": "student",
        "latent": [4, 4, 6],
        "n_qualities": 3,
        "default_quality": 1,
        "device_params": sum(p.numel() for p in tiny_codec.encoder.parameters()),
        "n_bytes": sum(p.stat().st_size for p in tiny_codec_folder.rglob("*") if p.is_file()),
    }
    assert "tiny" in succeeded("list")


def test_list_counts_the_backbones_blocks_that_run_on_the_device(
    shipped: SimpleNamespace, make_codec: Callable[..., FeatureCodec]
) -> None:
    codec = make_codec(name="blocks", encoder="blocks", k=2, student_widths=(), student_depths=())
    codec.save_pretrained(shipped.root / "blocks")
    row = next(row for row in json_of("list") if row["name"] == "blocks")
    assert row["device_params"] == sum(p.numel() for p in codec.encoder.parameters())


def test_list_of_an_installation_without_codecs_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codec.model.checkpoint.shipped_root", lambda: tmp_path)
    assert "no codec ships" in succeeded("list")
    assert json_of("list") == []


def test_help_and_list_do_not_load_torch() -> None:
    for arguments in (["--help"], ["list"]):
        assert not loaded_by(arguments) & {"torch", "transformers", "matplotlib"}


def loaded_by(arguments: list[str]) -> set[str]:
    """The packages that a command that succeeds has imported at its end."""
    code = (
        "import sys; from typer.testing import CliRunner; from codec.cli.app import app; "
        f"r = CliRunner().invoke(app, {arguments}); assert r.exit_code == 0, r.output; "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.long
def test_encode_loads_nothing_of_the_servers_side_and_nothing_that_draws(
    tiny_codec_folder: Path, images: list[Path], tmp_path: Path
) -> None:
    loaded = loaded_by(
        ["encode", str(tiny_codec_folder), str(images[0]), "--out", str(tmp_path / "out")]
    )
    assert "torch" in loaded
    assert not loaded & {"transformers", "matplotlib", "datasets", "onnx"}


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_list_prints_whole_names_in_a_narrow_terminal(
    shipped: SimpleNamespace,
    tiny_codec_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    name = "a-codec-with-a-long-name"
    (shipped.root / name).symlink_to(tiny_codec_folder, target_is_directory=True)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert json_of("list")[0]["name"] == "tiny"  # what its configuration says
    assert succeeded("list").split().count("tiny") == 2


def test_version_is_the_librarys() -> None:
    assert run("--version").stdout == f"codec {__version__}\n"


# ---- info


def test_info_of_a_codec(shipped: SimpleNamespace, tiny_codec: FeatureCodec) -> None:
    facts = json_of("info", "tiny")
    assert facts["fingerprint"] == tiny_codec.fingerprint.hex()
    assert facts["config"]["n_channels"] == 6
    prior = tiny_codec.prior
    names = ("unit", "hidden", "hidden_bias", "shift", "out", "out_bias", "factor", "bias")
    network = sum(getattr(prior.network, name).nbytes for name in names)
    assert facts["prior"] == {
        "n_tables": 192,
        "tables_n_bytes": prior.tables.cdf.nbytes,
        "network_n_bytes": network,
    }
    assert facts["calibration"][2] == {
        "quality": 2,
        "n_images": 100,
        "bytes_mean": 40.0,
        "drop": 0.25,
        "agreement": 95.0,
    }
    assert facts["model_card"] is None
    printed = succeeded("info", "tiny")
    # folded, not cut off
    assert tiny_codec.fingerprint.hex() in "".join(printed.split())
    lines = [line.split() for line in printed.splitlines()]
    assert ["quality", "images", "bytes", "mean", "drop", "agreement"] in lines
    assert ["2", "100", "40.00", "0.25", "95.00"] in lines
    assert ["tables", "bytes", f"{prior.tables.cdf.nbytes:,}"] in lines
    assert max(map(len, printed.splitlines())) < 100, "no fact takes the whole screen"


def test_info_names_the_model_card(
    shipped: SimpleNamespace, make_codec: Callable[..., FeatureCodec]
) -> None:
    make_codec().save_pretrained(shipped.root / "carded")
    (shipped.root / "carded" / "README.md").write_text("# carded")
    assert json_of("info", "carded")["model_card"] == str(shipped.root / "carded" / "README.md")


def test_info_of_a_blob_names_the_codec_that_wrote_it(blob: Path, tiny_codec: FeatureCodec) -> None:
    facts, n_bytes = json_of("info", blob), blob.stat().st_size
    assert facts == {
        "blob": str(blob),
        "version": 2,
        "quality": 1,
        "fingerprint": tiny_codec.fingerprint[:2].hex(),
        "payload_n_bytes": n_bytes - 6,
        "header_n_bytes": 6,
        "n_bytes": n_bytes,
        "codec": "tiny",
        "whole": True,
    }
    assert "tiny" in succeeded("info", blob)


def test_info_of_a_damaged_blob_says_so(blob: Path) -> None:
    blob.write_bytes(blob.read_bytes()[:-1])
    result = run("info", blob, "--json")
    assert "damaged" in one_error(result)
    assert json.loads(result.stdout)["whole"] is False


def test_info_of_a_blob_loads_no_codec(
    blob: Path, foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        FeatureCodec, "from_pretrained", lambda *_, **__: pytest.fail("a codec has been loaded")
    )
    assert json_of("info", blob)["codec"] == "tiny"
    assert json_of("info", foreign)["codec"] is None


def test_info_of_a_foreign_blob_names_no_codec(shipped: SimpleNamespace, foreign: Path) -> None:
    facts = json_of("info", foreign)
    assert facts["codec"] is None
    assert facts["whole"] is None


# ---- encode


def test_encode_writes_the_blobs_that_the_library_makes(
    shipped: SimpleNamespace, images: list[Path], tmp_path: Path, tiny_codec: FeatureCodec
) -> None:
    out = tmp_path / "out" / "deep"
    facts = json_of("encode", "tiny", *images, "--out", out, "--quality", 2)
    assert (facts["codec"], facts["failed"], {row["quality"] for row in facts["blobs"]}) == (
        "tiny",
        [],
        {2},
    )
    for row, path in zip(facts["blobs"], images, strict=True):
        expected = Device(tiny_codec)(path, 2)
        assert Path(row["blob"]) == out / f"{path.stem}.blob"
        assert (out / f"{path.stem}.blob").read_bytes() == expected
        assert (row["image"], row["n_bytes"], row["image_n_bytes"]) == (
            str(path),
            len(expected),
            path.stat().st_size,
        )
        assert row["ratio"] == pytest.approx(path.stat().st_size / len(expected))
    assert sorted(path.name for path in out.iterdir()) == ["a.blob", "b.blob", "c.blob"]


def test_encode_takes_the_pictures_of_a_folder(
    shipped: SimpleNamespace, images: list[Path], picture: Picture, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "notes.txt").write_text("no picture")
    for seed, name in enumerate(("z.png", "y.jpg")):
        picture(seed, 40, 36).save(folder / name)
    facts = json_of("encode", "tiny", images[0], folder, "--out", tmp_path / "out")
    taken = [row["image"] for row in facts["blobs"]]
    assert taken == [str(images[0]), str(folder / "y.jpg"), str(folder / "z.png")]


def test_encode_within_a_budget_writes_the_best_blob_that_fits(
    shipped: SimpleNamespace, images: list[Path], tmp_path: Path, tiny_codec: FeatureCodec
) -> None:
    budget = len(Device(tiny_codec)(images[0], 1))
    (row,) = json_of("encode", "tiny", images[0], "--out", tmp_path, "--max-bytes", budget)["blobs"]
    assert (row["quality"], row["n_bytes"]) == (1, budget)
    assert "at least" in one_error(
        run("encode", "tiny", images[0], "--out", tmp_path, "--max-bytes", 7)
    )
    assert "each set the rate" in one_error(
        run("encode", "tiny", images[0], "--out", tmp_path, "--max-bytes", 99, "--quality", 1)
    )


def test_encode_for_a_drop_takes_the_calibrated_quality(
    shipped: SimpleNamespace, images: list[Path], tmp_path: Path
) -> None:
    (row,) = json_of("encode", "tiny", images[0], "--out", tmp_path, "--target-drop", 1.5)["blobs"]
    assert row["quality"] == 1
    line = one_error(
        run("encode", "tiny", *images, "--out", tmp_path / "out", "--target-drop", 0.1)
    )
    assert "the least is 0.25, at quality 2" in line
    assert not (tmp_path / "out").exists()


def test_encode_prints_a_table_and_takes_the_default_quality(
    shipped: SimpleNamespace, images: list[Path], tmp_path: Path, tiny_codec: FeatureCodec
) -> None:
    printed = succeeded("encode", "tiny", images[0], "--out", tmp_path / "out")
    blob = (tmp_path / "out" / "a.blob").read_bytes()
    assert blob == Device(tiny_codec)(images[0], tiny_codec.config.default_quality)
    assert f" {len(blob)} " in printed


def test_the_ratio_is_to_the_picture_that_the_model_sees(
    shipped: SimpleNamespace, picture: Picture, tmp_path: Path, tiny_codec: FeatureCodec
) -> None:
    photo = tmp_path / "photo.png"
    picture(0, 640, 480).save(photo)
    (row,) = json_of("encode", "tiny", photo, "--out", tmp_path)["blobs"]
    seen = Image.fromarray(tiny_codec.config.preprocess.pixels(photo))
    buffer = io.BytesIO()
    seen.save(buffer, "PNG", optimize=True)
    assert seen.size == (32, 32)
    assert row["png_n_bytes"] == buffer.tell() < row["image_n_bytes"] / 10
    printed = " ".join(succeeded("encode", "tiny", photo, "--out", tmp_path).split())
    assert "PNG, 32 x 32" in printed
    assert f" {buffer.tell() / row['n_bytes']:.1f}" in printed
    assert f"{row['ratio']:.1f}" not in printed


@pytest.mark.parametrize("rate", [[], ["--max-bytes", 500]])
def test_pictures_are_encoded_in_batches(
    shipped: SimpleNamespace,
    picture: Picture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rate: list[object],
) -> None:
    monkeypatch.setattr("codec.device.taking.BATCH", 3)
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for seed, path in enumerate(paths):
        picture(seed).save(path)
    (tmp_path / "1.png").write_text("not a picture")
    sizes: list[int] = []
    latent = FeatureEncoder.latent
    monkeypatch.setattr(
        FeatureEncoder, "latent", lambda self, x: (sizes.append(len(x)), latent(self, x))[1]
    )
    result = run("encode", "tiny", *paths, *rate, "--out", tmp_path / "out", "--json")
    assert "1.png" in one_error(result)
    assert sizes == [2, 2]
    assert [Path(row["image"]).stem for row in json.loads(result.stdout)["blobs"]] == list("0234")


def test_a_budget_that_one_picture_does_not_keep_to_is_that_pictures_error(
    shipped: SimpleNamespace, picture: Picture, tmp_path: Path, tiny_codec: FeatureCodec
) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for seed, path in enumerate(paths):
        picture(seed).save(path)
    smallest = [len(Device(tiny_codec)(path, 0)) for path in paths]
    budget = sorted(smallest)[2]
    result = run("encode", "tiny", *paths, "--out", tmp_path, "--max-bytes", budget, "--json")
    facts = json.loads(result.stdout)
    assert len(facts["blobs"]) == sum(n <= budget for n in smallest) < 6
    failed = [row["error"] for row in facts["failed"]]
    assert len(failed) == sum(n > budget for n in smallest)
    assert all("this image takes at least" in error for error in failed)


def test_a_codec_may_be_named_by_its_folder(
    tiny_codec_folder: Path, images: list[Path], tmp_path: Path
) -> None:
    assert (
        len(json_of("encode", tiny_codec_folder, *images, "--out", tmp_path / "out")["blobs"]) == 3
    )


def test_pictures_of_the_same_stem_do_not_overwrite_each_other(
    shipped: SimpleNamespace, picture: Picture, tmp_path: Path, tiny_codec: FeatureCodec
) -> None:
    paths = [tmp_path / name for name in ("x/a.png", "y/a.png", "a-1.png", "A.png")]
    for seed, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        picture(seed).save(path)
    rows = json_of("encode", "tiny", *paths, "--out", tmp_path / "out")["blobs"]
    assert len({row["blob"].lower() for row in rows}) == 4
    for row, path in zip(rows, paths, strict=True):
        assert Path(row["blob"]).read_bytes() == Device(tiny_codec)(path)


def test_an_input_is_never_overwritten(
    shipped: SimpleNamespace, picture: Picture, tmp_path: Path
) -> None:
    path = tmp_path / "a.blob"  # a picture with an unlucky name
    picture(0).save(path, format="PNG")
    before = path.read_bytes()
    (row,) = json_of("encode", "tiny", path, "--out", tmp_path)["blobs"]
    assert path.read_bytes() == before
    assert Path(row["blob"]) == tmp_path / "a-1.blob"


@pytest.mark.parametrize("kind", ["missing", "text", "cut", "folder"])
def test_a_bad_image_among_many_does_not_lose_the_others(
    shipped: SimpleNamespace, images: list[Path], tmp_path: Path, kind: str
) -> None:
    bad = tmp_path / "bad.png"
    if kind == "text":
        bad.write_text("not a picture")
    elif kind == "cut":
        bad.write_bytes(images[0].read_bytes()[:150])
    elif kind == "folder":
        bad.mkdir()
    result = run("encode", "tiny", images[0], bad, *images[1:], "--out", tmp_path / "out", "--json")
    assert str(bad) in one_error(result)
    facts = json.loads(result.stdout)
    assert [row["image"] for row in facts["blobs"]] == [str(path) for path in images]
    assert [failure["image"] for failure in facts["failed"]] == [str(bad)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.blob",
        "b.blob",
        "c.blob",
    ]


def test_blobs_are_written_whole_or_not_at_all(
    shipped: SimpleNamespace, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as opened:
            opened.write(data[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left" in one_error(run("encode", "tiny", images[0], "--out", tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unknown_quality_is_refused_once(
    shipped: SimpleNamespace, images: list[Path], tmp_path: Path
) -> None:
    for quality in (3, -1):
        line = one_error(
            run("encode", "tiny", *images, "--out", tmp_path / "out", "--quality", quality)
        )
        assert "0..2" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "nix", "a.png"],
        ["decode", "--codec", "nix", "a.blob"],
        ["info", "nix"],
        ["demo", "--codec", "nix"],
    ],
)
def test_an_unknown_codec_is_refused_with_the_names_of_the_known(
    shipped: SimpleNamespace,
    blob: Path,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (shipped.root / "samples" / "cifar10").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(shipped.root / "samples" / "cifar10" / "00_cat.png")
    monkeypatch.chdir(tmp_path)
    line = one_error(run(*arguments))
    assert "'nix'" in line
    assert "tiny" in line


def test_an_altered_checkpoint_is_refused(
    shipped: SimpleNamespace, make_codec: Callable[..., FeatureCodec]
) -> None:
    make_codec().save_pretrained(shipped.root / "altered")
    file = shipped.root / "altered" / "config.json"
    file.write_text(file.read_text().replace('"default_quality": 1', '"default_quality": 2'))
    assert "altered" in one_error(run("info", "altered"))


def test_an_output_folder_that_is_a_file_is_one_line(
    shipped: SimpleNamespace, images: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    one_error(run("encode", "tiny", images[0], "--out", tmp_path / "file"))


# ---- decode


def test_decode_answers_with_the_codec_the_blob_names(blob: Path, tiny_codec: FeatureCodec) -> None:
    (row,) = json_of("decode", blob, "--answer")["blobs"]
    assert row == {
        "blob": str(blob),
        "codec": "tiny",
        "quality": 1,
        "answer": Server(tiny_codec)(blob.read_bytes()),
    }
    printed = succeeded("decode", blob, "--answer")
    assert row["answer"][0]["label"] in printed
    assert f"{row['answer'][0]['score']:.3f}" in printed


def test_truncate_writes_shorter_blobs_that_decode(
    shipped: SimpleNamespace, picture: Picture, tmp_path: Path
) -> None:
    for i in range(2):
        picture(i).save(tmp_path / f"{i}.png")
    pictures = [tmp_path / f"{i}.png" for i in range(2)]
    rows = json_of("encode", "tiny", *pictures, "--quality", 2, "--out", tmp_path)["blobs"]
    budget = min(row["n_bytes"] for row in rows) - 5
    bad = tmp_path / "bad.blob"
    bad.write_bytes(b"junk")
    result = run(
        "truncate",
        bad,
        *(row["blob"] for row in rows),
        "--max-bytes",
        budget,
        "--out",
        tmp_path / "short",
        "--json",
    )
    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert "fewer than its header" in answer["failed"][0]["error"]
    for row in answer["blobs"]:
        assert (
            Path(row["truncated"]).stat().st_size
            == row["truncated_n_bytes"]
            <= budget
            < row["n_bytes"]
        )
        assert row["truncated_quality"] < row["quality"] == 2
        assert (
            json_of("decode", row["truncated"], "--answer")["blobs"][0]["quality"]
            == row["truncated_quality"]
        )
    assert "short" in succeeded(
        "truncate", rows[0]["blob"], "--max-bytes", budget, "--out", tmp_path / "short"
    )
    impossible = run("truncate", rows[0]["blob"], "--max-bytes", 7, "--out", tmp_path / "short")
    assert impossible.exit_code == 2
    assert "this blob takes at least" in " ".join(impossible.stderr.split())


@pytest.fixture
def wordy(
    shipped: SimpleNamespace,
    tiny_blip_folder: Path,
    tiny_blip_codec: FeatureCodec,
    picture: Picture,
    tmp_path: Path,
) -> Path:
    """A blob file of a shipped codec for captions and answers."""
    (shipped.root / "tiny-blip").symlink_to(tiny_blip_folder, target_is_directory=True)
    path = tmp_path / "wordy.blob"
    path.write_bytes(Device(tiny_blip_codec)(picture(1)))
    return path


@pytest.mark.long
def test_decode_captions_and_asks_the_codec_the_blob_names(
    wordy: Path, tiny_blip_codec: FeatureCodec
) -> None:
    server, blob, questions = (
        Server(tiny_blip_codec),
        wordy.read_bytes(),
        ["how many red things?", "is there a cube?"],
    )
    answers = [
        {"question": question, "answer": server.answer(blob, question)} for question in questions
    ]
    start = {"blob": str(wordy), "codec": "tiny-blip", "quality": 1}
    assert json_of("decode", wordy, "--caption")["blobs"] == [
        start | {"caption": server.caption(blob)}
    ]
    asked = ["--ask", questions[0], "--ask", questions[1]]
    assert json_of("decode", wordy, *asked)["blobs"] == [start | {"answers": answers}]
    assert json_of("decode", wordy, "--caption", *asked)["blobs"] == [
        start | {"caption": server.caption(blob), "answers": answers}
    ]
    assert not wordy.with_suffix(".npy").exists()
    printed = " ".join(succeeded("decode", wordy, "--caption", *asked).split())
    for word in (
        questions[0],
        questions[1].split()[0],
        server.caption(blob).split()[0],
        answers[1]["answer"].split()[0],
    ):
        assert word in printed


def test_questions_on_one_blob_decode_it_once(wordy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    loaded: list[object] = []
    decode, load = FeatureCodec.decode_symbols, FeatureCodec.from_pretrained
    monkeypatch.setattr(
        FeatureCodec,
        "decode_symbols",
        lambda self, symbols, q: (decoded.append(len(symbols)), decode(self, symbols, q))[1],
    )
    monkeypatch.setattr(
        FeatureCodec, "from_pretrained", lambda name, **_: (loaded.append(name), load(name))[1]
    )
    asked = [part for i in range(5) for part in ("--ask", f"how many red things? {i}")]
    rows = json_of("decode", wordy, wordy, "--caption", *asked)["blobs"]
    assert [len(row["answers"]) for row in rows] == [5, 5]
    assert decoded == [2]  # both together, once
    assert len(loaded) == 1  # one server for the whole command


def test_a_classification_blob_has_no_caption_and_others_keep_theirs(
    blob: Path, wordy: Path
) -> None:
    for option, task in (
        (["--caption"], "image-to-text"),
        (["--ask", "how many?"], "visual-question-answering"),
    ):
        result = run("decode", blob, wordy, *option, "--json")
        assert f"{blob}: tiny serves image-classification, not {task}" in one_error(result)
        assert [row["blob"] for row in json.loads(result.stdout)["blobs"]] == [str(wordy)]
    line = one_error(run("decode", wordy, "--answer"))
    assert (
        "tiny-blip serves image-to-text, visual-question-answering, not image-classification"
        in line
    )


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("", "the question is empty"),
        ("x" * 10_000, "10,000 characters"),
        ("сколько?", "vocabulary has no word of the question"),
    ],
)
def test_a_question_that_cannot_be_asked_is_one_line(
    wordy: Path, question: str, reason: str
) -> None:
    assert reason in one_error(run("decode", wordy, "--ask", question))


def test_options_that_exclude_each_other_are_refused(wordy: Path, tmp_path: Path) -> None:
    assert "--caption writes none" in one_error(
        run("decode", wordy, "--caption", "--out", tmp_path / "out")
    )
    assert "--ask writes none" in one_error(
        run("decode", wordy, "--ask", "how many?", "--out", tmp_path / "out")
    )
    assert "give one of them" in one_error(run("decode", wordy, "--answer", "--caption"))


def test_list_counts_only_the_vision_blocks_of_a_blip(
    shipped: SimpleNamespace, make_blip_codec: Callable[..., FeatureCodec]
) -> None:
    codec = make_blip_codec(
        name="blocks", encoder="blocks", k=2, student_widths=(), student_depths=()
    )
    codec.save_pretrained(shipped.root / "blocks")
    row = next(row for row in json_of("list") if row["name"] == "blocks")
    assert row["task"] == "image-to-text, visual-question-answering"
    assert row["device_params"] == sum(p.numel() for p in codec.encoder.parameters())


def test_decode_writes_tokens_beside_the_blob(blob: Path, tiny_codec: FeatureCodec) -> None:
    (row,) = json_of("decode", blob)["blobs"]
    tokens = np.load(blob.with_suffix(".npy"))
    assert row["tokens"] == str(blob.with_suffix(".npy"))
    assert row["shape"] == list(tokens.shape) == [17, 32]
    assert tokens.dtype == np.float32
    np.testing.assert_array_equal(tokens, tiny_codec.decode(blob.read_bytes())[0].numpy())
    assert "17 x 32" in succeeded("decode", blob)


def test_decode_writes_tokens_into_a_folder_under_names_of_their_own(
    blob: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / blob.name
    twin.write_bytes(blob.read_bytes())
    rows = json_of("decode", blob, twin, "--out", tmp_path / "out")["blobs"]
    assert [Path(row["tokens"]).name for row in rows] == ["good.npy", "good-1.npy"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good-1.npy", "good.npy"]


def test_what_encode_writes_decode_answers(
    shipped: SimpleNamespace, images: list[Path], tmp_path: Path, tiny_codec: FeatureCodec
) -> None:
    rows = json_of("encode", "tiny", *images, "--out", tmp_path, "-q", 0)["blobs"]
    answers = json_of("decode", *(row["blob"] for row in rows), "--answer")["blobs"]
    expected = [Server(tiny_codec)(Device(tiny_codec)(path, 0)) for path in images]
    assert [row["answer"] for row in answers] == expected
    assert [row["quality"] for row in answers] == [0, 0, 0]


@pytest.fixture
def foreign(make_codec: Callable[..., FeatureCodec], picture: Picture, tmp_path: Path) -> Path:
    """A blob of a codec that does not ship; the codec is in the folder `foreign` beside it."""
    codec = make_codec(seed=9, n_channels=4)
    codec.save_pretrained(tmp_path / "foreign")
    (tmp_path / "foreign.blob").write_bytes(Device(codec)(picture(1)))
    return tmp_path / "foreign.blob"


@pytest.mark.parametrize("answer", [["--answer"], []])
@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("cut", "damaged"),
        ("flipped", "damaged"),
        ("longer", "damaged"),
        ("empty", "empty"),
        ("short", "header"),
        ("version", "version 15"),
        ("foreign", "--codec"),
        ("missing", "no blob"),
    ],
)
def test_a_damaged_blob_among_many_does_not_lose_the_others(
    blob: Path, foreign: Path, tmp_path: Path, kind: str, named: str, answer: list[str]
) -> None:
    whole = blob.read_bytes()
    middle = len(whole) // 2
    damage = {
        "cut": whole[:-3],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :],
        "longer": whole + b"\0",
        "empty": b"",
        "short": whole[:4],
        "version": b"\xf1" + whole[1:],
        "foreign": foreign.read_bytes(),
    }
    bad, last = tmp_path / "bad.blob", tmp_path / "last.blob"
    last.write_bytes(whole)
    if kind in damage:
        bad.write_bytes(damage[kind])
    result = run("decode", blob, bad, last, *answer, "--json")
    line = one_error(result)
    assert str(bad) in line
    assert named in line
    facts = json.loads(result.stdout)
    assert [row["blob"] for row in facts["blobs"]] == [str(blob), str(last)]
    assert [failure["blob"] for failure in facts["failed"]] == [str(bad)]
    assert not bad.with_suffix(".npy").exists()


def test_a_blob_of_another_codec_is_decoded_where_that_is_named(
    shipped: SimpleNamespace, foreign: Path
) -> None:
    rows = json_of("decode", foreign, "--answer", "--codec", foreign.with_suffix(""))["blobs"]
    assert len(rows[0]["answer"]) == 4


def test_a_blob_is_not_decoded_by_another_codec_that_is_named(blob: Path, foreign: Path) -> None:
    line = one_error(run("decode", blob, "--answer", "--codec", foreign.with_suffix("")))
    assert "another codec" in line


def test_the_right_one_of_several_codecs_is_found(
    shipped: SimpleNamespace, blob: Path, foreign: Path, picture: Picture
) -> None:
    (shipped.root / "a-first").symlink_to(foreign.with_suffix(""), target_is_directory=True)
    rows = json_of("decode", blob, foreign)["blobs"]
    assert [row["shape"] for row in rows] == [[17, 32], [17, 32]]
    assert json_of("info", blob)["whole"] is True
    assert json_of("info", foreign)["whole"] is True


# ---- the command as such


def test_an_interrupted_command_ends_quietly_with_130(
    shipped: SimpleNamespace, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FeatureEncoder, "latent", interrupted)
    result = run("encode", "tiny", images[0], "--out", tmp_path / "out")
    assert (result.exit_code, result.output) == (130, "")


@pytest.mark.long
def test_the_process_exits_with_2_and_one_line(
    tmp_path: Path, tiny_codec_folder: Path, images: list[Path]
) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    command = [
        sys.executable,
        "-m",
        "codec.cli",
        "encode",
        str(tiny_codec_folder),
        str(images[0]),
        str(tmp_path / "text.png"),
    ]
    ended = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert ended.stderr.startswith("codec: error: ")
    assert "text.png" in ended.stderr
    assert (tmp_path / "out" / "a.blob").is_file()
    row = next(line for line in ended.stdout.splitlines() if "a.png" in line)
    assert row.split()[:2] == [str(images[0]), str(tmp_path / "out" / "a.blob")]
