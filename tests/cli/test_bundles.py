"""`codec export`, `codec lint` and `codec verify`: what they print and return. Errors are one line
and exit code 2.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from typer.testing import CliRunner, Result

from codec.bundle import export
from codec.bundle.pictures import read_labelled
from codec.bundle.verify import verify
from codec.cli.app import app as cli
from codec.model import FeatureCodec
from tests.signed import sign

Bundles = Callable[[str], Path]
LABELS = {0: "cat", 1: "dog", 2: "ship", 3: "truck"}
"""Those of the random backbones."""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def one_error(result: Result) -> str:
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("codec: error: ")
    return line


@pytest.fixture(scope="module")
def folder(
    traced: Callable[[str], tuple[FeatureCodec, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Checkpoint of the codec that `bundles` are of."""
    place = tmp_path_factory.mktemp("codec") / "tiny"
    traced("student")[0].save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 pictures of noise in a test split, in folders that are named as the model's labels."""
    place, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)  # those after them get several labels
    for i in range(16):
        file = place / "test" / LABELS[i % 4] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)
    return place


@pytest.fixture
def altered(bundles: Bundles, tmp_path: Path) -> Path:
    """A bundle whose graph, with a manifest that fits, gives some other symbols."""
    place = Path(shutil.copytree(bundles("jetson-nano"), tmp_path / "altered"))
    model = onnx.load(place / "encoder.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "project.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(3), bias.name))
    onnx.save(model, place / "encoder.onnx")
    sign(place)
    return place


def test_a_codec_is_exported_and_its_graph_has_nothing_to_find(
    folder: Path, traced: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "trace", lambda *_: traced("student")[1])
    result = run(
        "export", folder, "--target", "jetson-nano", "--out", tmp_path / "new" / "bundle", "--json"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["target"] == "jetson-nano"
    assert set(found["files"]) == {file.name for file in (tmp_path / "new" / "bundle").iterdir()}
    clean = run("lint", tmp_path / "new" / "bundle" / "encoder.onnx", "--target", "jetson-nano")
    assert clean.exit_code == 0
    assert "nothing found for Jetson Nano" in clean.stdout
    assert "is not an empty folder" in one_error(
        run("export", folder, "--target", "jetson-nano", "--out", tmp_path / "new" / "bundle")
    )


def test_what_is_found_is_printed_with_exit_code_1(bundles: Bundles) -> None:
    result = run(
        "lint", bundles("jetson-jp7") / "encoder.onnx", "--target", "jetson-nano", "--json"
    )
    assert result.exit_code == 1
    (finding, *_) = json.loads(result.stdout)
    assert set(finding) == {"node", "kind", "what", "mend"}
    assert (
        run(
            "lint", bundles("jetson-jp7") / "encoder.onnx", "--target", "jetson-jp7", "--json"
        ).stdout
        == "[]\n"
    )


def test_a_bundle_that_agrees_is_verified(bundles: Bundles, folder: Path, labelled: Path) -> None:
    result = run(
        "verify",
        bundles("jetson-nano"),
        "--data",
        labelled,
        "--limit",
        12,
        "--codec",
        folder,
        "--json",
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["n_images"], found["n_symbols"]) == (12, 12 * 3 * 16 * 6)
    assert found["agreement"] >= found["least_agreement"] >= 99.9
    (answers,) = found["answers"].values()
    assert answers["n_answers"] == 12
    assert answers["score"] == answers["bundle_score"]
    assert answers["score_change"] == answers["changed"] == 0


def test_a_bundle_that_does_not_is_below_the_floors(
    altered: Path,
    bundles: Bundles,
    traced: Callable[[str], tuple[FeatureCodec, Any]],
    folder: Path,
    labelled: Path,
) -> None:
    result = run("verify", altered, "--data", labelled, "--codec", folder)
    assert result.exit_code == 1
    assert "below the floors: 99.99% of symbols" in result.stderr
    codec = traced("student")[0]
    found = verify(altered, codec, read_labelled(str(labelled), "test", 500, LABELS))
    assert found.agreement < 99
    assert not found.holds
    result = found.answers["image-classification"]
    # The score's change is what whole runs at each quality give.
    from datasets import load_dataset

    from codec.device.encoder import DeviceEncoder
    from codec.pipeline import Server

    rows = load_dataset(str(labelled), split="test")
    images, labels = rows["image"][:], np.array(rows["label"])
    changes, changed, encoder, server = [], [], DeviceEncoder(str(altered)), Server(codec)
    for q in codec.qualities:
        theirs = server.probabilities([encoder(image, q) for image in images]).argmax(1)
        ours = server.probabilities(codec.encode(_pixels(codec, images), q)).argmax(1)
        changes.append(100 * ((theirs == labels).mean() - (ours == labels).mean()))
        changed.append(100 * (theirs != ours).mean())
    assert result.score_change == pytest.approx(max(changes, key=abs))
    assert result.changed == pytest.approx(max(changed)) != 0


def _pixels(codec: FeatureCodec, images: list[Any]) -> Any:
    import torch

    return torch.from_numpy(codec.config.preprocess(images))


def test_bad_wishes_are_one_line(
    bundles: Bundles, folder: Path, tiny_codec_folder: Path, labelled: Path, tmp_path: Path
) -> None:
    bundle = bundles("jetson-nano")
    for arguments, named in (
        (
            ("export", folder, "--target", "pi", "--out", tmp_path / "o"),
            "unknown target 'pi'; there are: jetson-nano",
        ),
        (
            ("export", "nobody", "--target", "jetson-nano", "--out", tmp_path / "o"),
            "no codec 'nobody'",
        ),
        (("lint", tmp_path / "no.onnx", "--target", "jetson-nano"), "no ONNX file at"),
        (("lint", bundle / "manifest.json", "--target", "jetson-nano"), "not a valid ONNX file"),
        (("lint", bundle / "encoder.onnx", "--target", "pi"), "unknown target"),
        (("verify", tmp_path, "--data", labelled), "no bundle in"),
        (
            ("verify", bundle, "--data", tmp_path / "nothing", "--codec", folder),
            "cannot load split 'test'",
        ),
        (
            ("verify", bundle, "--data", labelled, "--split", "night", "--codec", folder),
            "cannot load split 'night'",
        ),
        (
            ("verify", bundle, "--data", labelled, "--codec", tiny_codec_folder),
            "fingerprints differ",
        ),
    ):
        assert named in one_error(run(*arguments))
    assert not (tmp_path / "o").exists()


def test_a_class_folder_of_other_labels_is_refused_and_not_scored(
    bundles: Bundles, folder: Path, tmp_path: Path
) -> None:
    for i in range(4):
        (tmp_path / "train" / f"kind{i}").mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "train" / f"kind{i}" / "one.png")
    line = one_error(
        run(
            "verify",
            bundles("jetson-nano"),
            "--data",
            tmp_path,
            "--split",
            "train",
            "--codec",
            folder,
        )
    )
    assert "labels that the model does not have: kind0, kind1, kind2, kind3" in line
    assert "the model has cat, dog, ship, truck" in line


