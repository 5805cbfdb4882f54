"""What a codec for captions and answers is held against: the uncut model's words, one by one, and
its texts in the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import BertTokenizer, BlipConfig, BlipImageProcessorPil, BlipProcessor

from codec import FeatureCodec
from codec.coding.container import HEADER_BYTES
from codec.model.split_text import decoder_logits
from codec.pipeline import Server
from codec.tasks import CAPTIONS, QUESTIONS
from tests.tiny_blip import BOTH, MODELS, VOCABULARY
from training.codecs.building import load_models
from training.codecs.objective import agreement, scores
from training.codecs.opening import open_objective
from training.codecs.recipe import CodecRecipe
from training.codecs.word_objective import WordObjective
from training.data.images import batches, normalise
from training.engine.checkpoints import last_whole_checkpoint
from training.engine.recipe import read_recipe
from training.train import run

pytestmark = pytest.mark.usefixtures("uncompiled")


@pytest.fixture
def recipe(make_recipe: Callable[..., CodecRecipe], tiny_blips: Path) -> CodecRecipe:
    splits = {
        "train_split": "train[:40]",
        "validation_split": "validation[:4]",
        "calibration_split": "validation[4:8]",
    }
    return make_recipe("scenes", backbone=str(tiny_blips), task=BOTH, n_questions=3, **splits)


def objective_of(
    recipe: CodecRecipe, codec: FeatureCodec, split: str = "train[:6]"
) -> WordObjective:
    objective = open_objective(recipe, load_models(recipe), codec.config.preprocess, split)
    assert isinstance(objective, WordObjective)
    return objective


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_the_loss_is_the_divergence_of_each_word_alone(
    recipe: CodecRecipe, tiny_blip_codec: FeatureCodec, share: float
) -> None:
    codec, objective = (
        tiny_blip_codec,
        objective_of(replace(recipe, label_weight=share), tiny_blip_codec),
    )
    indices, keys = torch.tensor([4, 1, 2]), torch.tensor([7, 8, 9])
    x = normalise(next(batches(objective.data))[0][indices], codec.config.preprocess)
    tokens = torch.randn(3, 17, 32)
    said, asked = objective.data.some(indices, keys, 3)
    read = objective.tokenizer
    expected = torch.zeros(3)
    with torch.no_grad():
        got = objective.loss(codec.tails, tokens, objective.target(x, indices, keys))
        for i, (question, text) in [(i, (None, text)) for i, text in enumerate(said)] + [
            (i // 3, pair) for i, pair in enumerate(asked)
        ]:
            ids = read(text, return_tensors="pt").input_ids[:, :32]
            ids[0, -1] = read.sep_token_id
            ids[:, 0] = read.bos_token_id
            words: dict[str, Any] = {"input_ids": ids}
            if question is not None:
                words = {
                    "input_ids": read(question, return_tensors="pt").input_ids,
                    "decoder_input_ids": ids,
                }
            task = CAPTIONS if question is None else QUESTIONS
            own, wanted = (
                decoder_logits(model, inputs, **words)[0, :-1].log_softmax(-1)
                for model, inputs in (
                    (codec.tails[task], tokens[i : i + 1]),
                    (objective.uncut[task], x[i : i + 1]),
                )
            )
            target = (1 - share) * wanted.exp() + share * nn.functional.one_hot(
                ids[0, 1:], wanted.shape[-1]
            )
            each = (torch.xlogy(target, target) - target * own).sum(-1)
            each = each[ids[0, 1:] != read.unk_token_id].mean()  # nobody is to write [UNK]
            expected[i] += each if question is None else each / 3
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_what_is_said_is_what_the_server_says(
    recipe: CodecRecipe, tiny_blip_codec: FeatureCodec
) -> None:
    codec, objective = tiny_blip_codec, objective_of(recipe, tiny_blip_codec)
    blobs = codec.encode(normalise(next(batches(objective.data))[0], codec.config.preprocess))
    said = objective.said(codec.tails, codec.decode(blobs), torch.arange(6))
    server = Server(codec)
    assert set(said) == {CAPTIONS, QUESTIONS}
    assert said[CAPTIONS] == [server.caption(blob) for blob in blobs]
    assert said[QUESTIONS] == [
        answer
        for blob, words in zip(blobs, objective.data.words, strict=True)
        for answer in server.answer(blob, [question for question, _ in words.questions])
    ]


def test_scores_are_the_judges_bleu_and_vqa_accuracy(
    recipe: CodecRecipe, tiny_blip_codec: FeatureCodec
) -> None:
    objective = objective_of(recipe, tiny_blip_codec)
    truth = objective.truth()
    answers = truth[QUESTIONS]
    said = {CAPTIONS: [f"{texts[2]}." for texts in truth[CAPTIONS]], QUESTIONS: answers}
    assert scores(said, truth) == pytest.approx({CAPTIONS: 100, QUESTIONS: 100})
    half = said | {QUESTIONS: [*answers[: len(answers) // 2], *["never"] * (len(answers) // 2)]}
    assert scores(half, truth)[QUESTIONS] == 50
    strange = said | {CAPTIONS: ["a b c d e"] * 6}
    assert scores(strange, truth)[CAPTIONS] == 0, "BLEU is not smoothed"
    number = {QUESTIONS: ["Two", "a red", "no"]}
    assert scores(number, {QUESTIONS: ["2", "red", "yes"]})[QUESTIONS] == pytest.approx(200 / 3)
    assert (
        agreement(
            number | {CAPTIONS: ["A cube."]}, {QUESTIONS: ["2", "red", "yes"], CAPTIONS: ["a cube"]}
        )
        == 75
    )


def test_data_without_the_words_of_a_task_is_refused(
    recipe: CodecRecipe, labelled: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="has neither captions nor questions and answers"):
        run(replace(recipe, data=str(labelled), train_split="train"), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("tasks", [BOTH, QUESTIONS])
def test_training_ends_in_a_codec_that_captions_and_answers(
    recipe: CodecRecipe, tiny_blips: Path, tasks: str, tmp_path: Path
) -> None:
    changes = {} if tasks == BOTH else {"task": tasks, "backbone": str(tiny_blips / tasks)}
    run(replace(recipe, **changes), tmp_path)
    last = last_whole_checkpoint(tmp_path / "answer")
    assert last
    history = [
        row["loss"]
        for row in json.loads((Path(last) / "trainer_state.json").read_text())["log_history"]
        if "loss" in row
    ]
    assert np.mean(history[-3:]) < np.mean(history[:3])
    codec = FeatureCodec.from_pretrained(tmp_path / "final")
    assert codec.config.task == tasks
    objective = objective_of(replace(recipe, **changes), codec, recipe.calibration_split)
    x = normalise(next(batches(objective.data))[0], codec.config.preprocess)
    blobs = codec.encode(x, 1)
    row = codec.config.calibration[1]
    assert (row.n_images, row.bytes_mean) == (4, sum(map(len, blobs)) / 4)
    uncut, own = (
        objective.said(*of, torch.arange(4))
        for of in ((objective.uncut, x), (codec.tails, codec.decode(blobs)))
    )
    best, found = (scores(said, objective.truth()) for said in (uncut, own))
    drops = [best[task] - found[task] for task in codec.config.tasks]
    assert row.drop == pytest.approx(max(drops), abs=1e-3), "of the task that loses most"
    assert row.agreement == pytest.approx(agreement(own, uncut), abs=1e-3)
    for bits, blob in zip(codec.prior.bits(codec.symbols(x, 1), 1), blobs, strict=True):
        assert len(blob) - HEADER_BYTES <= 1.01 * bits / 8 + 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "task"), [("blip-base-captions-codec", CAPTIONS), ("blip-base-vqa-codec", QUESTIONS)]
)
def test_the_recipes_for_published_models_train_from_folders(
    name: str, task: str, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    special = {
        "bos_token_id": VOCABULARY["[DEC]"],
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    text = (
        sizes
        | special
        | {"num_hidden_layers": 1, "vocab_size": len(VOCABULARY), "max_position_embeddings": 32}
    )
    torch.manual_seed(0)
    vision = sizes | {"num_hidden_layers": 6, "image_size": 384, "patch_size": 16}
    MODELS[task](BlipConfig(text_config=text, vision_config=vision)).save_pretrained(
        tmp_path / "model"
    )
    # as the published ones: no [DEC]
    words = BertTokenizer(vocab={word: i for word, i in VOCABULARY.items() if word != "[DEC]"})
    BlipProcessor(BlipImageProcessorPil(size={"height": 384, "width": 384}), words).save_pretrained(
        tmp_path / "model"
    )
    rows: dict[str, list[Any]] = {
        "image": [Image.new("RGB", (200 + i, 260), (40 * i, 9, 9)) for i in range(6)]
    }
    if task == CAPTIONS:
        rows["caption"] = [["a red ring is left of a cube", "the small cube"]] * 6
    else:
        rows |= {
            "question": ["what colour is the cube ?"] * 6,
            "multiple_choice_answer": ["red"] * 6,
        }
    data = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    data.to_parquet(str(tmp_path / "pictures" / "train.parquet"))
    overrides = [
        f"backbone={tmp_path / 'model'}",
        f"data={tmp_path / 'pictures'}",
        "train_split=train[:4]",
        "prior_steps=2",
    ]
    overrides += ["validation_split=train[4:5]", "calibration_split=train[5:]"]
    for stage in ("match", "answer"):
        overrides += [
            f"{stage}.epochs=1",
            f"{stage}.batch_size=4",
            f"{stage}.num_workers=0",
            f"{stage}.log_steps=1",
        ]
    rates = "rate_weights=[1e-3, 1e-5]"
    codec = run(read_recipe(CodecRecipe, name, [*overrides, rates]), tmp_path / "out")
    blob = codec.encode(torch.randn(1, 3, 384, 384))[0]
    server = Server(FeatureCodec.from_pretrained(tmp_path / "out" / "final"))
    said = (
        server.caption(blob)
        if task == CAPTIONS
        else server.answer(blob, "what colour is the ring ?")
    )
    assert isinstance(said, str)
