"""Small BLIP models from scratch: which words a step uses, what is learned of them, and what a run
leaves behind.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, BlipForConditionalGeneration, BlipForQuestionAnswering

from codec.device.preprocess import Preprocess
from codec.model.checkpoint import read_manifest
from codec.model.split_text import decoder_logits
from codec.tasks import CAPTIONS, QUESTIONS
from training.backbones.blip import BlipRecipe, build_blip, make_tokenizer
from training.backbones.blip_task import BlipTask, answer_accuracy
from training.backbones.see import NameTask
from training.backbones.shared_tower import INDEX, REST, TOWER
from training.blip import run
from training.data.images import batches
from training.data.texts import RowSource, TextImages, Words, open_source
from training.engine.checkpoints import last_whole_checkpoint
from training.engine.schedule import Schedule
from training.engine.words import TextBatch, next_word
from training.scenes.dataset import main
from training.scenes.layout import KINDS, Scene, Thing
from training.scenes.marks import named, thing_marks

pytestmark = pytest.mark.usefixtures("uncompiled")


def recipe(**changes: Any) -> BlipRecipe:
    values: dict[str, Any] = {
        "name": "small",
        "data": "scenes",
        "train_split": "train[:12]",
        "test_split": "test[:4]",
        "image_size": 96,
        "patch_size": 32,
        "hidden_size": 32,
        "n_layers": 2,
        "n_heads": 2,
        "text_size": 32,
        "n_text_layers": 1,
        "n_text_heads": 2,
        "n_questions": 3,
        "schedule": Schedule(epochs=1, batch_size=4, precision="fp32", log_steps=1),
    }
    return BlipRecipe(**(values | changes))


@pytest.fixture(scope="module")
def data() -> TextImages:
    return TextImages(open_source("scenes", "train[:12]"), Preprocess(96))


@pytest.fixture
def asked_folder(tmp_path: Path) -> Path:
    """Two colours, asked for and told."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "questions": [datasets.Value("string")],
            "answers": [datasets.Value("string")],
        }
    )
    rows: dict[str, list[Any]] = {"image": [], "questions": [], "answers": []}
    for i in range(16):
        colour = ("red", "blue")[i % 2]
        rows["image"].append(Image.new("RGB", (32, 32), colour))
        rows["questions"].append(["what colour is it?", "is it red?"])
        rows["answers"].append([colour, "yes" if colour == "red" else "no"])
    for split in ("train", "test"):
        datasets.Dataset.from_dict(rows, features=features).to_parquet(
            str(tmp_path / "data" / f"{split}.parquet")
        )
    return tmp_path / "data"


