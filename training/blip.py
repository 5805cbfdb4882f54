"""python -m training.blip RECIPE: trains small BLIP models from scratch, a captioner and a question
answerer with one vision tower.

Standard classes of transformers with a vocabulary of whole words, each in a folder of its own that
loads by itself. Where the data has no captions there is a question answerer alone.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
)

from codec.device.preprocess import Preprocess
from codec.model.asking import answers_to
from codec.model.split import share_tower
from codec.tasks import CAPTIONS, QUESTIONS, TASKS
from codec.tasks.generate import ANSWER_TOKENS, question_ids
from training.backbones.see import NameTask, SeeTask
from training.data.images import batches, normalise
from training.data.texts import TextImages, open_source
from training.engine.card import write_blip
from training.engine.command import run_command
from training.engine.loop import Schedule, is_first_process, train
from training.engine.words import (
    context_of,
    next_word,
    texts_of,
    word_logits,
    word_states,
)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LOSS_NAMES = {CAPTIONS: "caption_loss", QUESTIONS: "answer_loss"}


@dataclass(frozen=True)
class BlipRecipe:
    """Everything a small BLIP depends on.

    Attributes:
        data: `scenes`, a folder or a hub name; `train_split` and `test_split` in it.
        hidden_size, n_layers, n_heads: of the vision tower; `patch_size` pixels make a token.
        text_size, n_text_layers, n_text_heads: of each text part: the captioner's decoder, the
            answerer's encoder and its decoder.
        n_questions: asked of each picture in a step.
        max_words: longest text in tokens.
        see: a first stage in which patches learn to say what thing has its centre there
            (`training.backbones.see`); only scenes tell. None for no such stage.
        mark_weight: in the second stage, weight of what patches say, in nats a picture, and what
            nouns say, in nats a noun, against captions and answers, in nats a word.
        note: a sentence for the model card.
    """

    name: str
    data: str
    train_split: str
    test_split: str
    image_size: int
    patch_size: int
    hidden_size: int
    n_layers: int
    n_heads: int
    text_size: int
    n_text_layers: int
    n_text_heads: int
    schedule: Schedule
    n_questions: int = 4
    max_words: int = 64
    see: Schedule | None = None
    mark_weight: float = 0.05
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    limit: int | None = None
    note: str = ""


class BlipTask(nn.Module):
    """The second stage: captions and answers of a batch of pictures, word by word -> loss. The
    tower runs once for both.

    After a first stage its loss goes on, with a weight, and nouns of captions and questions say
    what patches said.
    """

    def __init__(
        self,
        models: dict[str, Any],
        tokenizer: Any,
        data: TextImages,
        preprocess: Preprocess,
        recipe: BlipRecipe,
        see: SeeTask | None = None,
    ) -> None:
        super().__init__()
        self.models, self.see = nn.ModuleDict(models), see
        self.names = (
            nn.ModuleDict({task: NameTask(recipe.text_size, data, tokenizer) for task in models})
            if see
            else None
        )
        first = next(iter(models.values()))
        self.tower, self.config = first.vision_model, first.config.text_config
        self.tokenizer, self.data, self.preprocess, self.recipe = (
            tokenizer,
            data,
            preprocess,
            recipe,
        )

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        seen = self.tower(pixel_values=normalise(pixels, self.preprocess)).last_hidden_state
        sums: dict[str, list[torch.Tensor]] = {}
        n_words, rights, names = dict.fromkeys(TASKS, 0), [], []
        for texts in texts_of(
            self.tokenizer, self.config, self.data, labels, keys, self.recipe.n_questions
        ):
            model = self.models[texts.task]
            context = context_of(model, seen, texts)
            states = word_states(model, context, texts)
            loss, right = next_word(word_logits(model, states), texts)
            sums.setdefault(texts.task, []).append(loss)
            n_words[texts.task] += int(texts.words.sum())
            rights += [right] if texts.task == QUESTIONS else []
            if self.names is not None:
                names.append(
                    self.names[texts.task](
                        states if texts.question is None else context, texts, labels
                    )
                )
        losses = {
            LOSS_NAMES[task]: torch.stack(some).sum() / n_words[task] for task, some in sums.items()
        }
        if self.see is not None:
            losses["mark_loss"] = self.recipe.mark_weight * self.see.loss(seen, labels)
        if names:
            nouns, n_nouns = (sum(values) for values in zip(*names, strict=True))
            losses["name_loss"] = self.recipe.mark_weight * nouns / max(n_nouns, 1)
        log = {name: loss.detach() for name, loss in losses.items()}
        if rights:
            log["answer_accuracy"] = torch.stack(rights).sum() / (
                self.recipe.n_questions * len(labels)
            )
        return {"loss": torch.stack(list(losses.values())).sum()} | log


def make_tokenizer(data: TextImages) -> Any:
    """A WordPiece tokenizer whose pieces are the words of a data set."""
    texts = [
        text
        for words in data.words
        for text in (*words.captions, *(t for pair in words.questions for t in pair))
    ]
    found = sorted(
        {piece for text in set(texts) for piece in re.findall(r"\w+|[^\w\s]", text.lower())}
    )
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *found, "[DEC]", "[ENC]"])}
    return BertTokenizer(vocab=vocabulary, bos_token="[DEC]", additional_special_tokens=["[ENC]"])


def build_blip(recipe: BlipRecipe, tokenizer: Any, tasks: tuple[str, ...]) -> dict[str, Any]:
    """The untrained models of a recipe by task, with one vision tower."""
    vision = {
        "hidden_size": recipe.hidden_size,
        "num_hidden_layers": recipe.n_layers,
        "num_attention_heads": recipe.n_heads,
        "intermediate_size": 4 * recipe.hidden_size,
        "image_size": recipe.image_size,
        "patch_size": recipe.patch_size,
        "initializer_range": 0.02,
    }
    text = {
        "hidden_size": recipe.text_size,
        "num_hidden_layers": recipe.n_text_layers,
        "num_attention_heads": recipe.n_text_heads,
        "intermediate_size": 4 * recipe.text_size,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": recipe.max_words,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    kinds: dict[str, Any] = {
        CAPTIONS: BlipForConditionalGeneration,
        QUESTIONS: BlipForQuestionAnswering,
    }
    models = {}
    for task in tasks:
        models[task] = kinds[task](BlipConfig(text_config=text, vision_config=vision))  # type: ignore[call-arg]
    first = next(iter(models.values()))
    for model in models.values():
        model.vision_model.load_state_dict(first.vision_model.state_dict())
    share_tower(list(models.values()))
    return models


@torch.inference_mode()
def answer_accuracy(
    model: Any, tokenizer: Any, data: TextImages, preprocess: Preprocess, size: int = 250
) -> float:
    """Share of questions of a data set that are answered as it says, in percent; the vision tower
    looks once at a picture.
    """
    right = total = 0
    limits = {"max_new_tokens": ANSWER_TOKENS, "num_beams": 1}
    for pixels, indices in batches(data, size):
        pairs = [data.words[index].questions for index in indices.tolist()]
        asked = [
            [question_ids(model, tokenizer, question) for question, _ in some] for some in pairs
        ]
        given = answers_to(model, tokenizer, normalise(pixels, preprocess), asked, limits)
        truth = [wanted for some in pairs for _, wanted in some]
        right += sum(text == wanted for text, wanted in zip(given, truth, strict=True))
        total += len(truth)
    return 100 * right / max(total, 1)


def run(recipe: BlipRecipe, out: Path) -> dict[str, float]:
    """Train by the recipe into `out`, resuming where a run was stopped; returns the scores on the
    test split.
    """
    preprocess = Preprocess(recipe.image_size, mean=tuple(recipe.mean), std=tuple(recipe.std))  # type: ignore[arg-type]
    side = recipe.image_size // recipe.patch_size if recipe.see else None
    data = TextImages(
        open_source(recipe.data, recipe.train_split, recipe.limit),
        preprocess,
        recipe.schedule.seed,
        marks_side=side,
    )
    tokenizer = make_tokenizer(data)
    tasks = tuple(
        task
        for task, on in ((CAPTIONS, data.words[0].captions), (QUESTIONS, data.words[0].questions))
        if on
    )
    torch.manual_seed(recipe.schedule.seed)
    models = build_blip(recipe, tokenizer, tasks)
    tower = next(iter(models.values())).vision_model
    tower.compile(dynamic=False)
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


if __name__ == "__main__":
    sys.exit(run_command(BlipRecipe, run, __doc__))
