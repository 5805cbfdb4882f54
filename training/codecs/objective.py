"""tokens at the cut -> task loss and task score: what a codec is held against in the second stage,
and measured by at the end.

The uncut model is asked the same thing of the same picture, and the codec's tail is to answer as it
does: `Labels` for classifiers, `Words` for captioners and question answerers, which share a blob
and so a loss. An objective comes with its data, since what is asked of a picture lies there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.asking import answers_to
from codec.model.backbone import load_tokenizer
from codec.tasks import CAPTIONS, LABELS, QUESTIONS
from codec.tasks.generate import (
    ANSWER_TOKENS,
    CAPTION_TOKENS,
    caption,
    checked_limits,
    question_ids,
)
from training.codecs.answers import Answers
from training.codecs.recipe import CodecRecipe
from training.data.images import Images, augment
from training.data.texts import TextImages, open_source
from training.engine.words import Texts, context_of, texts_of, word_logits, word_states

Said = tuple[Any, ...]
"""All that a model says of one picture: its class, or its caption and its answers."""


class Objective(Protocol):
    """What is asked of the pictures of a data set.

    Attributes:
        uncut: the uncut models by task, which are asked and never trained.
        data: the pictures.
    """

    uncut: dict[str, nn.Module]
    data: Any

    def part(self, model: nn.Module) -> nn.Module:
        """The part of a model or a tail whose shapes do not change from step to step: what is worth
        compiling.
        """

    def augment(self, pixels: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) uint8 -> others of the same shape with the same answers."""

    def target(self, x: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor | None) -> Any:
        """What is to be answered to pixel values (B, 3, S, S) of samples `labels`; `keys` (B,) are
        None for pictures as they are.
        """

    def loss(
        self, tails: Mapping[str, nn.Module], tokens: torch.Tensor, target: Any
    ) -> torch.Tensor:
        """KL divergence from a target to what the tails answer to tokens (B, N, D), in nats:
        (B,).
        """

    def said(
        self, models: Mapping[str, nn.Module], inputs: torch.Tensor, labels: torch.Tensor
    ) -> list[Said]:
        """What models, or tails, say of pixel values (B, 3, S, S), or tokens (B, N, D)."""

    def scores(self, said: Sequence[Said]) -> tuple[float, ...]:
        """A score for each task, in points of 0 to 100, of what was said of all pictures of the
        data set in order.
        """


