"""What a bundle's device knows and answers by itself: taken along where the codec has it, refused
where it was altered, and compared with the codec by `verify`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image

from codec.bundle.own import classifier_of, text_of_ways
from codec.bundle.verify import verify
from codec.device.alone import OwnClassifier
from codec.device.encoder import DeviceEncoder
from codec.link.encoders import alone_of, known_ways
from codec.link.ways_file import ways_text
from codec.model import FeatureCodec
from codec.model.alone import load_alone
from codec.tasks.dataset import Known
from tests.conftest import LABELS
from tests.signed import sign

Picture = Callable[..., Image.Image]


@pytest.fixture
def bundle(own_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(own_bundle, tmp_path / "bundle"))


@pytest.fixture
def codec(own_root: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureCodec:
    monkeypatch.setattr("codec.model.checkpoint.shipped_root", lambda: own_root)
    return FeatureCodec.from_pretrained("tiny")


def manifest_of(bundle: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return values


def test_a_bundle_lists_its_ways_and_its_own_classifier_with_its_labels(own_bundle: Path) -> None:
    manifest = manifest_of(own_bundle)
    assert {"ways.json", "alone.onnx"} <= set(manifest["sha256"])
    assert manifest["alone_labels"] == list(LABELS)
    assert manifest["format"] == 1, "a runtime from before opens it"
    assert "alone.onnx" in (own_bundle / "SHA256SUMS").read_text()


def test_its_classifier_answers_as_pytorchs(
    own_bundle: Path, own_root: Path, picture: Picture
) -> None:
    encoder = DeviceEncoder(str(own_bundle))
    own = alone_of(encoder)
    assert own is not None
    alone = load_alone(own_root / "alone" / "tiny")
    found = set()
    for seed in range(20):
        rows = alone(torch.from_numpy(encoder.preprocess([picture(seed)])))[0].softmax(0)
        answer = own(picture(seed))
        assert {one["label"]: pytest.approx(one["score"], abs=1e-4) for one in answer} == dict(
            zip(LABELS, rows.tolist(), strict=True)
        )
        assert answer == sorted(answer, key=lambda one: -one["score"])
        found.add(answer[0]["label"])
    assert len(found) > 1


def test_its_ways_are_those_of_the_sweep(own_bundle: Path, codec: FeatureCodec) -> None:
    encoder = DeviceEncoder(str(own_bundle))
    blobs = [f"blob q{q}" for q in range(3)]
    ways = {alone: known_ways(encoder, alone)["classify"] for alone in (True, False)}
    assert [way.name for way in ways[False]] == [*blobs, "picture:webp@24 q50"]
    assert [way.name for way in ways[True]][4:] == ["device alone"]
    assert ways_text({"classify": ways[True]}) == text_of_ways(codec)


@pytest.mark.parametrize("name", ["ways.json", "alone.onnx"])
def test_what_was_altered_or_is_not_listed_or_missing_is_refused(bundle: Path, name: str) -> None:
    file, whole = bundle / name, (bundle / name).read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"{name} was cut or altered"):
        DeviceEncoder(str(bundle))
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f"incomplete: {name} is missing"):
        DeviceEncoder(str(bundle))
    file.write_bytes(whole)
    manifest = manifest_of(bundle)
    del manifest["sha256"][name]
    sign(bundle, manifest)
    with pytest.raises(ValueError, match=f"does not list {name}"):
        DeviceEncoder(str(bundle))


WRONG_LABELS = {
    "none": None,
    "a text": "cat",
    "one": ["cat"],
    "numbers": [1, 2, 3, 4],
    "an empty one": ["cat", ""],
    "a long one": ["cat", "x" * 201],
    "too many": ["cat"] * 65_537,
}


@pytest.mark.parametrize("name", WRONG_LABELS)
def test_wrong_labels_are_refused_by_reason(bundle: Path, name: str) -> None:
    manifest, labels = manifest_of(bundle), WRONG_LABELS[name]
    manifest["alone_labels"] = labels
    if labels is None:
        del manifest["alone_labels"]
    sign(bundle, manifest)
    with pytest.raises(ValueError, match=r"alone_labels|a label is a text"):
        DeviceEncoder(str(bundle))


def test_a_classifier_of_other_labels_or_no_classifier_is_refused(bundle: Path) -> None:
    sign(bundle, manifest_of(bundle) | {"alone_labels": ["cat", "dog"]})
    with pytest.raises(ValueError, match="no classifier of 2 labels and pictures of 32 pixels"):
        alone_of(DeviceEncoder(str(bundle)))
    shutil.copy(bundle / "encoder.onnx", bundle / "alone.onnx")
    sign(bundle)
    with pytest.raises(ValueError, match="no classifier of 2 labels"):
        alone_of(DeviceEncoder(str(bundle)))
    (bundle / "alone.onnx").write_bytes(b"no graph")
    sign(bundle)
    with pytest.raises(ValueError, match=r"refuses .*alone.onnx"):
        alone_of(DeviceEncoder(str(bundle)))


def changed(bundle: Path, by: float) -> None:
    """Another bias of the classifier, with a manifest that fits."""
    model = onnx.load(bundle / "alone.onnx")
    bias = next(one for one in model.graph.initializer if one.dims == [len(LABELS)])
    values = numpy_helper.to_array(bias).copy()
    values[0] += by
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    onnx.save(model, bundle / "alone.onnx")
    sign(bundle)


def test_a_classifier_that_gives_no_number_is_named(bundle: Path, picture: Picture) -> None:
    changed(bundle, float("nan"))
    own = alone_of(DeviceEncoder(str(bundle)))
    assert own is not None
    with pytest.raises(ValueError, match="not finite"):
        own(picture(1))


def test_without_onnx_runtime_there_is_no_classifier(
    own_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = DeviceEncoder(str(own_bundle))
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert alone_of(encoder) is None


def test_a_bundle_from_before_opens_and_knows_nothing_by_itself(
    bundle: Path, picture: Picture
) -> None:
    with_own = DeviceEncoder(str(bundle))(picture(1))
    manifest = manifest_of(bundle)
    for name in ("ways.json", "alone.onnx"):
        del manifest["sha256"][name]
        (bundle / name).unlink()
    del manifest["alone_labels"]
    sign(bundle, manifest)
    encoder = DeviceEncoder(str(bundle))
    assert encoder(picture(1)) == with_own
    assert (alone_of(encoder), known_ways(encoder, False), encoder.labels) == (None, {}, [])


def test_a_classifier_is_taken_along_by_the_codec_alone_that_it_ships_for(
    codec: FeatureCodec, own_root: Path, make_codec: Callable[..., FeatureCodec]
) -> None:
    assert classifier_of(codec) is not None
    other = make_codec(seed=9)
    assert other.config.name == codec.config.name
    assert classifier_of(other) is None, "another codec of that name"
    assert text_of_ways(other) is None


def test_verify_compares_both_with_the_codec(
    bundle: Path, codec: FeatureCodec, picture: Picture
) -> None:
    pictures = [Known(picture(i), label=i % 4) for i in range(12)]
    found = verify(bundle, codec, pictures)
    assert (found.ways, found.alone, found.holds) == (True, 100.0, True)
    changed(bundle, 1000.0)
    text = (bundle / "ways.json").read_text()
    found = verify(bundle, codec, pictures)
    assert found.alone is not None
    assert found.alone < 90
    assert not found.holds
    changed(bundle, -1000.0)
    (bundle / "ways.json").write_text(text.replace('"score": 80.0', '"score": 80.1'))
    sign(bundle)
    found = verify(bundle, codec, pictures)
    assert (found.ways, found.alone, found.holds) == (False, 100.0, False)


def test_what_cannot_be_compared_is_named(
    own_bundle: Path, tiny_codec: FeatureCodec, picture: Picture
) -> None:
    with pytest.raises(ValueError, match=r"the bundle has ways.json, .* no sweep"):
        verify(own_bundle, tiny_codec, [Known(picture(1), label=1)])


def test_a_classifier_is_a_callable_of_one_picture(own_bundle: Path, picture: Picture) -> None:
    encoder = DeviceEncoder(str(own_bundle))
    own = OwnClassifier(str(own_bundle), encoder.labels, encoder.preprocess)
    assert len(own(picture(1), top_k=2)) == 2
    with pytest.raises(ValueError, match="picture"):
        own(b"no picture")
