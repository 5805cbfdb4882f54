"""vision states + texts -> logits word by word: how captioners and question answerers are trained.

A caption begins with [DEC], a question with [CLS], an answer with [DEC]; each ends with [SEP], as
they are read later (Li et al. 2022, BLIP, arXiv 2201.12086, sec. 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from codec.model.split import n_blocks, split
from codec.model.split_text import question_states, word_logits, word_states
from codec.tasks import CAPTIONS, QUESTIONS
from codec.tasks.generate import answer
from training.data.texts import TextImages


class TextBatch(NamedTuple):
    """Texts of one task about the pictures of a batch, as tensors of tokens.

    Attributes:
        task: whose; `CAPTIONS` or `QUESTIONS`.
        place: (T,) int64, each text's picture in the batch.
        question, question_mask: (T, Q) int64, what each text answers, and which of its places are
            words; None for captions.
        ids, mask: (T, W) int64, the texts and which of their places are words.
    """

    task: str
    place: torch.Tensor
    question: torch.Tensor | None
    question_mask: torch.Tensor | None
    ids: torch.Tensor
    mask: torch.Tensor

    @property
    def words(self) -> torch.Tensor:
        """Which of the places that are written, (T, W - 1), are words: all but the start."""
        return self.mask[:, 1:] != 0


def texts_of(
    tokenizer: Any,
    config: Any,
    data: TextImages,
    indices: torch.Tensor,
    keys: torch.Tensor,
    n_questions: int,
) -> list[TextBatch]:
    """A caption and `n_questions` questions for each picture of a batch, as far as the data has
    them, by the pictures' keys.

    What is longer than the models' text `config` has places for is cut off there.
    """
    device, longest = indices.device, config.max_position_embeddings
    said, asked = data.some(indices, keys, n_questions)
    found = []
    if said:
        found.append(
            TextBatch(
                CAPTIONS,
                torch.arange(len(said), device=device),
                None,
                None,
                *_written(tokenizer, config, said, device),
            )
        )
    if asked:
        place = torch.arange(len(indices), device=device).repeat_interleave(n_questions)
        read = tokenizer(
            [question for question, _ in asked],
            padding=True,
            return_tensors="pt",
            truncation=True,
            max_length=longest,
        ).to(device)
        answers = _written(tokenizer, config, [answer for _, answer in asked], device)
        found.append(TextBatch(QUESTIONS, place, read.input_ids, read.attention_mask, *answers))
    return found


def context_of(model: Any, seen: torch.Tensor, texts: TextBatch) -> torch.Tensor:
    """What the decoder of `model` looks at while it writes `texts`: the picture's states (T, N, D),
    or those of the question (T, Q, D).

    Args:
        model: a `BlipForConditionalGeneration` or `BlipForQuestionAnswering`, or the tail of one.
        seen: (B, N, D), the vision states of the batch.
    """
    states = seen[texts.place]
    if texts.question is None:
        return states
    return question_states(model, states, texts.question, texts.question_mask)


def states_of(model: Any, context: torch.Tensor, texts: TextBatch) -> torch.Tensor:
    """Last states (T, W, D) of the decoder of `model` over `texts`; `context` as `context_of` gives
    it.
    """
    return word_states(model, context, texts.question_mask, texts.ids, texts.mask)


def next_word_logits(model: Any, states: torch.Tensor) -> torch.Tensor:
    """Last states (T, W, D) of a decoder -> logits (T, W - 1, V): of each word after the start."""
    return word_logits(model, states[:, :-1])


def answers_to(
    model: Any,
    tokenizer: Any,
    inputs: torch.Tensor,
    questions: Sequence[Sequence[Sequence[int]]],
    limits: dict[str, int],
) -> list[str]:
    """The answers to all questions of each picture, picture by picture; the vision tower looks once
    at a picture, however many it has.

    Args:
        model: a `BlipForQuestionAnswering`, or the tail of one.
        inputs: pixel values (B, 3, S, S), for a tail tokens (B, N, D).
        questions: of each picture, as `codec.tasks.generate.question_ids` gives them.
        limits: of generation, as `codec.tasks.generate.checked_limits` gives them.
    """
    head, tail = split(model, n_blocks(model))
    rows = [row for row, asked in enumerate(questions) for _ in asked]
    return answer(
        tail, tokenizer, head(inputs)[rows], [ids for asked in questions for ids in asked], limits
    )


def next_word(logits: torch.Tensor, texts: TextBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of the words in nats, their sum, and how many of the texts are guessed as a
    whole.
    """
    wanted = texts.ids[:, 1:].masked_fill(~texts.words, -100)
    loss = F.cross_entropy(
        logits.flatten(0, 1), wanted.flatten(), ignore_index=-100, reduction="sum"
    )
    right = ((logits.argmax(-1) == wanted) | ~texts.words).all(1).sum()
    return loss, right


def _written(
    tokenizer: Any, config: Any, texts: list[str], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts that are to be written -> ids and mask (T, W); [DEC] in the place of [CLS]."""
    limits = {"truncation": True, "max_length": config.max_position_embeddings}
    made = tokenizer(texts, padding=True, return_tensors="pt", **limits).to(device)
    # which the tokenizer of the published models does not know
    made.input_ids[:, 0] = config.bos_token_id
    return made.input_ids, made.attention_mask
