"""codec.verify, and bundles of codecs that write: their blobs, their captions and answers, and what
changes when symbols do.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from typer.testing import CliRunner

from codec.bundle.export import export_bundle
from codec.bundle.pictures import read_labelled
from codec.bundle.verify import BATCH, verify
from codec.cli.app import app as cli
from codec.device.encoder import DeviceEncoder
from codec.model import FeatureCodec
from codec.model.split import blocks
from codec.pipeline import Device, Server
from codec.tasks.dataset import Known
from tests.signed import sign

Traced = Callable[[str], tuple[FeatureCodec, Any]]
CAPTIONS, ANSWERS = "image-to-text", "visual-question-answering"
QUESTIONS = (
    "how many red things?",
    "what colour is the large ring?",
    "is there a blue cube left of the ring?",
)


@pytest.fixture(scope="module")
def bundles(traced: Traced, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of each of BLIP's two encoders."""
    folder = tmp_path_factory.mktemp("blip-bundles")
    targets = {"blip-student": "onnxruntime", "blip-blocks": "jetson-nano"}
    return {
        name: export_bundle(traced(name)[0], folder / name, target, traced=traced(name)[1])
        for name, target in targets.items()
    }


@pytest.fixture(scope="module")
def pictures(picture: Callable[..., Image.Image]) -> list[Known]:
    return [Known(picture(i), questions=QUESTIONS) for i in range(12)]


@pytest.fixture
def moved(bundles: dict[str, Path], tmp_path: Path) -> Path:
    """A bundle whose graph, with a manifest that fits, gives some other symbols."""
    place = Path(shutil.copytree(bundles["blip-blocks"], tmp_path / "moved"))
    model = onnx.load(place / "encoder.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "project.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.6), bias.name))
    onnx.save(model, place / "encoder.onnx")
    sign(place)
    return place


@pytest.mark.parametrize("name", ["blip-student", "blip-blocks"])
def test_a_captioners_bundle_writes_the_codecs_blobs_and_the_server_answers_them(
    bundles: dict[str, Path], traced: Traced, picture: Callable[..., Image.Image], name: str
) -> None:
    codec, encoder = traced(name)[0], DeviceEncoder(str(bundles[name]))
    photo = picture(5, 61, 47)
    for quality in codec.qualities:
        blob = encoder(photo, quality)
        assert blob == Device(codec)(photo, quality)
    server = Server(codec)
    assert server.caption(blob)
    assert all(server.answer(blob, list(QUESTIONS)))
    readme = (bundles[name] / "README.md").read_text()
    assert "`codec decode photo.blob --caption` and `codec decode photo.blob --ask" in readme


@pytest.mark.parametrize("name", ["blip-student", "blip-blocks"])
def test_captions_and_answers_are_compared_where_nothing_says_what_is_right(
    bundles: dict[str, Path], traced: Traced, pictures: list[Known], name: str
) -> None:
    steps: list[int] = []
    found = verify(bundles[name], traced(name)[0], pictures, lambda: steps.append(1))
    assert found.holds
    assert found.n_images == 12
    assert found.agreement >= 99.99
    assert {task: some.n_answers for task, some in found.answers.items()} == {
        CAPTIONS: 12,
        ANSWERS: 36,
    }
    assert all(
        some.changed == 0 and some.score is None is some.score_change
        for some in found.answers.values()
    )
    assert len(steps) == 1


@pytest.mark.long
def test_other_symbols_change_captions_and_answers_and_their_score(
    moved: Path, traced: Traced, pictures: list[Known]
) -> None:
    codec = traced("blip-blocks")[0]
    server, encoder, default = (
        Server(codec),
        DeviceEncoder(str(moved)),
        codec.config.default_quality,
    )
    # What PyTorch's symbols are answered is taken for right, in another case and with other blanks.
    blobs = Device(codec)([picture.image for picture in pictures], default)
    truth = [server.answer(blob, list(QUESTIONS)) for blob in blobs]
    said = [
        p._replace(answers=tuple(f" {text.upper()} " for text in texts))
        for p, texts in zip(pictures, truth, strict=True)
    ]
    found = verify(moved, codec, said)
    assert found.agreement < 99
    changed = []
    for q in codec.qualities:
        ours, theirs = (
            Device(codec)([p.image for p in pictures], q),
            [encoder(p.image, q) for p in pictures],
        )
        changed.append(
            100
            * np.mean(
                [a != b for a, b in zip(server.caption(ours), server.caption(theirs), strict=True)]
            )
        )
    assert found.answers[CAPTIONS].changed == pytest.approx(max(changed)) != 0
    assert not found.answers[CAPTIONS].holds
    answers = found.answers[ANSWERS]
    theirs = [server.answer(encoder(p.image, default), list(QUESTIONS)) for p in pictures]
    right = 100 * np.mean(
        [
            a == b
            for one, other in zip(truth, theirs, strict=True)
            for a, b in zip(one, other, strict=True)
        ]
    )
    assert (answers.score, answers.bundle_score) == (100, pytest.approx(right))
    assert answers.score_change is not None
    assert answers.score_change <= right - 100 < 0
    assert not answers.holds
    assert not found.holds


def test_a_bundle_that_prepares_pictures_otherwise_is_refused(
    moved: Path, traced: Traced, pictures: list[Known]
) -> None:
    manifest = json.loads((moved / "manifest.json").read_text())
    manifest["preprocess"]["mean"] = [0.4, 0.5, 0.5]
    sign(moved, manifest)
    with pytest.raises(ValueError, match="prepares pictures in another way"):
        verify(moved, traced("blip-blocks")[0], pictures)


