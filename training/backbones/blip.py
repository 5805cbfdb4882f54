"""recipe, texts -> a tokenizer of whole words and untrained small BLIP models."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    BlipVisionModel,
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
        dropout: in the text parts.
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
    dropout: float = 0.0
    see: Schedule | None = None
    mark_weight: float = 0.05
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    limit: int | None = None
    compile: bool = True
    note: str = ""
    file: str = field(default="", compare=False)


@dataclass(frozen=True)
class SpeakRecipe:
    """Everything a BLIP depends on whose vision tower is pretrained, and stays as it is.

    Attributes:
        start: folder or hub id of a DINOv2 of transformers, with a classifier or without.
        data: folder or hub name, or several that commas separate; `train_split` is fitted on, the
            best epoch is chosen on `validation_split`, and `test_split` is read once, at the end.
        text_size, n_text_layers, n_text_heads: as in `BlipRecipe`.
        captions, questions: how the captioner is trained, on the pictures with captions, and the
            question answerer, on those with questions; None for no such model.
        image_size: side in pixels; None for that of the start's image processor.
        patch_size: of the tokens; None for that of the start.
        least_count: words that the training texts have less often are not in the vocabulary.
        n_questions: asked of each picture in a step.
        max_words: longest text in tokens.
        token_share: share of a picture's patch tokens that a step of training sees, drawn anew each
            time: the pictures themselves come always the same.
        dropout, label_smoothing: of the text parts.
        note: a sentence for the model card.
        file: where it was read from.
    """

    name: str
    start: str
    data: str
    train_split: str
    validation_split: str
    test_split: str
    text_size: int
    n_text_layers: int
    n_text_heads: int
    captions: Schedule | None = None
    questions: Schedule | None = None
    image_size: int | None = None
    patch_size: int | None = None
    least_count: int = 1
    n_questions: int = 4
    max_words: int = 64
    token_share: float = 1.0
    dropout: float = 0.1
    label_smoothing: float = 0.1
    limit: int | None = None
    note: str = ""
    file: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.token_share <= 1:
            raise ValueError(f"token_share is in (0, 1], not {self.token_share}")
        if not self.schedules:
            raise ValueError("the recipe has neither a section captions nor a section questions")

    @property
    def schedule(self) -> Schedule:
        """That of the first model; its seed is the run's."""
        return next(iter(self.schedules.values()))

    @property
    def schedules(self) -> dict[str, Schedule]:
        """How the model of each task is trained."""
        named = ((CAPTIONS, self.captions), (QUESTIONS, self.questions))
        return {task: schedule for task, schedule in named if schedule is not None}


def make_tokenizer(data: TextImages, least_count: int = 1) -> Any:
    """A WordPiece tokenizer whose pieces are the words of a data set that are in it so often."""
    texts = [
        text
        for words in data.words
        for text in (*words.captions, *(t for pair in words.questions for t in pair))
    ]
    counts: Counter[str] = Counter()
    for text, count in Counter(texts).items():
        for piece in re.findall(r"\w+|[^\w\s]", text.lower()):
            counts[piece] += count
    found = sorted(piece for piece, count in counts.items() if count >= least_count)
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *found, "[DEC]", "[ENC]"])}
    return BertTokenizer(vocab=vocabulary, bos_token="[DEC]", additional_special_tokens=["[ENC]"])


def vision_sizes(recipe: BlipRecipe) -> dict[str, Any]:
    """The configuration of the vision tower of a recipe from scratch."""
    return {
        "hidden_size": recipe.hidden_size,
        "num_hidden_layers": recipe.n_layers,
        "num_attention_heads": recipe.n_heads,
        "intermediate_size": 4 * recipe.hidden_size,
        "image_size": recipe.image_size,
        "patch_size": recipe.patch_size,
        "initializer_range": 0.02,
    }


def build_blip(
    recipe: BlipRecipe | SpeakRecipe,
    tokenizer: Any,
    tasks: tuple[str, ...],
    tower: BlipVisionModel | None = None,
) -> dict[str, Any]:
    """The models of a recipe by task, with one vision tower, which has the weights of `tower`; all
    other weights are untrained.

    Raises:
        ValueError: a question answerer whose text parts are not as wide as the tower: in BLIP one
            configuration says what they look at, patches or the words of the question.
    """
    vision = vision_sizes(recipe) if isinstance(recipe, BlipRecipe) else {}
    if tower is not None:
        vision = tower.config.to_dict()
    if QUESTIONS in tasks and recipe.text_size != vision["hidden_size"]:
        raise ValueError(
            f"for questions text_size is that of the vision tower, {vision['hidden_size']}, not "
            f"{recipe.text_size}"
        )
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
        "hidden_dropout_prob": recipe.dropout,
        "attention_probs_dropout_prob": recipe.dropout,
    }
    kinds: dict[str, Any] = {
        CAPTIONS: BlipForConditionalGeneration,
        QUESTIONS: BlipForQuestionAnswering,
    }
    make_config: Any = BlipConfig
    models = {}
    for task in tasks:
        models[task] = kinds[task](make_config(text_config=text, vision_config=vision))
    weights = (tower or vision_tower(next(iter(models.values())))).state_dict()
    for model in models.values():
        vision_tower(model).load_state_dict(weights)
    share_tower(list(models.values()))
    return models


def start_answerer(answerer: Any, captioner: Any) -> None:
    """Give what reads questions and what writes answers the weights of what writes captions: what
    words mean, and how to look for it in pictures. BLIP's own starts from pretrained text parts too
    (Li et al. 2022, arXiv 2201.12086, sec. 5.3).
    """
    own, told = answerer.state_dict(), captioner.state_dict()
    for name in own:
        given = name.replace("text_encoder.", "text_decoder.bert.")
        if given.startswith("text_decoder."):
            own[name] = told[given]
    answerer.load_state_dict(own)
