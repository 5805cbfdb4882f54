"""tokens at the cut -> loss, captions and answers: each word is to be the uncut model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codec.model.asking import answers_to
from codec.model.backbone import load_tokenizer
from codec.model.split_tower import vision_states, vision_tower
from codec.tasks import CAPTIONS, QUESTIONS
from codec.tasks.generate import (
    ANSWER_TOKENS,
    CAPTION_TOKENS,
    caption,
    checked_limits,
    question_ids,
)
from training.codecs.objective import Said, divergence
from training.codecs.recipe import CodecRecipe
from training.data.texts import TextImages
from training.engine.words import (
    TextBatch,
    context_of,
    next_word_logits,
    states_of,
    texts_of,
)


class WordObjective:
    """A caption, or answers to questions, or both for each picture.

    A picture's loss is that of its caption, in the mean over the words, plus that of its questions,
    in the mean over questions and words: word by word, the words before being the true ones.

    Args:
        uncut: captioner, question answerer or both, by task.
        recipe: says the number of questions asked of a picture in a step, and the share of the true
            words.
        data: pictures with words.
    """

    def __init__(self, uncut: dict[str, nn.Module], recipe: CodecRecipe, data: TextImages) -> None:
        self.uncut, self.recipe, self.data = uncut, recipe, data
        self.tokenizer = load_tokenizer(next(iter(recipe.backbones.values())), Path())
        self.config: Any = _first(uncut).config.text_config  # type: ignore[union-attr]

    def part(self, model: Any) -> nn.Module:
        """The vision tower."""
        return vision_tower(model)

    def augment(self, pixels: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """As they are: what is left of something would not be so in a mirror."""
        return pixels

    @torch.no_grad()
    def target(
        self, x: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor | None
    ) -> list[tuple[TextBatch, torch.Tensor]]:
        """Texts, and of each word the uncut model's probabilities (T, W - 1, V) with a share of the
        true one.
        """
        seen = vision_states(_first(self.uncut), x)
        keys = labels if keys is None else keys
        asked = texts_of(
            self.tokenizer, self.config, self.data, labels, keys, self.recipe.n_questions
        )
        return [
            (texts, self.recipe.target(_logits(self.uncut, seen, texts), texts.ids[:, 1:]))
            for texts in asked
            if texts.task in self.uncut
        ]

    def loss(
        self,
        tails: Mapping[str, nn.Module],
        tokens: torch.Tensor,
        target: list[tuple[TextBatch, torch.Tensor]],
    ) -> torch.Tensor:
        """As `Objective` says."""
        seen = vision_states(_first(tails), tokens)
        loss = torch.zeros(len(tokens), device=tokens.device)
        for texts, wanted in target:
            words = divergence(_logits(tails, seen, texts), wanted)
            each = (words * texts.words).sum(1) / texts.words.sum(1)
            loss = loss.index_add(
                0, texts.place, each if texts.task == CAPTIONS else each / self.recipe.n_questions
            )
        return loss

    def said(
        self, models: Mapping[str, nn.Module], inputs: torch.Tensor, labels: torch.Tensor
    ) -> Said:
        """Generated word by word, greedily: a caption of each picture, and the answer to each of
        its questions.
        """
        said: Said = {}
        if (model := models.get(CAPTIONS)) is not None:
            limits = checked_limits(model, None, 1, CAPTION_TOKENS)
            said[CAPTIONS] = caption(model, self.tokenizer, inputs, limits)
        if (model := models.get(QUESTIONS)) is not None:
            ids = [
                [question_ids(model, self.tokenizer, q) for q, _ in self.data.words[i].questions]
                for i in labels.tolist()
            ]
            limits = checked_limits(model, None, 1, ANSWER_TOKENS)
            said[QUESTIONS] = answers_to(model, self.tokenizer, inputs, ids, limits)
        return said

    def truth(self, places: Sequence[int] | None = None) -> Said:
        """The reference captions of each picture, and the right answer to each question."""
        words = self.data.words if places is None else [self.data.words[i] for i in places]
        truth: Said = {
            CAPTIONS: [some.captions for some in words],
            QUESTIONS: [answer for some in words for _, answer in some.questions],
        }
        return {task: truth[task] for task in self.uncut}


def _first(models: Mapping[str, nn.Module]) -> nn.Module:
    """The first of several models that share one vision tower."""
    return next(iter(models.values()))


def _logits(models: Mapping[str, Any], seen: torch.Tensor, texts: TextBatch) -> torch.Tensor:
    """Logits (T, W - 1, V) of each next word, by the model of the texts' task."""
    model = models[texts.task]
    return next_word_logits(model, states_of(model, context_of(model, seen, texts), texts))
