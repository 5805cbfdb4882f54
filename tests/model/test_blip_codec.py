"""One codec, several tails: a blob that every task answers from, and checkpoints that hold all of
it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from codec import FeatureCodec
from codec.model.backbone import load_backbone
from codec.model.split import blocks
from codec.model.split_text import decoder_logits
from tests import tiny_blip
from training.backbones.shared_tower import INDEX, REST, TOWER

CAPTIONS, ANSWERS = "image-to-text", "visual-question-answering"
Make = Callable[..., FeatureCodec]


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def inputs(task: str) -> dict[str, Any]:
    words = torch.tensor([[2, 9, 10, 14, 25, 3]]).repeat(3, 1)
    return {"input_ids": words} | ({"decoder_input_ids": words[:, :3]} if task == ANSWERS else {})


def test_the_first_task_has_the_tail_and_every_task_one(
    tiny_blip_codec: FeatureCodec, tiny_codec: FeatureCodec
) -> None:
    assert list(tiny_blip_codec.tails) == [CAPTIONS, ANSWERS]
    assert tiny_blip_codec.tail is tiny_blip_codec.tails[CAPTIONS]
    assert type(tiny_blip_codec.tails[ANSWERS]) is tiny_blip.MODELS[ANSWERS]
    assert list(tiny_codec.tails) == ["image-classification"]
    assert tiny_codec.tail is tiny_codec.tails["image-classification"]


def test_a_classification_codec_has_the_parameters_it_always_had(tiny_codec: FeatureCodec) -> None:
    names = set(tiny_codec.state_dict())
    assert {name.partition(".")[0] for name in names} == {
        "tail",
        "encoder",
        "log_gain",
        "synthesis",
    }
    assert any(name.startswith("tail.vit.layers.0.") for name in tiny_codec.own_parameters())


def test_the_tails_share_vision_blocks_and_adapters_and_the_codec_owns_each_once(
    tiny_blip_codec: FeatureCodec,
) -> None:
    first, second = (blocks(tail) for tail in tiny_blip_codec.tails.values())
    assert len(first) == 2
    assert all(a is b for a, b in zip(first, second, strict=True))
    own = tiny_blip_codec.own_parameters()
    assert len({id(p) for p in own.values()}) == len(own)
    adapters = [name for name in own if name.endswith((".up", ".down"))]
    assert len(adapters) == 2 * 4 * 2
    assert all(name.startswith("tail.vision_model.encoder.layers.") for name in adapters)
    assert not any("text_" in name for name in own)


def test_what_is_saved_loads_to_the_same_bytes_words_and_logits(
    tiny_blip_codec: FeatureCodec, pixels: torch.Tensor, tmp_path: Path
) -> None:
    tiny_blip_codec.save_pretrained(tmp_path / "again")
    shutil.move(tmp_path / "again", tmp_path / "moved")
    loaded = FeatureCodec.from_pretrained(tmp_path / "moved")
    assert loaded.fingerprint == tiny_blip_codec.fingerprint
    blobs = tiny_blip_codec.encode(pixels)
    assert loaded.encode(pixels) == blobs
    tokens = loaded.decode(blobs)
    assert torch.equal(tokens, tiny_blip_codec.decode(blobs))
    for task in (CAPTIONS, ANSWERS):
        ours, theirs = (
            decoder_logits(codec.tails[task], tokens, **inputs(task))
            for codec in (loaded, tiny_blip_codec)
        )
        assert torch.equal(ours, theirs)
    assert json.loads((tmp_path / "moved" / "config.json").read_text())["backbone"] == "backbone"
    listed = json.loads((tmp_path / "moved" / "manifest.json").read_text())["sha256"]
    assert {
        f"backbone/{task}/{file}"
        for task in (CAPTIONS, ANSWERS)
        for file in (TOWER, REST, INDEX, "tokenizer.json")
    } <= set(listed)


@torch.no_grad()
def test_adapters_work_in_every_tail_and_uncut_models_have_none(
    tiny_blip_folder: Path, pixels: torch.Tensor
) -> None:
    codec = FeatureCodec.from_pretrained(tiny_blip_folder)
    uncut = {task: codec.load_uncut(task) for task in codec.config.tasks}
    assert type(codec.load_uncut()) is type(uncut[CAPTIONS])
    tokens: Any = uncut[CAPTIONS].vision_model.embeddings(pixels)  # type: ignore[union-attr,operator]
    tokens = uncut[CAPTIONS].vision_model.encoder.layers[0](tokens)  # type: ignore[union-attr,index,operator]
    for with_adapters in (True, False):
        for name, p in codec.own_parameters().items():
            if name.endswith(".up") and not with_adapters:
                p.zero_()
        for task, model in uncut.items():
            same = torch.allclose(
                decoder_logits(codec.tails[task], tokens, **inputs(task)),
                decoder_logits(model, pixels, **inputs(task)),
                atol=1e-5,
            )
            assert same != with_adapters, task


def test_one_task_alone_needs_no_folder_of_folders(
    make_blip_codec: Make, tiny_blips: Path, pixels: torch.Tensor, tmp_path: Path
) -> None:
    codec = make_blip_codec(task=ANSWERS, backbone=f"{tiny_blips}/{ANSWERS}")
    codec.save_pretrained(tmp_path)
    assert (tmp_path / "backbone" / "config.json").is_file()
    loaded = FeatureCodec.from_pretrained(tmp_path)
    assert list(loaded.tails) == [ANSWERS]
    assert loaded.encode(pixels) == codec.encode(pixels)


@pytest.mark.parametrize("changed", [None, CAPTIONS, ANSWERS])
def test_other_weights_of_any_task_change_the_fingerprint(
    make_blip_codec: Make, tiny_blips: Path, changed: str | None
) -> None:
    codec = make_blip_codec()
    models: Any = {
        task: load_backbone(f"{tiny_blips}/{task}", Path()) for task in codec.config.tasks
    }
    if changed:
        with torch.no_grad():
            models[changed].text_decoder.bert.embeddings.word_embeddings.weight[3, 4] += 1
    again = FeatureCodec(codec.config, models)
    with torch.no_grad():
        for name, p in again.own_parameters().items():
            p.copy_(codec.own_parameters()[name])
    again.set_prior(codec.prior)
    assert (again.fingerprint == codec.fingerprint) == (changed is None)


def test_models_that_do_not_fit_the_tasks_are_refused(
    make_blip_codec: Make, tiny_blips: Path, tiny_backbone: Path
) -> None:
    config = make_blip_codec().config
    captions, answers, classifier = (
        load_backbone(str(p), Path())
        for p in (tiny_blips / CAPTIONS, tiny_blips / ANSWERS, tiny_backbone)
    )
    with pytest.raises(
        ValueError,
        match=r"is to serve image-to-text, .*: it takes a model for each, not for image-to-text$",
    ):
        FeatureCodec(config, {CAPTIONS: captions})
    with pytest.raises(
        ValueError,
        match="is to serve image-to-text; a BlipForQuestionAnswering serves visual-question-ans",
    ):
        FeatureCodec(config, {CAPTIONS: answers, ANSWERS: captions})
    with pytest.raises(
        ValueError,
        match="is to serve image-to-text; a ViTForImageClassification serves image-classification",
    ):
        FeatureCodec(replace(config, task=CAPTIONS), classifier)
    with pytest.raises(
        ValueError,
        match="is to serve image-classification; a BlipForConditionalGeneration serves image-to",
    ):
        FeatureCodec(replace(config, task="image-classification"), captions)
    with torch.no_grad():
        answers.vision_model.post_layernorm.bias[0] += 1e-3  # type: ignore[union-attr,index,operator]
    with pytest.raises(ValueError, match="do not share one vision tower"):
        FeatureCodec(config, {CAPTIONS: captions, ANSWERS: answers})


@pytest.mark.parametrize(
    "task",
    ["", "captioning", "image-to-text,visual-question-answering", "image-to-text, image-to-text"],
)
def test_a_task_that_no_tail_answers_is_refused(make_blip_codec: Make, task: str) -> None:
    with pytest.raises(
        ValueError,
        match="is not one or several, separated by ', ', of image-classification, image-to-text",
    ):
        replace(make_blip_codec().config, task=task)


def test_a_backbone_of_one_task_is_missing_by_name(tiny_blip_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_blip_folder, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "backbone" / ANSWERS)
    with pytest.raises(
        FileNotFoundError, match=f"copy is incomplete: backbone/{ANSWERS}/config.json is missing"
    ):
        FeatureCodec.from_pretrained(tmp_path / "copy")
    (tmp_path / "copy" / "manifest.json").unlink()
    # the hub was not asked for it
    with pytest.raises(FileNotFoundError, match=f"^no backbone 'backbone/{ANSWERS}'$"):
        FeatureCodec.from_pretrained(tmp_path / "copy")
