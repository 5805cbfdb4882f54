"""A backbone that starts from a pretrained model: what is taken over, what is new, what stays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import Dinov2Config, Dinov2Model

from codec.device.preprocess import Preprocess
from codec.model.backbone import load_backbone
from codec.model.split import split
from tests.tiny_mobile import SHAPE, WIDTH, write_network
from training.backbone import kind_of, mean_over_classes, run
from training.backbones.mobile_teacher import MobileTeacher, SoftLabels, features
from training.backbones.probe import start_classifier
from training.backbones.resizing import resized
from training.backbones.tuned import TunedRecipe, open_start, start_preprocess
from training.backbones.vit import BackboneRecipe
from training.data.images import Images, normalise
from training.engine.recipe import read_recipe
from training.engine.schedule import Schedule


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DINOv2 of random weights for pictures of 56 pixels, without a classifier."""
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    config: Any = Dinov2Config(**sizes, image_size=56, patch_size=14, mlp_ratio=2)
    Dinov2Model(config).save_pretrained(folder)
    settings = {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 64},
        "crop_size": {"height": 56, "width": 56},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def recipe(start: Path, labelled: Path) -> TunedRecipe:
    schedule = Schedule(
        epochs=2, batch_size=8, lr=3e-3, precision="fp32", fresh_epochs=1, log_steps=1
    )
    return TunedRecipe(
        name="tuned",
        start=str(start),
        data=str(labelled),
        train_split="train[:16]",
        validation_split="train[16:]",
        test_split="test",
        schedule=schedule,
        image_size=32,
        patch_size=8,
        frozen_blocks=1,
    )


