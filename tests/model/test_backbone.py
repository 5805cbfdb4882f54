"""codec.backbone: whatever a folder's configuration says it is comes out, or the reason why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, BlipModel, DeiTConfig, DeiTForImageClassification

from codec.model.backbone import load_backbone, load_tokenizer, task_of
from codec.model.checkpoint import write_manifest
from tests import tiny_blip

HERE = Path()


@pytest.mark.parametrize("task", tiny_blip.MODELS)
def test_a_blip_is_loaded_as_what_its_configuration_says_it_is(tmp_path: Path, task: str) -> None:
    model = tiny_blip.write(tmp_path / "b", task)
    loaded = load_backbone("b", tmp_path)
    assert type(loaded) is type(model)
    assert task_of(loaded) == task
    assert not loaded.training
    assert all(
        torch.equal(a, b)
        for a, b in zip(loaded.state_dict().values(), model.state_dict().values(), strict=True)
    )


def test_weights_stored_in_half_precision_are_loaded_as_float32(tmp_path: Path) -> None:
    tiny_blip.build("image-to-text").half().save_pretrained(tmp_path)
    assert {p.dtype for p in load_backbone(str(tmp_path), HERE).parameters()} == {torch.float32}


def test_a_classifier_is_loaded_as_before(tiny_backbone: Path) -> None:
    model = load_backbone(str(tiny_backbone), HERE)
    assert type(model).__name__ == "ViTForImageClassification"
    assert task_of(model) == "image-classification"


def test_a_deit_is_loaded_as_the_classifier_that_its_configuration_names(tmp_path: Path) -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = DeiTConfig(**shape, intermediate_size=32, image_size=16, patch_size=8, num_labels=2)
    DeiTForImageClassification(config).save_pretrained(tmp_path / "deit")
    assert isinstance(load_backbone(str(tmp_path / "deit"), HERE), DeiTForImageClassification)


def test_a_model_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    config: Any = BertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        vocab_size=10,
    )
    BertModel(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(
        ValueError,
        match=r"backbone 'bert' is a BertModel: neither a model for image classification "
        r"nor one of BLIP's",
    ):
        load_backbone("bert", tmp_path)
    BlipModel(tiny_blip.build("image-text-retrieval").config).save_pretrained(tmp_path / "blip")
    with pytest.raises(
        ValueError,
        match=r"backbone 'blip' is a BlipModel; of BLIP's models these are taken: "
        r"BlipForConditionalGeneration",
    ):
        load_backbone("blip", tmp_path)
    values = json.loads((tmp_path / "blip" / "config.json").read_text())
    (tmp_path / "blip" / "config.json").write_text(json.dumps(values | {"architectures": None}))
    with pytest.raises(ValueError, match="is a model of no architecture"):
        load_backbone("blip", tmp_path)


def test_a_backbone_that_is_not_there_or_was_altered_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no backbone '\./nowhere'"):
        load_backbone("./nowhere", tmp_path)
    tiny_blip.write(tmp_path, "image-to-text")
    write_manifest(tmp_path)
    (tmp_path / "generation_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"generation_config\.json was altered"):
        load_backbone(str(tmp_path), HERE)


def test_a_backbone_that_only_a_checkout_has_is_not_asked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codec.model.backbone.ask_hub", lambda *_: pytest.fail("asked"))
    with pytest.raises(FileNotFoundError, match=r"too large for the wheel.*pretrained/backbones/x"):
        load_backbone("backbones/x", tmp_path)


def test_the_tokenizer_of_a_backbone_is_its_own(tiny_blips: Path) -> None:
    tokenizer = load_tokenizer(f"{tiny_blips}/visual-question-answering", HERE)
    text = "how many red things?"
    assert tokenizer(text).input_ids == tiny_blip.tokenizer()(text).input_ids
    assert tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) == [
        "[CLS]",
        "how",
        "many",
        "red",
        "thing",
        "##s",
        "?",
        "[SEP]",
    ]


def test_a_backbone_without_tokenizer_says_so(tmp_path: Path) -> None:
    tiny_blip.build("image-to-text").save_pretrained(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"has no tokenizer: neither tokenizer\.json nor vocab\.txt"
    ):
        load_tokenizer(str(tmp_path), HERE)


@pytest.mark.parametrize(
    ("name", "text"),
    [("tokenizer.json", "{}"), ("tokenizer.json", "[1"), ("tokenizer_config.json", "[1")],
)
def test_a_damaged_tokenizer_is_refused(
    tiny_blips: Path, tmp_path: Path, name: str, text: str
) -> None:
    shutil.copytree(tiny_blips / "image-to-text", tmp_path / "b")
    (tmp_path / "b" / name).write_text(text)
    with pytest.raises(ValueError, match="the tokenizer of backbone 'b' cannot be loaded"):
        load_tokenizer("b", tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop("classifier.weight"), r"lacks the weights .*: classifier\.weight"),
        (lambda t: t.update(more=torch.zeros(2)), r"has more than the weights .*: more"),
        (
            lambda t: t.update({"classifier.bias": torch.zeros(3)}),
            r"bias .* has shape \(3,\), .* for \(4,\)",
        ),
    ],
)
def test_a_backbone_whose_weights_are_not_those_of_its_architecture_is_refused(
    tiny_backbone: Path, tmp_path: Path, change: Any, reason: str
) -> None:
    shutil.copytree(tiny_backbone, tmp_path / "b")
    tensors = load_file(tmp_path / "b" / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "b" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=reason):
        load_backbone("b", tmp_path)


def test_code_that_comes_with_a_backbone_is_never_run(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_backbone, tmp_path / "b")
    values = json.loads((tmp_path / "b" / "config.json").read_text())
    own = {"AutoConfig": "own.Config", "AutoModelForImageClassification": "own.Model"}
    values |= {"auto_map": own, "model_type": "own"}
    (tmp_path / "b" / "config.json").write_text(json.dumps(values))
    (tmp_path / "b" / "own.py").write_text("raise SystemExit('the code was run')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises((ValueError, OSError)):
        load_backbone("b", tmp_path)


def test_a_damaged_configuration_of_a_backbone_is_a_value_error(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_backbone, tmp_path / "b")
    values = json.loads((tmp_path / "b" / "config.json").read_text())
    for wrong in ({"hidden_size": "wide"}, {"hidden_size": 48}, {"num_hidden_layers": None}):
        (tmp_path / "b" / "config.json").write_text(json.dumps(values | wrong))
        with pytest.raises((ValueError, OSError)):
            load_backbone("b", tmp_path)
