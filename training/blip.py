"""python -m training.blip RECIPE: trains small BLIP models, a captioner and a question answerer
with one vision tower.

Standard classes of transformers with a vocabulary of whole words, each in a folder of its own that
loads by itself. Where the data has no captions there is a question answerer alone. A recipe with
`start` names a pretrained DINOv2: its weights become the tower, which stays as it is, and the text
parts learn to speak of what it sees. A recipe without it trains all from scratch.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch

from codec.device.preprocess import Preprocess
from codec.model.split_tower import vision_tower
from codec.tasks import CAPTIONS, QUESTIONS
from training.backbones.blip import (
    BlipRecipe,
    SpeakRecipe,
    build_blip,
    make_tokenizer,
    start_answerer,
)
from training.backbones.blip_task import BlipTask, answer_accuracy
from training.backbones.cards import write_blip
from training.backbones.see import SeeTask
from training.backbones.speak_task import FrozenTower, SpeakTask, spoken_score
from training.backbones.tuned import open_tower, start_preprocess
from training.data.images import SomeImages
from training.data.texts import TextImages, open_source
from training.engine.card import shown_name
from training.engine.command import run_command
from training.engine.compiling import compile_networks
from training.engine.loop import is_first_process, train
from training.engine.words import truth_of

FOLDERS = {CAPTIONS: "captions", QUESTIONS: "questions"}
"""Where a model's training is kept, in the folder of the run."""


def run(recipe: BlipRecipe | SpeakRecipe, out: Path) -> dict[str, float]:
    """Train by the recipe into `out`, resuming where a run was stopped; returns the scores on the
    test split.
    """
    return speak(recipe, out) if isinstance(recipe, SpeakRecipe) else train_small(recipe, out)


def speak(recipe: SpeakRecipe, out: Path) -> dict[str, float]:
    """Train text parts behind a pretrained tower, one model after the other: the question answerer
    starts from the captioner.

    Raises:
        ValueError: the data has no words for one of the models; or as `open_tower`.
    """
    preprocess = start_preprocess(recipe.start, recipe.image_size)
    preprocess = dataclasses.replace(preprocess, resize=None)  # BLIP's processor crops nothing
    data, validation, test = (
        TextImages(open_source(recipe.data, split, recipe.limit), preprocess, recipe.schedule.seed)
        for split in (recipe.train_split, recipe.validation_split, recipe.test_split)
    )
    for task in recipe.schedules:
        for images in (data, validation, test):
            if not any(words.of(task) for words in images.words):
                raise ValueError(f"a split of {recipe.data!r} has no words for {task}")
    tokenizer = make_tokenizer(data, recipe.least_count)
    torch.manual_seed(recipe.schedule.seed)
    tower = open_tower(recipe.start, preprocess.size, recipe.patch_size)
    models = build_blip(recipe, tokenizer, tuple(recipe.schedules), tower)
    shared = vision_tower(next(iter(models.values()))).requires_grad_(False)
    seen, held_out = (
        FrozenTower(shared, images, preprocess, out.parent / "frozen-tokens")
        for images in (data, validation)
    )
    scores = {}
    for task, model in models.items():
        if task == QUESTIONS and CAPTIONS in models:
            start_answerer(model, models[CAPTIONS])
        module = SpeakTask(task, model, tokenizer, seen, held_out, recipe)
        some = SomeImages(data, [i for i, words in enumerate(data.words) if words.of(task)])
        schedule, place = recipe.schedules[task], out / FOLDERS[task]
        train(module, some, schedule, place, validate=module.validate)
        model.to("cpu").eval()
        n = len(truth_of(task, test.words))
        name = (
            f"BLEU-4 of {n:,} captions" if task == CAPTIONS else f"{n:,} questions answered right"
        )
        tested = FrozenTower(shared, test, preprocess, None)
        scores[name] = spoken_score(task, model, tokenizer, tested)
        print(f"backbone: {name} {scores[name]:.2f}", flush=True)
    if is_first_process():
        start = shown_name(recipe.start)
        how = f"its vision tower from `{start}` and frozen, its text parts trained"
        write_blip(models, tokenizer, preprocess, recipe, scores, len(test), out / "final", how)
    return scores


def train_small(recipe: BlipRecipe, out: Path) -> dict[str, float]:
    """Train small models from scratch."""
    preprocess = Preprocess.from_dict(
        {"size": recipe.image_size, "mean": recipe.mean, "std": recipe.std}
    )
    side = recipe.image_size // recipe.patch_size if recipe.see else None
    data = TextImages(
        open_source(recipe.data, recipe.train_split, recipe.limit),
        preprocess,
        recipe.schedule.seed,
        marks_side=side,
    )
    tokenizer = make_tokenizer(data)
    tasks = tuple(
        task for task in (CAPTIONS, QUESTIONS) if any(words.of(task) for words in data.words)
    )
    torch.manual_seed(recipe.schedule.seed)
    models = build_blip(recipe, tokenizer, tasks)
    tower = vision_tower(next(iter(models.values())))
    compile_networks([tower], recipe.compile)
    see = SeeTask(tower, data, preprocess) if recipe.see else None
    if see is not None and recipe.see:
        train(see, data, recipe.see, out / "see")
    train(
        BlipTask(models, tokenizer, data, preprocess, recipe, see),
        data,
        recipe.schedule,
        out / "speak",
    )
    scores = {}
    for model in models.values():
        model.to("cpu").eval()
    test = TextImages(open_source(recipe.data, recipe.test_split, recipe.limit), preprocess)
    if QUESTIONS in models:
        with torch.compiler.set_stance("force_eager"):  # batches are of all sizes
            scores["questions answered right"] = answer_accuracy(
                models[QUESTIONS], tokenizer, test, preprocess
            )
    if is_first_process():
        write_blip(models, tokenizer, preprocess, recipe, scores, len(test), out / "final")
    return scores


def kind_of(values: dict[str, object]) -> type[BlipRecipe] | type[SpeakRecipe]:
    """Which of the two recipes a file's values are."""
    return SpeakRecipe if "start" in values else BlipRecipe


if __name__ == "__main__":
    sys.exit(run_command(kind_of, run, __doc__))