class Labels:
    """One class for each picture.

    Args:
        uncut: the classifier, by its task.
        recipe: says share of labels and size of the shift.
        data: labelled pictures.
        answers: the uncut model's, remembered; None to ask anew each time.
    """

    def __init__(
        self,
        uncut: dict[str, nn.Module],
        recipe: CodecRecipe,
        data: Images,
        answers: Answers | None = None,
    ) -> None:
        self.uncut, self.recipe, self.data = uncut, recipe, data
        self.answers = answers or Answers(uncut[LABELS], None, 0, 0, "")
        if recipe.label_weight and min(data.labels) < 0:
            raise ValueError(
                f"label_weight is {recipe.label_weight}, and the images of {recipe.data!r} have no "
                "labels"
            )

    def part(self, model: nn.Module) -> nn.Module:
        return model

    def augment(self, pixels: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return augment(pixels, keys, self.recipe.shift)

    @torch.no_grad()
    def target(
        self, x: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor | None
    ) -> torch.Tensor:
        """(B, L): the uncut model's probabilities with a share of the true label."""
        return self.recipe.target(self.answers(x, keys), labels)

    def loss(
        self, tails: Mapping[str, nn.Module], tokens: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        return divergence(tails[LABELS](tokens).logits, target)

    def said(
        self, models: Mapping[str, nn.Module], inputs: torch.Tensor, labels: torch.Tensor
    ) -> list[Said]:
        return [(int(label),) for label in models[LABELS](inputs).logits.argmax(-1)]

    def scores(self, said: Sequence[Said]) -> tuple[float, ...]:
        """Accuracy."""
        return (
            100
            * sum(label == true for (label,), true in zip(said, self.data.labels, strict=True))
            / len(said),
        )


class Words:
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
        self.config: Any = next(iter(uncut.values())).config.text_config  # type: ignore[union-attr]

    def part(self, model: Any) -> nn.Module:
        tower: nn.Module = model.vision_model
        return tower

    def augment(self, pixels: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """As they are: what is left of something would not be so in a mirror."""
        return pixels

    @torch.no_grad()
    def target(
        self, x: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor | None
    ) -> list[tuple[Texts, torch.Tensor]]:
        """Texts, and of each word the uncut model's probabilities (T, W - 1, V) with a share of the
        true one.
        """
        seen = _seen(self.uncut, x)
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
        target: list[tuple[Texts, torch.Tensor]],
    ) -> torch.Tensor:
        seen = _seen(tails, tokens)
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
    ) -> list[Said]:
        """Generated word by word, greedily: the caption, then the answer to each of the picture's
        questions.
        """
        found: list[list[str]] = [[] for _ in labels]
        if (model := models.get(CAPTIONS)) is not None:
            for texts, text in zip(
                found,
                caption(
                    model, self.tokenizer, inputs, checked_limits(model, None, 1, CAPTION_TOKENS)
                ),
                strict=True,
            ):
                texts.append(text)
        if (model := models.get(QUESTIONS)) is not None:
            pairs = [self.data.words[index].questions for index in labels.tolist()]
            ids = [
                [question_ids(model, self.tokenizer, question) for question, _ in some]
                for some in pairs
            ]
            given = iter(
                answers_to(
                    model,
                    self.tokenizer,
                    inputs,
                    ids,
                    checked_limits(model, None, 1, ANSWER_TOKENS),
                )
            )
            for texts, some in zip(found, pairs, strict=True):
                texts += [next(given) for _ in some]
        return [tuple(texts) for texts in found]

    def scores(self, said: Sequence[Said]) -> tuple[float, ...]:
        """BLEU-4 of the captions (nltk, words by spaces, 0.1 matches where there are none), and the
        share of questions answered rightly.
        """
        from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu

        words, scores = self.data.words, []
        skipped = int(CAPTIONS in self.uncut)
        if CAPTIONS in self.uncut:
            references = [[text.split() for text in w.captions] for w in words]
            scores.append(
                100
                * float(
                    corpus_bleu(
                        references,
                        [texts[0].split() for texts in said],
                        smoothing_function=SmoothingFunction().method1,
                    )
                )
            )
        if QUESTIONS in self.uncut:
            right = [
                text == true
                for texts, w in zip(said, words, strict=True)
                for text, (_, true) in zip(texts[skipped:], w.questions, strict=True)
            ]
            scores.append(100 * sum(right) / len(right))
        return tuple(scores)


def divergence(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """KL divergence from target (..., L) to the answers of logits (..., L), in nats: (...)."""
    return F.kl_div(logits.float().log_softmax(-1), target, reduction="none").sum(-1)


def open_objective(
    recipe: CodecRecipe,
    uncut: dict[str, nn.Module],
    preprocess: Preprocess,
    split: str,
    runs: Path | None = None,
) -> Objective:
    """A split of a recipe's data and what is asked of it; the uncut classifier's answers are
    remembered in a folder of `runs`.

    Raises:
        ValueError: no such data or split, or without the words or labels that the recipe needs.
    """
    seed = recipe.match.seed
    if tuple(uncut) == (LABELS,):
        images = Images(recipe.data, split, preprocess, recipe.limit, seed)
        return Labels(
            uncut,
            recipe,
            images,
            recipe.answers(uncut[LABELS], preprocess, len(images), runs) if runs else None,
        )
    data = TextImages(open_source(recipe.data, split, recipe.limit), preprocess, seed)
    for task, known in ((CAPTIONS, data.words[0].captions), (QUESTIONS, data.words[0].questions)):
        if task in uncut and not known:
            raise ValueError(
                f"the codec is for {recipe.task}, and {recipe.data!r} has no words for {task}"
            )
    return Words(uncut, recipe, data)


def _seen(models: Mapping[str, Any], inputs: torch.Tensor) -> torch.Tensor:
    """The last states (B, N, D) of the one vision tower that all models have."""
    tower = next(iter(models.values())).vision_model
    seen: torch.Tensor = tower(pixel_values=inputs).last_hidden_state
    return seen


def _logits(models: Mapping[str, Any], seen: torch.Tensor, texts: Texts) -> torch.Tensor:
    """Logits (T, W - 1, V) of each next word, by the model of the texts' task."""
    model = models[texts.task]
    return word_logits(model, word_states(model, context_of(model, seen, texts), texts))