def test_what_cannot_be_asked_is_left_out_or_refused(
    bundles: dict[str, Path],
    traced: Traced,
    pictures: list[Known],
    picture: Callable[..., Image.Image],
) -> None:
    bundle, codec = bundles["blip-student"], traced("blip-student")[0]
    assert list(verify(bundle, codec, [Known(picture(1), label=3)]).answers) == [CAPTIONS]
    with pytest.raises(ValueError, match="no word of the question '\\?\\?\\?'"):
        verify(bundle, codec, [Known(picture(1), questions=("???",))])
    with pytest.raises(ValueError, match="no pictures to compare"):
        verify(bundle, codec, [])


def test_a_batch_ends_where_it_should(
    bundles: dict[str, Path], traced: Traced, picture: Callable[..., Image.Image]
) -> None:
    found = verify(
        bundles["blip-student"],
        traced("blip-student")[0],
        (Known(picture(i)) for i in range(BATCH + 1)),
    )
    assert found.n_images == found.answers[CAPTIONS].n_answers == BATCH + 1


def rows(folder: Path, **columns: Any) -> str:
    """A folder of a parquet file with pictures and columns."""
    folder.mkdir()
    images = [
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8))
        for i in range(3)
    ]
    features = datasets.Dataset.from_dict({"image": images, **columns}).cast_column(
        "image", datasets.Image()
    )
    features.to_parquet(folder / "test.parquet")
    return str(folder)


def test_questions_and_answers_are_read_from_lists(tmp_path: Path) -> None:
    questions, answers = [["how many ?"], [], ["what ?", "right ?"]], [["one"], [], ["ring", "yes"]]
    read = list(
        read_labelled(
            rows(tmp_path / "both", questions=questions, answers=answers, label=[2, 0, 1]),
            "test",
            9,
            {0: "a", 1: "b", 2: "c"},
        )
    )
    assert [(p.label, p.questions, p.answers) for p in read] == [
        (2, ("how many ?",), ("one",)),
        (0, (), ()),
        (1, ("what ?", "right ?"), ("ring", "yes")),
    ]
    assert len(list(read_labelled(rows(tmp_path / "plain"), "test", 2, {}))) == 2
    with pytest.raises(ValueError, match=r"picture 2 of .* has 1 questions and 2 answers"):
        list(
            read_labelled(
                rows(tmp_path / "uneven", questions=[["a"], [], ["b"]], answers=answers),
                "test",
                9,
                {},
            )
        )
    unknown = rows(tmp_path / "unknown", label=[0, 1, 7])
    with pytest.raises(ValueError, match="has a label 7; the model has 2"):
        list(read_labelled(unknown, "test", 9, {0: "a", 1: "b"}))


def test_a_number_as_a_word_is_the_same_answer(
    bundles: dict[str, Path], traced: Traced, picture: Callable[..., Image.Image]
) -> None:
    bundle, codec = bundles["blip-student"], traced("blip-student")[0]
    codec_says = iter(["two", "2", "2"])

    class Counting:
        def __init__(self, codec: FeatureCodec) -> None:
            self.labels: dict[int, str] = {}
            self.n = 0

        def open(self, blobs: list[bytes]) -> Counting:
            return self[range(len(blobs))]

        def __getitem__(self, rows: Sequence[int]) -> Counting:
            self.n = len(rows)
            return self

        def caption(self) -> list[str]:
            return ["a ring"] * self.n

        def answer(self, questions: list[str]) -> list[str]:
            return [next(codec_says)] * self.n

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("codec.bundle.verify.Server", Counting)
        asked = Known(picture(1), questions=("how many?",), answers=("2",))
        found = verify(bundle, codec, [asked]).answers[ANSWERS]
    assert (found.score, found.bundle_score, found.changed) == (100, 100, 0)


def test_a_picture_is_decoded_once_however_much_is_asked_of_it(
    bundles: dict[str, Path], traced: Traced, pictures: list[Known]
) -> None:
    codec, decoded = traced("blip-student")[0], []
    decode, looked = FeatureCodec.decode_symbols, blocks(codec.tail)[-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            FeatureCodec,
            "decode_symbols",
            lambda self, symbols, q: (decoded.append(len(symbols)), decode(self, symbols, q))[1],
        )
        rows: list[int] = []
        handle = looked.register_forward_hook(lambda _m, args, _o: rows.append(len(args[0])))
        found = verify(bundles["blip-student"], codec, pictures)
        handle.remove()
    assert found.answers[ANSWERS].n_answers == 3 * len(pictures)
    assert sum(decoded) == sum(rows) == len(pictures)  # all blobs are alike


def test_the_command_says_what_changed_and_what_was_not_asked(
    bundles: dict[str, Path], traced: Traced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    traced("blip-student")[0].save_pretrained(tmp_path / "codec")
    command = ["verify", str(bundles["blip-student"]), "--codec", str(tmp_path / "codec"), "--data"]
    result = CliRunner().invoke(cli, [*command, rows(tmp_path / "plain")])
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "image-to-text 3 answers" in lines
    assert "changed, at the worst quality 0.00%" in lines
    assert "visual-question-answering no questions in the data" in lines
    asked = rows(tmp_path / "asked", questions=[["how many ?"]] * 3, answers=[["one"]] * 3)
    result = CliRunner().invoke(cli, [*command, asked, "--json"])
    assert set(json.loads(result.stdout)["answers"]) == {CAPTIONS, ANSWERS}
