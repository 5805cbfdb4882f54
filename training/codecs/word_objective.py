"""tokens at the cut -> loss, captions and answers: each word is to be the uncut model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.backbone import load_tokenizer
from codec.model.networks import digest
from codec.model.split import token_grid
from codec.model.split_tower import vision_states, vision_tower
from codec.tasks import CAPTIONS
from training.codecs.objective import Said, divergence
from training.codecs.recipe import CodecRecipe
from training.data.remembered import Remembered, n_bytes_of
from training.data.texts import TextImages
from training.engine.words import (
    TextBatch,
    context_of,
    next_word_logits,
    said_of,
    states_of,
    texts_of,
    truth_of,
)

MAX_BYTES = 1 << 31
"""Where the vision states of all pictures would take more than this, they are not kept."""


class WordObjective:
    """A caption, or answers to questions, or both for each picture, as far as the data has them.

    A picture's loss is that of its caption, in the mean over the words, plus that of its questions,
    in the mean over questions and words: word by word, the words before being the true ones.

    Args:
        uncut: captioner, question answerer or both, by task.
        recipe: says the number of questions asked of a picture in a step, and the share of the true
            words.
        data: pictures with words.
        known: the uncut models' vision states, remembered by picture; None to compute them anew
            each time.
    """

    def __init__(
        self,
        uncut: dict[str, nn.Module],
        recipe: CodecRecipe,
        data: TextImages,
        known: Remembered | None = None,
    ) -> None:
        self.uncut, self.recipe, self.data = uncut, recipe, data
        self.states = known or Remembered(_states_of(uncut), (), None, 0, "")
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
        seen = self.states(x, labels)  # pictures are always as they are
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
        """Generated word by word, greedily: a caption of each picture that has captions, and the
        answer to each of its questions.
        """
        words = [self.data.words[i] for i in labels.tolist()]
        return {
            task: said_of(task, model, self.tokenizer, inputs, words)
            for task, model in models.items()
        }

    def truth(self, places: Sequence[int] | None = None) -> Said:
        """The reference captions of each picture that has some, and the right answer to each
        question.
        """
        words = self.data.words if places is None else [self.data.words[i] for i in places]
        return {task: truth_of(task, words) for task in self.uncut}


def known_states(
    uncut: dict[str, nn.Module], preprocess: Preprocess, data: TextImages, runs: Path
) -> Remembered:
    """The uncut models' vision states (B, N, D) of pictures as they are, shared by the runs in a
    folder, unless they take more than `MAX_BYTES`; named as `known_logits` names the logits.
    """
    grid = token_grid(_first(uncut), preprocess.size)
    shape = grid.n_tokens, grid.width
    keep = n_bytes_of(shape, len(data), 0) <= MAX_BYTES
    about = f"{digest(vision_tower(_first(uncut)).state_dict())} {data.digest} {preprocess}"
    folder = runs / "uncut-states" if keep else None
    return Remembered(_states_of(uncut), shape, folder, len(data), about if keep else "")


def _states_of(uncut: dict[str, nn.Module]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: vision_states(_first(uncut), x)


def _first(models: Mapping[str, nn.Module]) -> nn.Module:
    """The first of several models that share one vision tower."""
    return next(iter(models.values()))


def _logits(models: Mapping[str, Any], seen: torch.Tensor, texts: TextBatch) -> torch.Tensor:
    """Logits (T, W - 1, V) of each next word, by the model of the texts' task."""
    model = models[texts.task]
    return next_word_logits(model, states_of(model, context_of(model, seen, texts), texts))
