"""python -m training.blip RECIPE: trains small BLIP models from scratch, a captioner and a question answerer with one vision tower.

Standard classes of transformers with a vocabulary of whole words, each in a folder of its own that loads by itself. Where the data has no
captions there is a question answerer alone. Captions are learned word by word (Li et al. 2022, BLIP, arXiv 2201.12086, sec. 3.2), answers
too, both as they are read later: a caption begins with [DEC], a question with [CLS], an answer with [DEC]; each ends with [SEP].
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipForQuestionAnswering

from codec.config import TASKS
from codec.preprocess import Preprocess
from codec.split import share_tower
from codec.text import ANSWER_TOKENS, answer, question_ids
from training.card import write_blip
from training.command import run_command
from training.data import normalise
from training.loop import Schedule, is_first_process, train
from training.text_data import TextImages, open_source

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_, CAPTIONS, QUESTIONS = TASKS


@dataclass(frozen=True)
class BlipRecipe:
    """Everything a small BLIP depends on.

    Attributes:
        data: `scenes`, a folder or a hub name; `train_split` and `test_split` in it.
        hidden_size, n_layers, n_heads: of the vision tower; `patch_size` pixels make a token.
        text_size, n_text_layers, n_text_heads: of each text part: the captioner's decoder, the answerer's encoder and its decoder.
        n_questions: asked of each picture in a step.
        max_words: longest text in tokens.
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
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    limit: int | None = None
    note: str = ""


