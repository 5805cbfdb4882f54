"""tokens, questions -> answers: a question answerer looks once at a picture, however many questions
it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from codec.model.split import Split, n_blocks, split
from codec.tasks.generate import answer


def may_have_several(config: Any) -> bool:
    """Whether a classifier tells of each label by itself whether a picture has it, rather than one
    label for each picture.
    """
    return config.problem_type == "multi_label_classification" or config.num_labels == 1


def cut_at_the_end(model: Any) -> Split:
    """A task model, or the tail of one, cut behind its last vision block: `head` is all that looks
    at the picture, `tail` all that answers. Errors as `split`.
    """
    return split(model, n_blocks(model))


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
    head, tail = cut_at_the_end(model)
    rows = [row for row, asked in enumerate(questions) for _ in asked]
    return answer(
        tail, tokenizer, head(inputs)[rows], [ids for asked in questions for ids in asked], limits
    )
