"""vision states + texts -> logits word by word: how captioners and question answerers are trained,
and asked.

A caption begins with [DEC], a question with [CLS], an answer with [DEC]; each ends with [SEP], as
they are read later (Li et al. 2022, BLIP, arXiv 2201.12086, sec. 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from codec.model.asking import answers_to
from codec.model.split_text import question_states, word_logits, word_states
from codec.tasks import CAPTIONS, QUESTIONS
from codec.tasks.generate import (
    ANSWER_TOKENS,
    CAPTION_TOKENS,
    caption,
    checked_limits,
    question_ids,
)
from training.data.texts import TextImages, Words


class TextBatch(NamedTuple):
    """Texts of one task about the pictures of a batch, as tensors of tokens.

    Attributes:
        task: whose; `CAPTIONS` or `QUESTIONS`.
        place: (T,) int64, each text's picture in the batch.
        question, question_mask: (T, Q) int64, what each text answers, and which of its places are
            words; None for captions.
        ids, mask: (T, W) int64, the texts and which of their places are words.
        unknown: the id that stands for words that the vocabulary lacks; nobody is to write it.
    """

    task: str
    place: torch.Tensor
    question: torch.Tensor | None
    question_mask: torch.Tensor | None
    ids: torch.Tensor
    mask: torch.Tensor
    unknown: int = -1

    @property
    def words(self) -> torch.Tensor:
        """Which of the places that are written, (T, W - 1), are words of the vocabulary: all places
        but the start.
        """
        return (self.mask[:, 1:] != 0) & (self.ids[:, 1:] != self.unknown)


def texts_of(
    tokenizer: Any,
    config: Any,
    data: TextImages,
    indices: torch.Tensor,
    keys: torch.Tensor,
    n_questions: int,
) -> list[TextBatch]:
    """A caption and `n_questions` questions for each picture of a batch, as far as there are any of
    it, by the pictures' keys.

    What is longer than the models' text `config` has places for is cut off there.
    """
    device, longest = indices.device, config.max_position_embeddings
    said, asked = data.some(indices, keys, n_questions)
    words = [data.words[index] for index in indices.tolist()]
    captioned, questioned = (
        torch.tensor([row for row, some in enumerate(words) if some.of(task)], device=device)
        for task in (CAPTIONS, QUESTIONS)
    )
    found = []
    if said:
        found.append(
            TextBatch(
                CAPTIONS,
                captioned,
                None,
                None,
                *_written(tokenizer, config, said, device),
            )
        )
    if asked:
        place = questioned.repeat_interleave(n_questions)
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


def said_of(
    task: str, model: Any, tokenizer: Any, inputs: torch.Tensor, words: Sequence[Words]
) -> list[str]:
    """What a model says of pictures, greedily: a caption of each one that has captions, or the
    answer to each of its questions.

    Args:
        model: of `task`, or the tail of one.
        inputs: pixel values (B, 3, S, S), for a tail tokens (B, N, D).
        words: of these pictures.
    """
    rows = [row for row, some in enumerate(words) if some.of(task)]
    if not rows:
        return []
    limits = checked_limits(model, None, 1, CAPTION_TOKENS if task == CAPTIONS else ANSWER_TOKENS)
    if task == CAPTIONS:
        return caption(model, tokenizer, inputs[rows], limits)
    ids = [[question_ids(model, tokenizer, q) for q, _ in words[row].questions] for row in rows]
    return answers_to(model, tokenizer, inputs[rows], ids, limits)


def truth_of(task: str, words: Sequence[Words]) -> list[Any]:
    """What is right to say in the place of each text of `said_of`: all reference captions, or the
    right answer.
    """
    if task == CAPTIONS:
        return [some.captions for some in words if some.captions]
    return [answer for some in words for _, answer in some.questions]


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


def next_word(
    logits: torch.Tensor, texts: TextBatch, label_smoothing: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of the words in nats, their sum, and how many of the texts are guessed as a
    whole.
    """
    wanted = texts.ids[:, 1:].masked_fill(~texts.words, -100)
    loss = F.cross_entropy(
        logits.flatten(0, 1),
        wanted.flatten(),
        ignore_index=-100,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    right = ((logits.argmax(-1) == wanted) | ~texts.words).all(1).sum()
    return loss, right


def _written(
    tokenizer: Any, config: Any, texts: list[str], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Texts that are to be written -> ids and mask (T, W), [DEC] in the place of [CLS]; and the id
    of unknown words.
    """
    limits = {"truncation": True, "max_length": config.max_position_embeddings}
    made = tokenizer(texts, padding=True, return_tensors="pt", **limits).to(device)
    # which the tokenizer of the published models does not know
    made.input_ids[:, 0] = config.bos_token_id
    return made.input_ids, made.attention_mask, tokenizer.unk_token_id