def test_a_step_uses_a_caption_and_some_questions_of_each_picture_by_its_key(
    data: TextImages,
) -> None:
    indices, keys = torch.tensor([0, 5, 5]), torch.tensor([1, 2, 3])
    said, asked = data.some(indices, keys, n_questions=4)
    assert [
        caption in data.words[i].captions for i, caption in zip(indices.tolist(), said, strict=True)
    ] == [True] * 3
    assert len(asked) == 12
    for place, pair in enumerate(asked):
        assert pair in data.words[indices[place // 4]].questions
    assert len(set(asked[4:8])) == 4, "no question twice"
    assert asked[4:8] != asked[8:], "another key, other questions"
    assert data.some(indices, keys, 4) == (said, asked)


def test_losses_are_those_of_the_whole_models_on_each_text_alone(data: TextImages) -> None:
    torch.manual_seed(0)
    tokenizer, preprocess = make_tokenizer(data), Preprocess(96)
    models = build_blip(recipe(), tokenizer, (CAPTIONS, QUESTIONS))
    task = BlipTask(models, tokenizer, data, preprocess, recipe()).eval()
    labels, keys = torch.arange(4), torch.arange(4)
    with torch.no_grad():
        pixels, _ = next(batches(data, 4))
        got = task(pixels, labels, keys)
        said, asked = data.some(labels, keys, 3)
        totals, words = (
            {"caption_loss": 0.0, "answer_loss": 0.0},
            {"caption_loss": 0, "answer_loss": 0},
        )
        texts = [(i, None, caption) for i, caption in enumerate(said)] + [
            (i // 3, *pair) for i, pair in enumerate(asked)
        ]
        for i, question, text in texts:
            x = torch.from_numpy(preprocess([pixels[i].permute(1, 2, 0).numpy()]))
            ids = tokenizer(text, return_tensors="pt").input_ids
            ids[:, 0] = tokenizer.bos_token_id
            if question is None:
                logits = decoder_logits(models[CAPTIONS], x, input_ids=ids)
            else:
                logits = decoder_logits(
                    models[QUESTIONS],
                    x,
                    input_ids=tokenizer(question, return_tensors="pt").input_ids,
                    decoder_input_ids=ids,
                )
            loss, _ = next_word(
                logits[:, :-1],
                TextBatch(
                    CAPTIONS,
                    torch.zeros(1, dtype=torch.long),
                    None,
                    None,
                    ids,
                    torch.ones_like(ids),
                ),
            )
            name = "caption_loss" if question is None else "answer_loss"
            totals[name] += float(loss)
            words[name] += ids.shape[1] - 1
    for name, total in totals.items():
        assert float(got[name]) == pytest.approx(total / words[name], rel=1e-4)
    assert float(got["loss"]) == pytest.approx(
        float(got["caption_loss"] + got["answer_loss"]), rel=1e-5
    )


@pytest.mark.long
def test_a_run_leaves_a_captioner_and_an_answerer_with_one_tower(tmp_path: Path) -> None:
    scores = run(recipe(), tmp_path)
    assert 0 <= scores["questions answered right"] <= 100
    final = tmp_path / "final"
    captioner = BlipForConditionalGeneration.from_pretrained(final / CAPTIONS)
    answerer = BlipForQuestionAnswering.from_pretrained(final / QUESTIONS)
    for name, weight in captioner.vision_model.state_dict().items():
        assert torch.equal(weight, answerer.vision_model.state_dict()[name]), name
    assert (final / QUESTIONS / TOWER).resolve() == (final / CAPTIONS / TOWER).resolve()
    for task in (CAPTIONS, QUESTIONS):
        manifest = read_manifest(final / task)
        assert manifest is not None
        assert {TOWER, REST, INDEX} <= manifest.sums.keys()
        assert not (final / task / "model.safetensors").exists()
    processor = AutoProcessor.from_pretrained(final / QUESTIONS)
    inputs = processor(
        Image.new("RGB", (96, 96)), "how many red things are there?", return_tensors="pt"
    )
    assert tuple(inputs["pixel_values"].shape) == (1, 3, 96, 96)
    assert processor.tokenizer.unk_token_id not in inputs["input_ids"][0].tolist()
    card = (final / QUESTIONS / "README.md").read_text()
    assert f"| questions answered right | {scores['questions answered right']:.2f} |" in card
    assert str(tmp_path) not in card


@pytest.mark.long
def test_questions_alone_are_learned_from_a_folder(asked_folder: Path, tmp_path: Path) -> None:
    schedule = Schedule(epochs=80, batch_size=16, lr=1e-2, precision="fp32", log_steps=10)
    changes = {
        "data": str(asked_folder),
        "train_split": "train",
        "test_split": "test",
        "image_size": 32,
        "patch_size": 16,
    }
    scores = run(recipe(**changes, n_questions=2, schedule=schedule), tmp_path / "out")
    assert scores["questions answered right"] == 100
    assert (
        BlipForQuestionAnswering.from_pretrained(
            tmp_path / "out" / "final"
        ).config.vision_config.image_size
        == 32
    )


def test_answers_are_compared_word_for_word(data: TextImages) -> None:
    tokenizer = make_tokenizer(data)
    model = build_blip(recipe(), tokenizer, (QUESTIONS,))[QUESTIONS].eval()
    with torch.no_grad():
        model.text_decoder.cls.predictions.bias[tokenizer.convert_tokens_to_ids("yes")] = 100
    pairs = [pair for words in data.words for pair in words.questions]
    assert answer_accuracy(model, tokenizer, data, Preprocess(96)) == 0, (
        "yes yes yes ... is not yes"
    )
    assert 0 < sum(answer == "yes" for _, answer in pairs) < len(pairs)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"text": ["a"]}, "has neither captions nor questions and answers"),
        ({"questions": [["a?"]], "answers": [[]]}, "picture 0 .* 1 questions and 0"),
    ],
)
def test_data_without_words_is_refused(
    columns: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    features = {"image": datasets.Image()} | {
        name: datasets.Value("string") if name == "text" else [datasets.Value("string")]
        for name in columns
    }
    rows = {"image": [Image.new("RGB", (8, 8))]} | columns
    datasets.Dataset.from_dict(rows, features=datasets.Features(features)).to_parquet(
        str(tmp_path / "data" / "train.parquet")
    )
    with pytest.raises(ValueError, match=reason):
        RowSource(str(tmp_path / "data"), "train")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"caption": [["a", "b"]]}, Words(("a", "b"), ())),
        ({"sentences": ["a"], "answer": ["alone"]}, Words(("a",), ())),
        (
            {
                "question": ["why?"],
                "multiple_choice_answer": ["so"],
                "answers": [["no", "so", "so"]],
            },
            Words((), (("why?", "so"),)),
        ),
    ],
)
def test_columns_are_found_by_the_names_that_data_sets_use(
    columns: dict[str, Any], words: Words, tmp_path: Path
) -> None:
    datasets.Dataset.from_dict({"image": [Image.new("RGB", (8, 8))]} | columns).cast_column(
        "image", datasets.Image()
    ).to_parquet(str(tmp_path / "data" / "train.parquet"))
    assert RowSource(str(tmp_path / "data"), "train").words(0) == words


