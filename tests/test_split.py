"""The law of the cut: tail(head(x)) is the model, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    DeiTConfig,
    DeiTForImageClassification,
    DeiTModel,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from codec.split import n_blocks, split, token_grid

FAMILIES = {
    "vit": (ViTConfig, ViTForImageClassification, ViTModel),
    "deit": (DeiTConfig, DeiTForImageClassification, DeiTModel),
    "dinov2": (Dinov2Config, Dinov2ForImageClassification, Dinov2Model),
}
BLOCKS = 3


def small(family: str, plain: bool, **changes: Any) -> torch.nn.Module:
    config, task, base = FAMILIES[family]
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": BLOCKS, "num_attention_heads": 2, "intermediate_size": 64}
    made = config(**sizes, image_size=32, patch_size=8, num_labels=5, **changes)
    return (base if plain else task)(made).eval()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("k", range(BLOCKS + 1))
@pytest.mark.parametrize("plain", [False, True], ids=["classifier", "plain"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_tail_of_head_is_the_model_bit_for_bit(family: str, plain: bool, k: int, attention: str) -> None:
    model = small(family, plain, attn_implementation=attention)
    x = torch.randn(2, 3, 32, 32)
    whole = model(x)
    head, tail = split(model, k)
    tokens = head(x)
    grid = token_grid(model)
    assert tokens.shape == (2, grid.n_tokens, grid.width)
    answer = tail(tokens)
    assert type(answer) is type(whole)
    assert torch.equal(answer[0], whole[0])
    assert torch.equal(model(x)[0], whole[0]), "splitting changed the model itself"


@torch.no_grad()
def test_full_size_vit_splits_bit_for_bit() -> None:
    torch.manual_seed(0)
    model = ViTForImageClassification(ViTConfig()).eval()
    assert (model.config.hidden_size, n_blocks(model)) == (768, 12)
    x = torch.randn(1, 3, 224, 224)
    head, tail = split(model, 5)
    assert torch.equal(tail(head(x)).logits, model(x).logits)


@torch.no_grad()
def test_a_wrong_head_does_not_pass_the_law() -> None:
    model = small("vit", plain=False)
    x = torch.randn(2, 3, 32, 32)
    tokens = split(model, 1).head(x)
    assert not torch.equal(split(model, 2).tail(tokens).logits, model(x).logits)


def test_head_and_tail_share_the_parameters_and_hold_each_block_once() -> None:
    model = small("deit", plain=False)
    head, tail = split(model, 1)
    ours = {id(p) for part in (head, tail) for p in part.parameters()}
    assert ours == {id(p) for p in model.parameters()}
    assert len(list(head.parameters())) + len(list(tail.parameters())) == len(list(model.parameters()))


@torch.no_grad()
def test_the_tail_keeps_the_hugging_face_interface() -> None:
    model = small("vit", plain=False)
    x, labels = torch.randn(2, 3, 32, 32), torch.tensor([1, 3])
    head, tail = split(model, 2)
    assert tail.config is model.config
    assert torch.equal(tail(head(x), labels=labels).loss, model(x, labels=labels).loss)
    assert torch.equal(tail(head(x), return_dict=False)[0], model(x).logits)


@pytest.mark.parametrize("plain", [False, True], ids=["classifier", "plain"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_tails_hidden_states_are_the_models_and_neither_has_one_twice(family: str, plain: bool) -> None:
    model, x = small(family, plain), torch.randn(2, 3, 32, 32)
    head, tail = split(model, 1)
    after = tail(head(x), output_hidden_states=True).hidden_states  # the tail first: whoever comes second must not add to it
    whole = model(x, output_hidden_states=True).hidden_states
    assert len(whole) == BLOCKS + 1
    assert len(after) == BLOCKS
    assert all(torch.equal(a, b) for a, b in zip(after, whole[1:], strict=True))


def test_the_tail_follows_a_change_of_dtype() -> None:
    model = small("vit", plain=False).to(torch.bfloat16)
    head, tail = split(model, 1)
    assert tail(head(torch.randn(1, 3, 32, 32, dtype=torch.bfloat16))).logits.dtype == torch.bfloat16


@pytest.mark.parametrize("k", [-1, BLOCKS + 1, 1.0, True, "1"])
def test_a_cut_outside_the_model_is_refused(k: Any) -> None:
    with pytest.raises(ValueError, match=r"not an integer in 0\.\.3"):
        split(small("vit", plain=True), k)


def test_a_model_of_another_family_is_refused_by_name() -> None:
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=10)
    with pytest.raises(ValueError, match="cannot split BertModel"):
        split(BertModel(config), 0)
    with pytest.raises(ValueError, match="cannot split Linear"):
        split(torch.nn.Linear(2, 2), 0)


def test_the_token_grid_counts_special_tokens() -> None:
    assert token_grid(small("vit", plain=False)) == (1, 4, 32)
    assert token_grid(small("deit", plain=True)) == (2, 4, 32)
