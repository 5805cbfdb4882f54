"""Text parts behind a pretrained tower: what the tower makes of pictures, which words are learned,
and what a run leaves behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from PIL import Image
from transformers import (
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)

from codec.device.preprocess import Preprocess
from codec.model.split import n_blocks, split
from codec.model.split_text import question_states, word_logits, word_states
from codec.model.split_tower import vision_tower
from codec.tasks import CAPTIONS, QUESTIONS
from training.backbones.blip import SpeakRecipe, build_blip, make_tokenizer, start_answerer
from training.backbones.converted import converted
from training.backbones.speak_task import FrozenTower, SpeakTask, some_tokens
from training.backbones.tuned import open_tower
from training.blip import kind_of, run
from training.codecs.building import load_models
from training.codecs.opening import open_match_data, open_objective
from training.codecs.preparing import prepare
from training.codecs.recipe import CodecRecipe
from training.data.texts import TextImages, open_source
from training.engine.recipe import read_recipe
from training.engine.schedule import Schedule
from training.engine.words import texts_of
from training.train import run as train_codec

pytestmark = pytest.mark.usefixtures("uncompiled")

COLOURS = ("red", "blue")


def dinov2(**changes: Any) -> Dinov2Config:
    """For 32 pixels in patches of 8; nothing in it is as transformers has it by default."""
    make: Any = Dinov2Config
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "mlp_ratio": 2}
    config: Dinov2Config = make(**(sizes | {"image_size": 32, "patch_size": 8} | changes))
    return config


def moved(model: Any) -> Any:
    """No weight is left at 0, no scale at 1: what is dropped or mixed up shows."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    moved(Dinov2Model(dinov2(image_size=56, patch_size=14))).save_pretrained(folder)
    settings = {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 64},
        "crop_size": {"height": 56, "width": 56},
        "image_mean": [0.4, 0.5, 0.6],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two data sets of colours, as a recipe names them: one with captions, one with questions."""
    folder = tmp_path_factory.mktemp("sets")
    texts = {
        "told": {"captions": lambda colour: [f"all is {colour}", f"a {colour} wall"]},
        "asked": {"questions": lambda _: ["what colour?"], "answers": lambda colour: [colour]},
    }
    for name, columns in texts.items():
        chosen = [COLOURS[i % 2] for i in range(16)]
        rows: dict[str, Any] = {"image": [Image.new("RGB", (40, 30), c) for c in chosen]}
        rows |= {column: [of(colour) for colour in chosen] for column, of in columns.items()}
        made = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
        for part in ("train", "validation", "test"):
            made.to_parquet(str(folder / name / f"{part}.parquet"))
    return f"{folder / 'told'}, {folder / 'asked'}"


@pytest.fixture
def recipe(start: Path, sets: str) -> SpeakRecipe:
    schedule = Schedule(epochs=2, batch_size=8, lr=1e-2, precision="fp32", log_steps=1)
    return SpeakRecipe(
        name="speaking",
        start=str(start),
        data=sets,
        train_split="train",
        validation_split="validation",
        test_split="test",
        image_size=32,
        patch_size=8,
        text_size=32,
        n_text_layers=1,
        n_text_heads=2,
        n_questions=1,
        dropout=0.0,
        captions=schedule,
        questions=schedule,
    )


@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("kind", [Dinov2Model, Dinov2ForImageClassification])
def test_a_converted_tower_makes_the_same_tokens_before_and_behind_each_block(
    kind: Any, qkv_bias: bool
) -> None:
    model = moved(kind(dinov2(qkv_bias=qkv_bias, layer_norm_eps=1e-3)))
    tower = converted(model)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for k in range(n_blocks(model) + 1):
            one, other = split(tower, k).head(x), split(model, k).head(x)
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
        wanted = vision_tower(model)(x).last_hidden_state
        torch.testing.assert_close(tower(x).last_hidden_state, wanted, rtol=0, atol=1e-5)


def test_what_blip_cannot_be_is_not_converted() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    make: Any = ViTConfig
    with pytest.raises(ValueError, match="not one of type vit"):
        converted(ViTModel(make(**sizes, intermediate_size=64, image_size=32, patch_size=8)))
    with pytest.raises(ValueError, match="gated perceptrons"):
        converted(Dinov2Model(dinov2(use_swiglu_ffn=True)))


def test_pictures_of_several_sets_have_the_words_of_their_own(sets: str) -> None:
    data = TextImages(open_source(sets, "train"), Preprocess(32))
    assert len(data) == 32
    assert data.words[1] == (("all is blue", "a blue wall"), ())
    assert data.words[17] == ((), (("what colour?", "blue"),))
    assert (data[1][0] == data[17][0]).all()
    tokenizer = make_tokenizer(data)
    models = {"max_position_embeddings": 16, "bos_token_id": tokenizer.bos_token_id}
    config = type("Config", (), models)
    keys = torch.arange(4)
    said, asked = texts_of(tokenizer, config, data, torch.tensor([17, 2, 30, 5]), keys, 2)
    assert said.place.tolist() == [1, 3]
    assert asked.place.tolist() == [0, 0, 2, 2]
    (only,) = texts_of(tokenizer, config, data, torch.tensor([20, 21]), keys[:2], 2)
    assert only.task == QUESTIONS


def test_a_rare_word_is_read_and_never_written(sets: str) -> None:
    data = TextImages(open_source(sets, "train"), Preprocess(32))
    tokenizer = make_tokenizer(data, least_count=33)  # but "is", "a", "all" and "wall": 16 each
    assert tokenizer.tokenize("all is red") == ["[UNK]"] * 3
    tokenizer = make_tokenizer(data, least_count=16)
    assert tokenizer.tokenize("all is red") == ["all", "is", "red"]
    data.words[0] = data.words[0]._replace(captions=("all is mauve",))
    config = type("Config", (), {"max_position_embeddings": 16, "bos_token_id": 0})
    (said,) = texts_of(tokenizer, config, data, torch.tensor([0]), torch.tensor([0]), 1)
    assert said.words.tolist() == [[True, True, False, True]]
    assert said.mask.all()


@pytest.mark.long
def test_a_run_leaves_a_captioner_and_an_answerer_with_the_starts_tower(
    recipe: SpeakRecipe, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = run(recipe, tmp_path / "run")
    assert list(scores) == ["BLEU-4 of 16 captions", "16 questions answered right"]
    said = capsys.readouterr().out
    assert "epoch 1.00: BLEU-4" in said
    assert "epoch 2.00: answers right" in said
    final = tmp_path / "run" / "final"
    tower = open_tower(str(start), 32, 8).state_dict()
    for kind, task in (
        (BlipForConditionalGeneration, CAPTIONS),
        (BlipForQuestionAnswering, QUESTIONS),
    ):
        model: Any = kind.from_pretrained(final / task, dtype=torch.float32)
        for name, weight in vision_tower(model).state_dict().items():
            torch.testing.assert_close(weight, tower[name], rtol=1e-3, atol=1e-3)
        found = Preprocess.from_processor(final / task)
        assert (found.size, found.resize, found.mean) == (32, None, (0.4, 0.5, 0.6))
        card = (final / task / "README.md").read_text()
        assert f"its vision tower from `{start.name}` and frozen" in card
        assert all(f"| {name} | {score:.2f} |" in card for name, score in scores.items())
        assert "data: told, asked" in card
        assert "from scratch" not in card
    assert len(list((tmp_path / "frozen-tokens").glob("*/*.npy"))) == 1, "pictures are the same"


def test_a_step_pays_for_the_text_parts_alone(
    recipe: SpeakRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = TextImages(open_source(recipe.data, "train"), Preprocess(32))
    tokenizer = make_tokenizer(data)
    model = build_blip(recipe, tokenizer, (CAPTIONS,), open_tower(recipe.start, 32, 8))[CAPTIONS]
    vision_tower(model).requires_grad_(False)
    seen = FrozenTower(model, data, Preprocess(32), tmp_path)
    task = SpeakTask(CAPTIONS, model, tokenizer, seen, seen, recipe)
    pixels = torch.stack([data[i][0] for i in range(4)])
    first = task(pixels, torch.arange(4), torch.arange(4))["loss"]
    first.backward()
    assert all(p.grad is None for p in vision_tower(model).parameters())
    known = FrozenTower(model, data, Preprocess(32), tmp_path)
    monkeypatch.setattr(known._tokens, "compute", None)  # it would be called
    task = SpeakTask(CAPTIONS, model, tokenizer, known, known, recipe)
    assert task(pixels, torch.arange(4), torch.arange(4))["loss"] == first
    shown = FrozenTower(model, data, Preprocess(32), None)(pixels, torch.arange(4))
    torch.testing.assert_close(known(pixels, torch.arange(4)), shown, rtol=1e-2, atol=1e-2)


def test_an_answerer_starts_from_what_a_captioner_knows_of_words(recipe: SpeakRecipe) -> None:
    data = TextImages(open_source(recipe.data, "train"), Preprocess(32))
    models = build_blip(
        recipe, make_tokenizer(data), (CAPTIONS, QUESTIONS), converted(Dinov2Model(dinov2()))
    )
    captioner, answerer = moved(models[CAPTIONS]), models[QUESTIONS].eval()
    start_answerer(answerer, captioner)
    seen, word = torch.randn(3, 17, 32), torch.tensor([[5], [6], [7]])
    with torch.no_grad():
        read = question_states(answerer, seen, word, None)  # a word alone sees what it writes
        written = word_states(captioner, seen, None, word, torch.ones_like(word))
        torch.testing.assert_close(read, written)
        again = word_states(answerer, seen, None, word, torch.ones_like(word))
        torch.testing.assert_close(word_logits(answerer, again), word_logits(captioner, written))


def test_a_share_of_the_patches_is_drawn_by_the_key() -> None:
    tokens = torch.arange(17.0).expand(3, 17)[:, :, None]
    some = some_tokens(tokens, torch.tensor([1, 2, 1]), 0.5)[:, :, 0]
    assert some.shape == (3, 9)
    assert (some[:, 0] == 0).all()
    assert all(len(set(row)) == 9 for row in some.tolist())
    assert some[0].tolist() == some[2].tolist() != some[1].tolist()
    assert some_tokens(tokens, torch.tensor([1, 2, 1]), 1.0) is tokens


def test_a_recipe_with_a_start_speaks_behind_it(recipe: SpeakRecipe, tmp_path: Path) -> None:
    assert isinstance(read_recipe(kind_of, "blip-small-photos-backbone"), SpeakRecipe)
    told = recipe.data.partition(",")[0]
    with pytest.raises(ValueError, match="no words for visual-question-answering"):
        run(replace(recipe, data=told), tmp_path)
    with pytest.raises(ValueError, match="neither a section captions nor a section questions"):
        replace(recipe, captions=None, questions=None)
    with pytest.raises(ValueError, match="for questions text_size is that of the vision tower, 32"):
        run(replace(recipe, text_size=64), tmp_path)
    with pytest.raises(ValueError, match="token_share"):
        replace(recipe, token_share=0.0)


def test_a_codec_is_held_against_the_words_that_each_picture_has(
    make_recipe: Callable[..., CodecRecipe], tiny_blips: Path, sets: str, tmp_path: Path
) -> None:
    both = f"{CAPTIONS}, {QUESTIONS}"
    recipe = make_recipe(sets, backbone=str(tiny_blips), task=both, n_questions=2)
    uncut, preprocess = load_models(recipe), Preprocess(32)
    objective = open_objective(recipe, uncut, preprocess, "train", tmp_path)
    data = objective.data
    labels = torch.tensor([3, 20, 31])
    x = torch.randn(3, 3, 32, 32)
    said = objective.said(uncut, x, labels)
    assert {task: len(texts) for task, texts in said.items()} == {CAPTIONS: 1, QUESTIONS: 2}
    truth = objective.truth(labels.tolist())
    assert truth == {CAPTIONS: [data.words[3].captions], QUESTIONS: ["red", "blue"]}
    target = objective.target(x, labels, labels)
    with torch.no_grad():
        loss = objective.loss(uncut, x + 1, target)
        alone = [
            objective.loss(uncut, x[i : i + 1] + 1, objective.target(x[i : i + 1], label, label))
            for i, label in enumerate(labels.split(1))
        ]
    assert (loss > 0).all()
    torch.testing.assert_close(loss, torch.cat(alone), rtol=1e-3, atol=1e-3)
    assert list((tmp_path / "uncut-states").glob("*/*.npy")), "what the tower sees is remembered"
    more = replace(recipe, match_on=(f"{sets.partition(',')[0]}:test",))
    assert len(open_match_data(more, preprocess, data)) == 32 + 16


@pytest.mark.long
def test_a_codec_is_trained_and_calibrated_on_several_sets(
    make_recipe: Callable[..., CodecRecipe], tiny_blips: Path, sets: str, tmp_path: Path
) -> None:
    splits = {"train_split": "train", "validation_split": "validation", "calibration_split": "test"}
    recipe = make_recipe(
        sets, backbone=str(tiny_blips), task=f"{CAPTIONS}, {QUESTIONS}", n_questions=1, **splits
    )
    codec = train_codec(recipe, tmp_path / "run")
    assert [row.n_images for row in codec.config.calibration] == [32, 32]
    assert all(0 <= row.agreement <= 100 for row in codec.config.calibration)
    assert "data: told, asked" in (tmp_path / "run" / "final" / "README.md").read_text()


@pytest.mark.long
def test_a_codecs_tails_are_trained_without_dropout(
    make_recipe: Callable[..., CodecRecipe], tiny_blips: Path, sets: str
) -> None:
    both = f"{CAPTIONS}, {QUESTIONS}"
    splits = {"train_split": "train", "validation_split": "test", "calibration_split": "test"}
    task = prepare(make_recipe(sets, backbone=str(tiny_blips), task=both, **splits), None).task
    task.eval()
    task.train()
    assert task.codec.encoder.training
    assert not any(m.training for tail in task.codec.tails.values() for m in tail.modules())
