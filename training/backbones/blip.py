"""recipe, texts -> a tokenizer of whole words and untrained small BLIP models."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
)

from codec.model.split import share_tower
from codec.model.split_tower import vision_tower
from codec.tasks import CAPTIONS, QUESTIONS
from training.data.texts import TextImages
from training.engine.schedule import Schedule

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


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
        compile: whether torch.compile makes the vision tower faster, after minutes of its own.
        note: a sentence for the model card.
        file: where it was read from.
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
    compile: bool = True
    note: str = ""
    file: str = field(default="", compare=False)


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
    make_config: Any = BlipConfig
    models = {}
    for task in tasks:
        models[task] = kinds[task](make_config(text_config=text, vision_config=vision))
    first = next(iter(models.values()))
    for model in models.values():
        vision_tower(model).load_state_dict(vision_tower(first).state_dict())
    share_tower(list(models.values()))
    return models
