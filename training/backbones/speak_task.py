"""pictures with texts -> loss: a captioner or a question answerer in training, behind a vision
tower that stays as it is.

What the frozen tower makes of the pictures as they are is computed once and kept on disk: a step
pays for the text parts alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.asking import cut_at_the_end
from codec.model.networks import digest
from codec.model.split import token_grid
from codec.model.split_tower import vision_states
from codec.tasks import CAPTIONS
from codec.tasks.judge import score
from training.backbones.blip import SpeakRecipe
from training.data.images import batches, normalise
from training.data.randomness import uniform
from training.data.remembered import Remembered
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

SCORE_NAMES = {CAPTIONS: "BLEU-4"}


class FrozenTower:
    """A tower's tokens of the pictures of a data set, remembered in `folder`; None for nowhere."""

    def __init__(
        self, tower: Any, data: TextImages, preprocess: Preprocess, folder: Path | None
    ) -> None:
        self.data, self.preprocess = data, preprocess
        head, grid = cut_at_the_end(tower).head.eval(), token_grid(tower, preprocess.size)
        about = f"{digest(head.state_dict())} {data.digest} {preprocess}" if folder else ""
        self._tokens = Remembered(head, (grid.n_tokens, grid.width), folder, len(data), about)

    def __call__(self, pixels: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) uint8 of the pictures at `indices` (B,) -> (B, N, D) float32."""
        return self._tokens(normalise(pixels, self.preprocess), indices)


class SpeakTask(nn.Module):
    """Captions, or answers, of a batch of pictures, word by word -> loss, for one model.

    Args:
        task: of the model, `CAPTIONS` or `QUESTIONS`.
        model: with a tower that wants no gradients.
        tokens: what the tower makes of the pictures that are trained on, and `held_out`: of those
            that epochs are compared on.
    """

    def __init__(
        self,
        task: str,
        model: Any,
        tokenizer: Any,
        tokens: FrozenTower,
        held_out: FrozenTower,
        recipe: SpeakRecipe,
    ) -> None:
        super().__init__()
        self.task, self.model, self.tokenizer, self.recipe = task, model, tokenizer, recipe
        self.tokens, self.held_out = tokens, held_out
        # in a list: its parameters are the model's, registered once
        self._tail = [cut_at_the_end(model).tail]

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        tail: Any = self._tail[0]
        tokens = some_tokens(self.tokens(pixels, labels), keys, self.recipe.token_share)
        seen = vision_states(tail, tokens)
        texts = next(
            texts
            for texts in texts_of(
                self.tokenizer,
                self.model.config.text_config,
                self.tokens.data,
                labels,
                keys,
                self.recipe.n_questions,
            )
            if texts.task == self.task
        )
        states = states_of(self.model, context_of(self.model, seen, texts), texts)
        logits = next_word_logits(self.model, states)
        loss, right = next_word(logits, texts, self.recipe.label_smoothing)
        return {
            "loss": loss / texts.words.sum(),
            "texts_right": right / len(texts.ids),
        }

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """The score on the held-out pictures, in percent; computed as in training."""
        self.eval()
        device = next(self.parameters()).device.type
        with self.recipe.schedules[self.task].autocast(device):
            found = spoken_score(self.task, self.model, self.tokenizer, self.held_out)
        self.train()
        return {SCORE_NAMES.get(self.task, "answers right"): found}


def some_tokens(tokens: torch.Tensor, keys: torch.Tensor, share: float) -> torch.Tensor:
    """A share of the patch tokens of each picture (B, N, D), drawn by its key, behind the first
    token.
    """
    n_patches = tokens.shape[1] - 1
    n_kept = max(1, round(share * n_patches))
    if n_kept == n_patches:
        return tokens
    drawn = 1 + uniform(keys, n_patches, stream=3).argsort(1)[:, :n_kept]
    places = torch.cat([torch.zeros_like(drawn[:, :1]), drawn], dim=1)
    return tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))


@torch.inference_mode()
def spoken_score(
    task: str, model: Any, tokenizer: Any, tower: FrozenTower, size: int = 100
) -> float:
    """The score of what a model says, greedily, of all pictures of a data set that have words for
    its task, in percent: BLEU-4 of captions, accuracy of answers.
    """
    tail, said = cut_at_the_end(model).tail, list[str]()
    device = next(model.parameters()).device
    for pixels, indices in batches(tower.data, size):
        tokens = tower(pixels.to(device), indices)
        words = [tower.data.words[index] for index in indices.tolist()]
        said += said_of(task, tail, tokenizer, tokens, words)
    return score(task, said, truth_of(task, tower.data.words))
