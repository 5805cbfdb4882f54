"""A codec is the same codec on every version of transformers: `make versions` runs this file on
each of `VERSIONS`, with codecs that the installed version saved.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codec.model import FeatureCodec
from codec.model.checkpoint import shipped_names, shipped_root
from codec.model.split_names import named_weights
from codec.pipeline import Device, Server
from tests.make_golden import GOLDEN, answers_of, sent_pictures
from tests.versions.saved import FAMILIES, backbone, logits, save, saved_logits

NAMES = json.loads((GOLDEN / "names.json").read_text())
N_PICTURES = 3


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a random codec of one family: one that another version saved, or this one."""
    if "SAVED_CODECS" in os.environ:
        return Path(os.environ["SAVED_CODECS"]) / request.param
    made = tmp_path_factory.mktemp("saved") / request.param
    save(request.param, made)
    return made


@pytest.mark.parametrize("name", shipped_names())
def test_a_shipped_codec_is_the_one_of_its_manifest_and_codes_and_answers_as_it_did(name: str):
    codec = FeatureCodec.from_pretrained(name)
    manifest = json.loads((shipped_root() / name / "manifest.json").read_text())
    assert codec.fingerprint.hex() == manifest["fingerprint"]
    device, server = Device(codec), Server(codec)
    pictures = {picture.path.name: picture for picture in sent_pictures(codec)[:N_PICTURES]}
    rows = [
        row
        for row in json.loads((GOLDEN / f"{name}.json").read_text())
        if row["picture"] in pictures and row["quality"] in (0, codec.qualities[-1])
    ]
    assert len(rows) == 2 * N_PICTURES
    for row in rows:
        picture, blob = pictures[row["picture"]], bytes.fromhex(row["blob"])
        golden, qualities = codec.read([blob])
        assert list(qualities) == [row["quality"]]
        assert hashlib.sha256(golden[0].astype("<i4").tobytes()).hexdigest() == row["symbols"]
        assert codec.code(golden, row["quality"]) == [blob]
        (sent,) = device([picture.path], row["quality"])
        # another machine's floats may round a symbol another way
        assert np.mean(codec.read([sent])[0] != golden) < 0.02
        assert answers_of(server, blob, picture.questions) == row["answers"]


def test_a_codec_that_another_version_saved_is_the_same_codec(folder: Path):
    codec = FeatureCodec.from_pretrained(folder / "codec")
    manifest = json.loads((folder / "codec" / "manifest.json").read_text())
    assert codec.fingerprint.hex() == manifest["fingerprint"]
    torch.testing.assert_close(logits(codec), saved_logits(folder), atol=1e-4, rtol=1e-4)


def test_a_codec_is_stored_with_the_same_names_by_every_version(folder: Path, tmp_path: Path):
    from safetensors import safe_open

    again = tmp_path / "again"
    FeatureCodec.from_pretrained(folder / "codec").save_pretrained(again)
    with safe_open(again / "codec.safetensors", framework="pt") as file:
        assert sorted(file.keys()) == NAMES[folder.name]["codec"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_backbones_weights_have_the_same_names_on_every_version(family: str):
    model: Any = backbone(family)
    assert sorted(named_weights(model)) == NAMES[family]["backbone"]
