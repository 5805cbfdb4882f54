"""BLIP's parts asked step by step say what the whole model says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import BlipConfig

from codec.model.split import split
from codec.model.split_text import decoder_logits, question_states, word_logits, word_states
from codec.model.split_tower import vision_states
from codec.tasks import CAPTIONS, QUESTIONS
from tests.tiny_blip import MODELS

SIZES = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}


def blip(task: str) -> Any:
    torch.manual_seed(0)
    text = SIZES | {"num_hidden_layers": 2, "vocab_size": 40, "max_position_embeddings": 32}
    text |= {"encoder_hidden_size": 32, "bos_token_id": 38, "eos_token_id": 3, "sep_token_id": 3}
    vision = SIZES | {"num_hidden_layers": 3, "image_size": 32, "patch_size": 8}
    return MODELS[task](BlipConfig(text_config=text, vision_config=vision)).eval()


@pytest.mark.parametrize("task", [CAPTIONS, QUESTIONS])
@torch.no_grad()
def test_logits_step_by_step_are_the_models(task: str) -> None:
    model, x = blip(task), torch.randn(2, 3, 32, 32)
    ids = torch.tensor([[38, 5, 6, 7], [38, 9, 8, 3]])
    question, mask = torch.tensor([[2, 11, 12, 3]] * 2), torch.ones(2, 4, dtype=torch.int64)
    head, tail = split(model, 1)
    for part, inputs in ((model, x), (tail, head(x))):
        context = vision_states(part, inputs)
        if task == QUESTIONS:
            context = question_states(part, context, question, mask)
        states = word_states(part, context, None, ids, torch.ones_like(ids))
        asked = {"input_ids": ids}
        if task == QUESTIONS:
            asked = {"input_ids": question, "decoder_input_ids": ids}
        torch.testing.assert_close(word_logits(part, states), decoder_logits(model, x, **asked))


@torch.no_grad()
def test_an_answer_does_not_see_how_far_its_question_is_padded() -> None:
    model, x = blip(QUESTIONS), torch.randn(1, 3, 32, 32)
    ids, vision = torch.tensor([[38, 5, 6]]), vision_states(model, x)
    said = []
    for padding in (0, 3):
        question = torch.tensor([[2, 11, 12, 3] + [0] * padding])
        mask = torch.tensor([[1] * 4 + [0] * padding])
        context = question_states(model, vision, question, mask)
        said.append(word_states(model, context, mask, ids, torch.ones_like(ids)))
    torch.testing.assert_close(*said)
