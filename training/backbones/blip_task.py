"""pictures with texts -> loss: small BLIP models in training, and how well they answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.split_tower import vision_states, vision_tower
from codec.tasks import CAPTIONS, QUESTIONS, TASKS
from codec.tasks.judge import score
from training.backbones.blip import BlipRecipe
from training.backbones.see import NameTask, SeeTask
from training.data.images import batches, normalise
from training.data.texts import TextImages
from training.engine.words import (
    context_of,
    next_word,
    next_word_logits,
    said_of,
    states_of,
    texts_of,
    truth_of,
)

LOSS_NAMES = {CAPTIONS: "caption_loss", QUESTIONS: "answer_loss"}


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
        self.tower, self.config = vision_tower(first), first.config.text_config
        self.tokenizer, self.data, self.preprocess, self.recipe = (
            tokenizer,
            data,
            preprocess,
            recipe,
        )

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        seen = vision_states(self.tower, normalise(pixels, self.preprocess))
        sums: dict[str, list[torch.Tensor]] = {}
        n_words, n_asked, names = dict.fromkeys(TASKS, 0), 0, []
        rights: list[torch.Tensor] = []
        for texts in texts_of(
            self.tokenizer, self.config, self.data, labels, keys, self.recipe.n_questions
        ):
            model = self.models[texts.task]
            context = context_of(model, seen, texts)
            states = states_of(model, context, texts)
            loss, right = next_word(next_word_logits(model, states), texts)
            sums.setdefault(texts.task, []).append(loss)
            n_words[texts.task] += int(texts.words.sum())
            if texts.task == QUESTIONS:
                rights.append(right)
                n_asked += len(texts.ids)
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
            log["answer_accuracy"] = torch.stack(rights).sum() / n_asked
        return {"loss": torch.stack(list(losses.values())).sum()} | log


@torch.inference_mode()
def answer_accuracy(
    model: Any, tokenizer: Any, data: TextImages, preprocess: Preprocess, size: int = 250
) -> float:
    """VQA accuracy on all questions of a data set, in percent."""
    said: list[str] = []
    for pixels, indices in batches(data, size):
        words = [data.words[index] for index in indices.tolist()]
        said += said_of(QUESTIONS, model, tokenizer, normalise(pixels, preprocess), words)
    return score(QUESTIONS, said, truth_of(QUESTIONS, data.words))
