"""vision states, or vision states and a question -> logits word by word: BLIP's text parts, asked
step by step.

One of the files that know the insides of `transformers`, with `split`, `split_names` and
`split_tower`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def question_states(
    model: Any, vision: torch.Tensor, question: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Last states (T, Q, D) of the encoder of questions, which looks at the picture.

    Args:
        model: a `BlipForQuestionAnswering`, or its tail.
        vision: (T, N, D), vision states of each question's picture.
        question, mask: (T, Q) int64, ids of the question's tokens, and which are no padding.
    """
    read = {"input_ids": question, "attention_mask": mask}
    states: torch.Tensor = model.text_encoder(
        **read, encoder_hidden_states=vision
    ).last_hidden_state
    return states


def word_states(
    model: Any,
    context: torch.Tensor,
    context_mask: torch.Tensor | None,
    ids: torch.Tensor,
    mask: torch.Tensor,
) -> torch.Tensor:
    """Last states (T, W, D) of the decoder of texts, word by word.

    Where contexts are padded the decoder passes over the padding, so that a text depends on its own
    context alone.

    Args:
        model: a `BlipForConditionalGeneration` or `BlipForQuestionAnswering`, or the tail of one.
        context: what the decoder looks at, vision states (T, N, D) or question states (T, Q, D).
        context_mask: (T, Q) int64, which places of the context are no padding; None for all.
        ids, mask: (T, W) int64, the texts and which of their places are words.
    """
    decoder = model.text_decoder.bert
    handles = [
        layer.crossattention.self.register_forward_pre_hook(_with_mask, with_kwargs=True)
        for layer in decoder.encoder.layer
    ]
    try:
        states: torch.Tensor = decoder(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=context,
            encoder_attention_mask=context_mask,
            is_decoder=True,
        ).last_hidden_state
    finally:
        for handle in handles:
            handle.remove()
    return states


def word_logits(model: Any, states: torch.Tensor) -> torch.Tensor:
    """States (..., D) as `word_states` gives them -> logits (..., V) float32 of the next word."""
    logits: torch.Tensor = model.text_decoder.cls(states)
    return logits.float()


def decoder_logits(model: nn.Module, pixel_values: torch.Tensor, **inputs: Any) -> torch.Tensor:
    """Logits (B, T, V) of BLIP's text decoder in `model(pixel_values=..., **inputs)`, also where
    that keeps them to itself, as in VQA.

    Args:
        model: a `BlipForConditionalGeneration`, a `BlipForQuestionAnswering`, or the tail of one.
        pixel_values: (B, 3, S, S), for a tail tokens (B, N, D).
        inputs: what the model's forward takes; for VQA `input_ids` (B, Q) of the question and
            `decoder_input_ids` (B, T) of the answer.
    """
    kept: list[torch.Tensor] = []
    decoder: Any = model.text_decoder
    handle = decoder.register_forward_hook(
        lambda _module, _args, output: kept.append(output.logits)
    )
    try:
        model(pixel_values=pixel_values, **inputs)
    finally:
        handle.remove()
    return kept[0]


def _with_mask(
    attention: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Gives a cross-attention its mask by the name it looks for: BLIP's, in transformers 5, is
    given it by another, and drops it.
    """
    return args, kwargs | {"encoder_attention_mask": kwargs["attention_mask"]}