def test_labels_are_matched_by_name_and_not_by_the_folders_order(tmp_path: Path) -> None:
    for name in ("Truck", "cat", "dog"):  # by their order: 0, 1, 2
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "test" / name / f"{name}.png")
    read = read_labelled(str(tmp_path), "test", 9, LABELS)
    assert [picture.label for picture in read] == [3, 0, 1]


def test_a_bundle_of_an_own_codec_says_how_to_name_it(
    bundles: Bundles, traced: Callable[[str], tuple[FeatureCodec, Any]], labelled: Path
) -> None:
    line = one_error(run("verify", bundles("jetson-nano"), "--data", labelled))
    assert "the bundle is of a codec 'tiny'" in line
    assert "with --codec" in line


def test_a_split_that_is_not_there_is_refused_before_anything_is_loaded(
    bundles: Bundles, folder: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        FeatureCodec, "from_pretrained", lambda *_: pytest.fail("a codec has been loaded")
    )
    for missing in ((labelled, "night"), (labelled / "nothing", "test")):
        data, split = missing
        line = one_error(
            run(
                "verify",
                bundles("jetson-nano"),
                "--data",
                data,
                "--split",
                split,
                "--codec",
                folder,
            )
        )
        assert f"cannot load split '{split}'" in line


def test_alike_findings_are_one_row_with_a_count(
    bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    file = bundles("jetson-jp7") / "encoder.onnx"
    found = json.loads(run("lint", file, "--target", "jetson-nano", "--json").stdout)
    kinds = {(row["kind"], row["what"], row["mend"]) for row in found}
    assert len(kinds) < len(found)
    result = run("lint", file, "--target", "jetson-nano")
    assert result.exit_code == 1
    for kind, what, mend in kinds:
        n = sum((row["kind"], row["what"], row["mend"]) == (kind, what, mend) for row in found)
        (row,) = [line for line in result.stdout.splitlines() if f" {what} " in line]
        assert row.split()[1 if n == 1 else 2] == str(n)


def test_a_missing_package_is_named_with_the_extra(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "NEEDED", ("onnx", "no_such_package"))
    wanted = "this takes no_such_package: pip install 'task-codec[export]'"
    assert wanted in one_error(
        run("export", folder, "--target", "jetson-nano", "--out", tmp_path / "o")
    )
    assert wanted in one_error(run("lint", tmp_path / "o", "--target", "jetson-nano"))
