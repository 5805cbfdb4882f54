"""states -> what they say of things: losses by which a small BLIP learns to see scenes before, and
while, it learns to speak of them.

Answers alone teach it what things look like, and in 180,000 scenes nothing of where they are:
whether "the ball is left of the cube" holds depends on two places and a word, and on none of them
alone, so there is no slope to follow. Told what each noun names, and where that is, it learns to
compare places as well. The linear maps are left behind.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.split_tower import vision_states
from training.data.images import normalise
from training.data.texts import SceneSource, TextImages
from training.engine.words import TextBatch
from training.scenes.marks import N_MARKS, described, named, thing_marks


class SeeTask(nn.Module):
    """The first stage: every patch says what thing has its centre there, and where that is.

    It takes a third of a step of the second stage, and a tower that sees things learns to speak of
    them sooner.
    """

    def __init__(self, tower: nn.Module, data: TextImages, preprocess: Preprocess) -> None:
        super().__init__()
        assert data.marks is not None
        self.tower, self.preprocess, self.wanted = tower, preprocess, data.marks
        self.marks = nn.Linear(tower.config.hidden_size, N_MARKS)  # type: ignore[union-attr,arg-type]

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        return {
            "loss": self.loss(
                vision_states(self.tower, normalise(pixels, self.preprocess)),
                labels,
            )
        }

    def loss(self, seen: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Binary cross-entropy of the marks of pictures `labels`, in nats a picture."""
        wanted = self.wanted[labels.cpu()].to(seen.device, torch.float32)
        said = self.marks(seen[:, -wanted.shape[1] :]).float()
        return F.binary_cross_entropy_with_logits(said, wanted, reduction="sum") / len(seen)


class NameTask(nn.Module):
    """In the second stage: the state of a noun that fits one thing only says what that is, and
    where.

    In a question it is the encoder's state, which sees the whole question; in a caption the
    decoder's, which sees what is written.
    """

    def __init__(self, text_size: int, data: TextImages, tokenizer: Any) -> None:
        super().__init__()
        assert isinstance(data.source, SceneSource)
        self.source, self.tokenizer = data.source, tokenizer
        self.marks = nn.Linear(text_size, N_MARKS)

    def forward(
        self, states: torch.Tensor, texts: TextBatch, labels: torch.Tensor
    ) -> tuple[torch.Tensor, int]:
        """States (T, Q, D) of questions, or (T, W, D) of captions, of pictures `labels` -> binary
        cross-entropy of all marks in nats, and the number of nouns.
        """
        written, find = (
            (texts.ids, described) if texts.question is None else (texts.question, named)
        )
        indices = labels[texts.place].tolist()
        places = [
            (row, 1 + word, thing_marks(thing))  # a word that begins the text is before
            for row, ids in enumerate(written.tolist())
            for word, thing in find(
                self.tokenizer.convert_ids_to_tokens(ids)[1:], self.source.scene(indices[row])
            )
        ]
        if not places:
            return 0 * self.marks(states[:, 0]).sum(), 0
        rows, columns, wanted = zip(*places, strict=True)
        said = self.marks(states[list(rows), list(columns)]).float()
        return F.binary_cross_entropy_with_logits(
            said, torch.stack(wanted).to(said), reduction="sum"
        ), len(places)