def test_a_run_ends_in_a_backbone_whose_frozen_blocks_are_the_starts(
    recipe: TunedRecipe, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score = run(recipe, tmp_path / "run")
    said = capsys.readouterr().out
    assert "epoch 1.00: accuracy" in said
    assert f"backbone: {score:.2f}% on 16 test images, " in said
    model: Any = load_backbone(str(tmp_path / "run" / "final"), Path())
    assert (model.config.image_size, model.config.patch_size) == (32, 8)
    begun = open_start(recipe, 32, [str(i) for i in range(4)])
    for k, same in ((1, True), (2, False)):
        own, first = (split(some, k).head.state_dict() for some in (model, begun))
        assert all(torch.allclose(own[n], first[n], atol=1e-3) for n in own) == same
    preprocess = Preprocess.from_processor(tmp_path / "run" / "final")
    assert (preprocess.size, preprocess.resize) == (32, 37)  # 64 of 56 pixels, at 32
    assert preprocess == start_preprocess(recipe.start, recipe.image_size)
    assert list((tmp_path / "frozen-tokens").glob("*/*.npy"))
    card = (tmp_path / "run" / "final" / "README.md").read_text()
    assert f"started from `{start.name}`" in card
    assert "from scratch" not in card


def test_a_probe_reads_what_reaches_the_classifier(recipe: TunedRecipe, tmp_path: Path) -> None:
    preprocess = start_preprocess(recipe.start, recipe.image_size)
    data = Images(recipe.data, "train", preprocess)
    model: Any = open_start(recipe, 32, data.label_names)
    said = start_classifier(model, data, preprocess, 1e-4, recipe.schedule, tmp_path)
    x = normalise(torch.stack([data[i][0] for i in range(len(data))]), preprocess)
    with torch.no_grad():
        answers = model.eval()(x).logits.argmax(1)
    right = 100 * float((answers == torch.tensor(data.labels)).float().mean())
    assert said == pytest.approx(right, abs=5)  # features are kept in float16
    assert right > 90  # 24 pictures of noise in 64 dimensions: a probe can tell them apart


def test_the_mean_over_classes_counts_each_class_once() -> None:
    answered = torch.tensor([True, True, True, False, True, False])
    assert mean_over_classes(answered, [3, 3, 3, 7, 9, 9]) == pytest.approx(0.5)


def test_the_best_epoch_is_kept(
    recipe: TunedRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.backbones.tune_task import TuneTask

    scores = iter([80.0, 20.0])
    seen: list[torch.Tensor] = []

    def validate(self: TuneTask) -> dict[str, float]:
        model: Any = self.model
        seen.append(model.classifier.weight.detach().clone())
        return {"accuracy": next(scores)}

    monkeypatch.setattr(TuneTask, "validate", validate)
    run(recipe, tmp_path / "run")
    best = load_file(tmp_path / "run" / "vit" / "best.safetensors")
    assert torch.equal(best["model.classifier.weight"], seen[0])
    model: Any = load_backbone(str(tmp_path / "run" / "final"), Path())
    assert torch.allclose(model.classifier.weight, seen[0], atol=1e-3)
    assert not torch.allclose(model.classifier.weight, seen[1], atol=1e-3)


def test_positions_and_patches_of_another_size_give_tokens_alike(start: Path) -> None:
    model = Dinov2Model.from_pretrained(start).eval()
    with torch.no_grad():
        x = torch.randn(2, 3, 28, 28)
        grid = resized(model, 28, 14)  # fewer patches: what the model itself makes of such pictures
        assert torch.allclose(
            grid(x).last_hidden_state, model(x).last_hidden_state, rtol=1e-4, atol=1e-5
        )
        smooth = torch.nn.functional.interpolate(
            torch.randn(2, 3, 4, 4), size=(28, 28), mode="bilinear"
        )
        larger = torch.nn.functional.interpolate(smooth, size=(32, 32), mode="bilinear")
        patches = resized(model, 32, 16)
        close = torch.nn.functional.cosine_similarity(
            patches(larger).last_hidden_state, model(smooth).last_hidden_state, dim=-1
        )
    assert close.min() > 0.95
    assert resized(model, 56, 14) is model
    with pytest.raises(ValueError, match="patches of 15 pixels do not make up 32"):
        resized(model, 32, 15)


def test_blocks_nearer_to_the_pictures_learn_more_slowly(
    recipe: TunedRecipe, tmp_path: Path
) -> None:
    from training.backbones.tune_task import TuneTask

    preprocess = start_preprocess(recipe.start, recipe.image_size)
    data = Images(recipe.data, "train", preprocess)
    model: Any = open_start(recipe, 32, data.label_names)
    task = TuneTask(model, preprocess, recipe, data, data, tmp_path)
    rates = {id(group["params"][0]): group["lr"] for group in task.parameter_groups(1e-3, 0.05)}
    assert len(rates) == sum(p.requires_grad for p in model.parameters())
    names = {name: rates.get(id(p)) for name, p in model.named_parameters()}
    blocks = [next(r for n, r in names.items() if f".{i}.norm1.weight" in n) for i in range(3)]
    assert blocks == [None, pytest.approx(0.75e-3), pytest.approx(1e-3)]
    assert names["classifier.weight"] == recipe.head_lr


@pytest.mark.long
def test_a_teacher_answers_by_heads_that_did_not_see_the_picture(
    recipe: TunedRecipe, tmp_path: Path
) -> None:
    network = write_network(tmp_path)
    teacher = MobileTeacher(str(tmp_path), SHAPE, WIDTH)
    preprocess = Preprocess(32)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        seen = F.relu6(network.bn2(network.conv_head(network(x)))).mean((2, 3))
        assert torch.allclose(features(teacher, preprocess)(x), seen, rtol=0.1, atol=0.1)
    data = Images(recipe.data, "train", preprocess)  # noise: nothing of it is known beforehand
    labels = SoftLabels(teacher, data, preprocess, 4, tmp_path / "kept")
    assert labels.accuracy < 60
    keys = torch.tensor([data.key(3), data.key(8)])
    pixels = torch.stack([data[3][0], data[8][0]])
    x = normalise(pixels, preprocess)
    said = labels(x, keys)
    assert said.shape == (2, 4)
    own = features(teacher, preprocess)(x)
    for place in (0, 1):  # pictures 3 and 8 are both of part 3
        by_head = [head(own[place]).softmax(-1) for head in labels.heads]
        far = [float((said[place] - one).abs().max()) for one in by_head]
        assert far.index(min(far)) == 3  # features are kept in float16
    run(replace(recipe, teacher=teacher), tmp_path / "run")


def test_a_start_that_is_not_there_or_lacks_weights_is_named(
    recipe: TunedRecipe, start: Path, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        open_start(replace(recipe, start="./nowhere"), 32, ["a", "b"])
    with pytest.raises(ValueError, match=r"frozen_blocks is in 0\.\.3"):
        open_start(replace(recipe, frozen_blocks=4), 32, ["a", "b"])


def test_a_recipe_with_a_start_is_of_the_other_kind() -> None:
    tuned = read_recipe(kind_of, "vit-small-caltech101-backbone")
    assert isinstance(tuned, TunedRecipe)
    assert isinstance(read_recipe(kind_of, "vit-tiny-cifar10-backbone"), BackboneRecipe)
