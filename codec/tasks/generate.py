"""tokens, or tokens and a question -> words: BLIP's tails asked for text, with what they cannot be
asked refused by reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

MAX_QUESTION_CHARACTERS = 1000
"""A longer question is refused before it is cut into words."""
MAX_BEAMS = 16
CAPTION_TOKENS, ANSWER_TOKENS = 64, 16
"""Where a text is cut off if the caller names no limit."""
_USUAL = {"do_sample": False, "use_cache": True}
"""Of generation: no word is drawn by chance, and what the words before gave is kept: 8 times as
fast, and off in models a trainer saved.
"""


def caption(tail: Any, tokenizer: Any, tokens: torch.Tensor, limits: dict[str, int]) -> list[str]:
    """Tokens (B, N, D) at the cut of a `BlipForConditionalGeneration` -> a caption each, within
    `limits`.
    """
    return _texts(tokenizer, tail.generate(pixel_values=tokens, **_USUAL, **limits))


def answer(
    tail: Any,
    tokenizer: Any,
    tokens: torch.Tensor,
    questions: Sequence[Sequence[int]],
    limits: dict[str, int],
) -> list[str]:
    """Tokens (B, N, D) at the cut of a `BlipForQuestionAnswering` and a question each, as
    `question_ids` gives it -> an answer each.

    Questions of one length go together, others apart: the model's `generate` lets the decoder look
    at padding, so that a padded question may be answered otherwise than alone.
    """
    answers = [""] * len(questions)
    for length in sorted({len(ids) for ids in questions}):
        places = [i for i, ids in enumerate(questions) if len(ids) == length]
        together = torch.tensor([list(questions[i]) for i in places], device=tokens.device)
        mask = torch.ones_like(together)
        ids = tail.generate(
            input_ids=together, pixel_values=tokens[places], attention_mask=mask, **_USUAL, **limits
        )
        for i, text in zip(places, _texts(tokenizer, ids), strict=True):
            answers[i] = text
    return answers


def question_ids(tail: Any, tokenizer: Any, question: str) -> list[int]:
    """A question -> the ids of its tokens, as BLIP's processor gives them.

    Raises:
        ValueError: not a text, empty, longer than the model reads, or without a word that the
            vocabulary has: in another script, say.
    """
    if not isinstance(question, str):
        raise ValueError(f"a question is a text, not {type(question).__name__}")
    if not question.strip():
        raise ValueError("the question is empty")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise ValueError(
            f"the question has {len(question):,} characters; at most {MAX_QUESTION_CHARACTERS:,} "
            "are taken"
        )
    ids: list[int] = tokenizer(question).input_ids
    limit = int(tail.config.text_config.max_position_embeddings)
    if len(ids) > limit:
        raise ValueError(f"the question has {len(ids)} tokens; the model reads at most {limit}")
    words = [
        token
        for token in tokenizer.convert_ids_to_tokens(ids, skip_special_tokens=True)
        if any(map(str.isalnum, token))
    ]
    if not words:  # [UNK] is a special token
        raise ValueError(
            f"the model's vocabulary has no word of the question {_short(question)}: it may be in "
            "another language or script"
        )
    return ids


def checked_limits(
    tail: Any, max_new_tokens: int | None, num_beams: int, usual: int
) -> dict[str, int]:
    """The limits of generation, as `generate` takes them; None is `usual`, or what the model has
    places for if that is less.

    Raises:
        ValueError: one is not an integer in its range; the message names the range.
    """
    # the first place is the start's
    longest = int(tail.config.text_config.max_position_embeddings) - 1
    limits = {
        "max_new_tokens": min(usual, longest) if max_new_tokens is None else max_new_tokens,
        "num_beams": num_beams,
    }
    for (name, value), most in zip(limits.items(), (longest, MAX_BEAMS), strict=True):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ValueError(f"{name} {value!r} is not an integer in 1..{most}")
    return limits


def _texts(tokenizer: Any, ids: torch.Tensor) -> list[str]:
    """Generated ids (B, T), each row with the start in its first place -> texts."""
    texts: list[str] = tokenizer.batch_decode(ids[:, 1:], skip_special_tokens=True)
    return [text.strip() for text in texts]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