def test_a_split_of_scenes_says_which() -> None:
    for split in ("train", "train[5:5]", "train[-3:]"):
        with pytest.raises(ValueError, match=r"not of the form train\[:20000\]|holds none"):
            open_source("scenes", split)
    assert len(open_source("scenes", "test[:7]", limit=5)) == 5
    later, first = open_source("scenes", "test[3:7]"), open_source("scenes", "test[:7]")
    assert len(later) == 4
    assert later.words(1) == first.words(4)


def test_scenes_in_a_file_are_the_scenes_that_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--split", "test", "--n", "3", "--out", str(tmp_path / "test.parquet")]) == 0
    read, drawn = open_source(str(tmp_path), "test"), open_source("scenes", "test[:3]")
    assert len(read) == 3
    for i in range(3):
        assert read.words(i) == drawn.words(i)
        assert np.array_equal(np.asarray(read.picture(i)), drawn.picture(i))
    assert main(["--n", "2", "--out", str(tmp_path / "none" / "test.parquet")]) == 2
    assert "error" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["test.parquet"]


def test_each_patch_says_what_has_its_centre_there() -> None:
    data = TextImages(open_source("scenes", "train[:4]"), Preprocess(96), marks_side=6)
    assert data.marks is not None
    values = [value for kind in KINDS.values() for value in kind]
    for i in range(4):
        things = data.source.scene(i).things  # type: ignore[attr-defined]
        assert data.marks[i, :, 0].sum() == len(
            {(thing.x // 16, thing.y // 16) for thing in things}
        )
        for thing in things:
            here = data.marks[i, thing.y // 16 * 6 + thing.x // 16, 1:]
            looks, place = here[: len(values)], here[len(values) :]
            assert {thing.shape, thing.colour, thing.size, thing.texture} <= {
                v for v, on in zip(values, looks, strict=True) if on
            }
            if looks.sum() == 4:  # one thing alone has its centre here
                assert (int(place[:11].sum()), int(place[11:].sum())) == (
                    thing.x // 8,
                    thing.y // 8,
                )


def test_names_are_found_where_they_fit_one_thing_only() -> None:
    look = {"texture": "plain", "y": 40, "radius": 8, "turn": 0}
    ball, cross, blue = (
        Thing(shape=shape, colour=colour, size=size, x=x, **look)  # type: ignore[arg-type]
        for shape, colour, size, x in (
            ("ball", "red", "small", 20),
            ("cross", "black", "large", 50),
            ("ball", "blue", "large", 80),
        )
    )
    scene = Scene(0, (ball, cross, blue))
    assert named(
        ["is", "the", "red", "ball", "left", "or", "right", "of", "the", "cross", "?"], scene
    ) == [(3, ball), (9, cross)]
    assert named(["is", "the", "ball", "larger", "than", "the", "blue", "thing", "?"], scene) == [
        (7, blue)
    ], "there are two balls"
    assert named(["are", "there", "more", "crosses", "than", "balls", "?"], scene) == []
    assert named(["do", "you", "see", "a", "blue", "ball", "?"], scene) == [], "there may be none"
    assert named(["what", "shape", "is", "the", "small"], scene) == [(4, ball)]


def test_a_noun_is_held_against_the_marks_of_what_it_names(data: TextImages) -> None:
    tokenizer = make_tokenizer(data)
    task = NameTask(8, data, tokenizer)
    labels = torch.tensor([3])
    scene = data.source.scene(3)  # type: ignore[attr-defined]
    question, [(word, thing)] = next(
        (text, found)
        for text, _ in data.words[3].questions
        if len(found := named(text.replace("?", " ?").split(), scene)) == 1
    )
    ids = torch.tensor([tokenizer(question).input_ids])
    texts = TextBatch(
        QUESTIONS, torch.tensor([0]), ids, torch.ones_like(ids), ids, torch.ones_like(ids)
    )
    states = torch.zeros(1, ids.shape[1], 8)
    states[0, 1 + word, 0] = 1  # the noun's, behind [CLS], and no other one's
    with torch.no_grad():
        task.marks.weight.zero_()
        task.marks.bias.zero_()
        for sign in (1, -1):
            task.marks.weight[:, 0] = sign * (40.0 * thing_marks(thing) - 20.0)
            loss, n_nouns = task(states, texts, labels)
            assert n_nouns == 1
            assert (float(loss) < 1e-3) == (sign == 1)


@pytest.mark.long
def test_a_tower_learns_to_see_before_its_models_learn_to_speak(tmp_path: Path) -> None:
    see = Schedule(epochs=12, batch_size=4, lr=3e-3, precision="fp32", log_steps=1)
    run(recipe(see=see), tmp_path)
    last = last_whole_checkpoint(tmp_path / "see")
    assert last
    history = [
        row["loss"]
        for row in json.loads((Path(last) / "trainer_state.json").read_text())["log_history"]
        if "loss" in row
    ]
    assert history[-1] < 0.8 * history[0]
    captioner = BlipForConditionalGeneration.from_pretrained(tmp_path / "final" / CAPTIONS)
    assert not any("marks" in name for name in captioner.state_dict())


def test_only_scenes_can_be_seen_so(asked_folder: Path, tmp_path: Path) -> None:
    changes = {
        "data": str(asked_folder),
        "train_split": "train",
        "test_split": "test",
        "image_size": 32,
        "patch_size": 16,
    }
    with pytest.raises(ValueError, match="only scenes tell what thing is where"):
        run(recipe(**changes, see=Schedule(epochs=1)), tmp_path / "out")


def test_a_large_data_set_is_read_as_needed(
    data: TextImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.texts.IN_MEMORY_BYTES", 0)
    lazy = TextImages(open_source("scenes", "train[:12]"), Preprocess(96))
    assert all(torch.equal(lazy[i][0], data[i][0]) for i in range(12))