class BlipTask(nn.Module):
    """Captions and answers of a batch of pictures, word by word -> loss. The tower runs once for both."""

    def __init__(self, models: dict[str, Any], tokenizer: Any, data: TextImages, preprocess: Preprocess, n_questions: int) -> None:
        super().__init__()
        self.models = nn.ModuleDict(models)
        self.tower = next(iter(models.values())).vision_model
        self.tokenizer, self.data, self.preprocess, self.n_questions = tokenizer, data, preprocess, n_questions

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor) -> dict[str, torch.Tensor]:
        x = normalise(pixels, self.preprocess)
        seen = self.tower(pixel_values=x).last_hidden_state
        said, asked = self.data.some(labels, keys, self.n_questions)
        parts: dict[str, torch.Tensor] = {}
        if said:
            ids, mask = self._ids(said, x.device)
            decoder: Any = self.models[CAPTIONS].text_decoder
            logits = decoder(input_ids=ids, attention_mask=mask, encoder_hidden_states=seen).logits
            parts["caption_loss"], _ = next_word(logits, ids, mask)
        if asked:
            parts |= self._answers(seen, asked)
        loss = torch.stack([value for name, value in parts.items() if name.endswith("loss")]).sum()
        return {"loss": loss} | {name: value.detach() for name, value in parts.items()}

    def _answers(self, seen: torch.Tensor, asked: list[tuple[str, str]]) -> dict[str, torch.Tensor]:
        """Losses of the answers, `n_questions` to each picture's states (B, N, D).

        Questions of one length in tokens go together: the model's decoder would take padding for words (`codec.text.answer`).
        """
        answerer: Any = self.models[QUESTIONS]
        questions = self.tokenizer([question for question, _ in asked]).input_ids
        losses, rights, n_words = [], [], []
        for length in sorted({len(ids) for ids in questions}):
            places = [i for i, ids in enumerate(questions) if len(ids) == length]
            ids = torch.tensor([questions[i] for i in places], device=seen.device)
            each = seen[[i // self.n_questions for i in places]]
            read = answerer.text_encoder(input_ids=ids, attention_mask=torch.ones_like(ids), encoder_hidden_states=each).last_hidden_state
            words, mask = self._ids([asked[i][1] for i in places], seen.device)
            logits = answerer.text_decoder(input_ids=words, attention_mask=mask, encoder_hidden_states=read).logits
            loss, right = next_word(logits, words, mask)
            losses.append(loss * int(mask[:, 1:].sum()))
            rights.append(right * len(places))
            n_words.append(int(mask[:, 1:].sum()))
        return {"answer_loss": torch.stack(losses).sum() / sum(n_words), "answer_accuracy": torch.stack(rights).sum() / len(asked)}

    def _ids(self, texts: list[str], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Texts that are to be generated -> ids and mask (B, T); they begin with [DEC] in the place of [CLS]."""
        made = self.tokenizer(texts, padding=True, return_tensors="pt").to(device)
        made.input_ids[:, 0] = self.tokenizer.bos_token_id
        return made.input_ids, made.attention_mask


def next_word(logits: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of each next word in nats, in the mean over the words of ids (B, T), and the share of texts guessed as a whole."""
    wanted = ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
    guessed = logits[:, :-1].float()
    loss = F.cross_entropy(guessed.flatten(0, 1), wanted.flatten(), ignore_index=-100)
    right = ((guessed.argmax(-1) == wanted) | (wanted == -100)).all(1).float().mean()
    return loss, right


def make_tokenizer(data: TextImages) -> Any:
    """A WordPiece tokenizer whose pieces are the words of a data set."""
    texts = [text for words in data.words for text in (*words.captions, *(t for pair in words.questions for t in pair))]
    found = sorted({piece for text in set(texts) for piece in re.findall(r"\w+|[^\w\s]", text.lower())})
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
    kinds: dict[str, Any] = {CAPTIONS: BlipForConditionalGeneration, QUESTIONS: BlipForQuestionAnswering}
    models = {}
    for task in tasks:
        models[task] = kinds[task](BlipConfig(text_config=text, vision_config=vision))  # type: ignore[call-arg]
    first = next(iter(models.values()))
    for model in models.values():
        model.vision_model.load_state_dict(first.vision_model.state_dict())
    share_tower(list(models.values()))
    return models


@torch.inference_mode()
def answer_accuracy(model: Any, tokenizer: Any, data: TextImages, preprocess: Preprocess, size: int = 250) -> float:
    """Share of questions of a data set that are answered as it says, in percent; the model is uncut."""
    right = total = 0
    limits = {"max_new_tokens": ANSWER_TOKENS, "num_beams": 1}
    for start in range(0, len(data), size):
        x = normalise(data.pixels[start : start + size], preprocess)
        pairs = [(i, *pair) for i, words in enumerate(data.words[start : start + size]) for pair in words.questions]
        asked = [question_ids(model, tokenizer, question) for _, question, _ in pairs]
        given = answer(model, tokenizer, x[[i for i, _, _ in pairs]], asked, limits)
        right += sum(text == wanted for text, (_, _, wanted) in zip(given, pairs, strict=True))
        total += len(pairs)
    return 100 * right / max(total, 1)


def run(recipe: BlipRecipe, out: Path) -> dict[str, float]:
    """Train by the recipe into `out`, resuming where a run was stopped; returns the scores on the test split."""
    preprocess = Preprocess(recipe.image_size, mean=tuple(recipe.mean), std=tuple(recipe.std))  # type: ignore[arg-type]
    data = TextImages(open_source(recipe.data, recipe.train_split, recipe.limit), preprocess, recipe.schedule.seed)
    tokenizer = make_tokenizer(data)
    tasks = tuple(task for task, on in ((CAPTIONS, data.words[0].captions), (QUESTIONS, data.words[0].questions)) if on)
    torch.manual_seed(recipe.schedule.seed)
    models = build_blip(recipe, tokenizer, tasks)
    train(BlipTask(models, tokenizer, data, preprocess, recipe.n_questions), data, recipe.schedule, out / "blip")
    scores = {}
    for model in models.values():
        model.to("cpu").eval()
    test = TextImages(open_source(recipe.data, recipe.test_split, recipe.limit), preprocess)
    if QUESTIONS in models:
        scores["questions answered right"] = answer_accuracy(models[QUESTIONS], tokenizer, test, preprocess)
    if is_first_process():
        write_blip(models, tokenizer, preprocess, recipe, scores, len(test), out / "final")
    return scores


if __name__ == "__main__":
    sys.exit(run_command(BlipRecipe, run, __doc__))
