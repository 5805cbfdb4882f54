"""The law of the cut: tail(head(x)) is the model, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
    BlipModel,
    BlipVisionModel,
    CLIPConfig,
    CLIPModel,
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

from codec.model.split import blocks, n_blocks, share_tower, split, token_grid
from codec.model.split_text import decoder_logits

FAMILIES = {
    "vit": (ViTConfig, ViTForImageClassification, ViTModel),
    "deit": (DeiTConfig, DeiTForImageClassification, DeiTModel),
    "dinov2": (Dinov2Config, Dinov2ForImageClassification, Dinov2Model),
}
BLOCKS = 3


def small(family: str, plain: bool, **changes: Any) -> torch.nn.Module:
    config, task, base = FAMILIES[family]
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    made = config(**sizes, image_size=32, patch_size=8, num_labels=5, **changes)
    return (base if plain else task)(made).eval()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("k", range(BLOCKS + 1))
@pytest.mark.parametrize("plain", [False, True], ids=["classifier", "plain"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_tail_of_head_is_the_model_bit_for_bit(
    family: str, plain: bool, k: int, attention: str
) -> None:
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


@pytest.mark.long
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
    assert len(list(head.parameters())) + len(list(tail.parameters())) == len(
        list(model.parameters())
    )


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
def test_the_tails_hidden_states_are_the_models_and_neither_has_one_twice(
    family: str, plain: bool
) -> None:
    model, x = small(family, plain), torch.randn(2, 3, 32, 32)
    head, tail = split(model, 1)
    # the tail first: whoever comes second must not add to it
    after = tail(head(x), output_hidden_states=True).hidden_states
    whole = model(x, output_hidden_states=True).hidden_states
    assert len(whole) == BLOCKS + 1
    assert len(after) == BLOCKS
    assert all(torch.equal(a, b) for a, b in zip(after, whole[1:], strict=True))


def test_the_tail_follows_a_change_of_dtype() -> None:
    model = small("vit", plain=False).to(torch.bfloat16)
    head, tail = split(model, 1)
    assert (
        tail(head(torch.randn(1, 3, 32, 32, dtype=torch.bfloat16))).logits.dtype == torch.bfloat16
    )


@pytest.mark.parametrize("k", [-1, BLOCKS + 1, 1.0, True, "1"])
def test_a_cut_outside_the_model_is_refused(k: Any) -> None:
    with pytest.raises(ValueError, match=r"not an integer in 0\.\.3"):
        split(small("vit", plain=True), k)


def test_a_model_of_another_family_is_refused_by_name() -> None:
    config = BertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        vocab_size=10,
    )
    with pytest.raises(ValueError, match="cannot split BertModel"):
        split(BertModel(config), 0)
    with pytest.raises(ValueError, match="cannot split Linear"):
        split(torch.nn.Linear(2, 2), 0)


def test_the_token_grid_counts_special_tokens() -> None:
    assert token_grid(small("vit", plain=False)) == (1, 4, 32)
    assert token_grid(small("deit", plain=True)) == (2, 4, 32)


# ---- BLIP

BLIP = {
    "captions": BlipForConditionalGeneration,
    "answers": BlipForQuestionAnswering,
    "retrieval": BlipForImageTextRetrieval,
    "plain": BlipModel,
}
WORDS = torch.tensor([[40, 5, 6, 7, 8, 3], [40, 9, 10, 3, 0, 0]])
"""Two texts of a vocabulary of 41: start (40), words, end (3), padding (0)."""


def blip(kind: str, seed: int = 0, **changes: Any) -> Any:
    """A random BLIP model whose texts depend on the picture: 16 tokens and CLS, 32 wide, 3 vision
    blocks, 2 text layers.
    """
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    vision = sizes | {
        "num_hidden_layers": BLOCKS,
        "image_size": 32,
        "patch_size": 8,
        "initializer_range": 0.2,
    }
    special = {"bos_token_id": 40, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = (
        sizes
        | special
        | {
            "num_hidden_layers": 2,
            "vocab_size": 41,
            "max_position_embeddings": 32,
            "initializer_range": 0.4,
        }
    )
    config = BlipConfig(
        text_config=text,
        vision_config=vision,
        image_text_hidden_size=16,
        initializer_range=0.4,
        **changes,
    )
    return BLIP[kind](config).eval()


def asked(kind: str) -> dict[str, torch.Tensor]:
    """What a forward of each kind takes beside the picture."""
    inputs = {"input_ids": WORDS, "attention_mask": (WORDS != 0).long()}
    if kind == "answers":
        inputs |= {"decoder_input_ids": WORDS.flip(0)[:, :4], "labels": WORDS.flip(0)[:, :4]}
    return inputs | ({"labels": WORDS} if kind == "captions" else {})


@pytest.mark.parametrize("by_name", [False, True], ids=["by place", "by name"])
@pytest.mark.parametrize("k", range(BLOCKS + 1))
@pytest.mark.parametrize("kind", BLIP)
@torch.no_grad()
def test_a_cut_blip_gives_the_models_outputs_bit_for_bit(kind: str, k: int, by_name: bool) -> None:
    model, x = blip(kind), torch.randn(2, 3, 32, 32)
    whole = model(pixel_values=x, **asked(kind))
    head, tail = split(model, k)
    tokens = head(x)
    assert tokens.shape == (2, token_grid(model).n_tokens, token_grid(model).width) == (2, 17, 32)
    first = "pixel_values" if kind == "captions" else "input_ids"  # the parameter that comes first
    inputs = {"pixel_values": tokens} | asked(kind)
    answer = tail(**inputs) if by_name else tail(inputs.pop(first), **inputs)
    assert type(tail) is type(model)
    assert type(answer) is type(whole)
    assert answer.keys() == whole.keys()
    for key, value in whole.items():
        assert not torch.is_tensor(value) or torch.equal(answer[key], value), key
    if kind in ("captions", "answers"):
        assert torch.equal(
            decoder_logits(tail, tokens, **asked(kind)), decoder_logits(model, x, **asked(kind))
        )
        assert answer.loss is not None
    assert torch.equal(model(pixel_values=x, **asked(kind))[0], whole[0]), (
        "splitting changed the model itself"
    )


GENERATE: dict[str, Callable[[str], dict[str, Any]]] = {
    "greedy": lambda kind: {},
    "beam": lambda kind: {"num_beams": 3},
    "prompt": lambda kind: (
        {"num_beams": 2} | ({"input_ids": WORDS[:, :4].clone()} if kind == "captions" else {})
    ),
    "padded": lambda kind: {"input_ids": WORDS.clone(), "attention_mask": (WORDS != 0).long()},
}


@pytest.mark.parametrize("how", GENERATE)
@pytest.mark.parametrize("k", range(BLOCKS + 1))
@pytest.mark.parametrize("kind", ["captions", "answers"])
@torch.no_grad()
def test_a_cut_blip_generates_the_models_words(kind: str, k: int, how: str) -> None:
    model, x = blip(kind), torch.randn(2, 3, 32, 32)
    head, tail = split(model, k)

    def generate(part: Any, values: torch.Tensor) -> Any:
        question = {} if kind == "captions" else {"input_ids": WORDS[:, :4].clone()}
        settings = {"max_new_tokens": 9, "output_logits": True, "return_dict_in_generate": True}
        return part.generate(pixel_values=values, **(question | GENERATE[how](kind) | settings))

    whole, after = generate(model, x), generate(tail, head(x))
    assert torch.equal(after.sequences, whole.sequences)
    assert len(whole.logits) > 3, "the test needs texts of some length"
    assert all(torch.equal(a, b) for a, b in zip(after.logits, whole.logits, strict=True))
    other = generate(tail, head(-x))
    assert not torch.equal(other.logits[0], whole.logits[0]), (
        "the test needs texts that depend on the picture"
    )


@torch.no_grad()
def test_a_wrong_head_does_not_pass_blips_law() -> None:
    model, x = blip("captions"), torch.randn(2, 3, 32, 32)
    tokens = split(model, 1).head(x)
    assert not torch.equal(split(model, 2).tail(tokens, WORDS).logits, model(x, WORDS).logits)


@torch.no_grad()
def test_blips_helper_methods_work_on_the_tail() -> None:
    model, x = blip("plain"), torch.randn(2, 3, 32, 32)
    head, tail = split(model, 2)
    features = tail.get_image_features(head(x)).pooler_output
    assert torch.equal(features, model.get_image_features(x).pooler_output)
    assert torch.equal(
        tail.get_text_features(WORDS).pooler_output, model.get_text_features(WORDS).pooler_output
    )
    assert torch.equal(
        tail.get_multimodal_features(WORDS, head(x)), model.get_multimodal_features(WORDS, x)
    )
    for kind in ("captions", "answers", "retrieval"):
        model = blip(kind)
        tail = split(model, 1).tail
        assert tail.get_input_embeddings() is model.get_input_embeddings()
        assert tail.config is model.config
    model, inputs = blip("retrieval"), {"input_ids": WORDS, "use_itm_head": False}
    head, tail = split(model, 1)
    assert torch.equal(
        tail(pixel_values=head(x), **inputs).itm_score, model(pixel_values=x, **inputs).itm_score
    )


@torch.no_grad()
def test_the_vision_tower_alone_can_be_cut() -> None:
    model, x = (
        BlipVisionModel(blip("captions").config.vision_config).eval(),
        torch.randn(2, 3, 32, 32),
    )
    head, tail = split(model, 2)
    assert torch.equal(tail(head(x)).last_hidden_state, model(x).last_hidden_state)


@pytest.mark.parametrize("kind", ["captions", "answers"])
@torch.no_grad()
def test_a_blip_tails_hidden_states_are_the_models_and_neither_has_one_twice(kind: str) -> None:
    model, x = blip(kind), torch.randn(2, 3, 32, 32)
    head, tail = split(model, 1)
    after = tail(pixel_values=head(x), output_hidden_states=True, **asked(kind)).hidden_states
    whole = model(pixel_values=x, output_hidden_states=True, **asked(kind)).hidden_states
    assert len(whole) == BLOCKS + 1
    assert len(after) == BLOCKS
    assert all(torch.equal(a, b) for a, b in zip(after, whole[1:], strict=True))


@pytest.mark.parametrize("kind", BLIP)
def test_the_parts_of_a_blip_share_its_parameters_and_hold_each_block_once(kind: str) -> None:
    model = blip(kind)
    head, tail = split(model, 1)
    ours = {id(p) for part in (head, tail) for p in part.parameters()}
    assert ours == {id(p) for p in model.parameters()}
    assert len(list(head.parameters())) + len(list(tail.parameters())) == len(
        list(model.parameters())
    )
    assert len(blocks(tail)) == BLOCKS - 1
    assert all(a is b for a, b in zip(blocks(tail), blocks(model)[1:], strict=True))


def test_a_blip_tail_takes_tokens_of_another_dtype_as_the_model_takes_pixels() -> None:
    model = blip("captions").to(torch.bfloat16)
    head, tail = split(model, 1)
    tokens = head(torch.randn(2, 3, 32, 32))
    assert tokens.dtype == torch.bfloat16
    assert torch.equal(tail(tokens.float(), WORDS).logits, tail(tokens, WORDS).logits)


@pytest.mark.parametrize("kind", BLIP)
@pytest.mark.parametrize("k", [-1, BLOCKS + 1, 1.0, True, "1"])
def test_a_cut_outside_blips_vision_tower_is_refused(kind: str, k: Any) -> None:
    with pytest.raises(ValueError, match=r"not an integer in 0\.\.3"):
        split(blip(kind), k)


def test_a_tower_that_only_looks_like_blips_is_refused() -> None:
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 16,
    }
    config = CLIPConfig(
        vision_config=sizes | {"image_size": 16, "patch_size": 8},
        text_config=sizes | {"vocab_size": 9},
    )
    with pytest.raises(
        ValueError, match="cannot split CLIPModel: expected a ViT, DeiT, DINOv2 or BLIP model"
    ):
        split(CLIPModel(config), 0)
    with pytest.raises(ValueError, match="cannot split BlipTextModel"):
        token_grid(blip("answers").text_encoder)


@torch.no_grad()
def test_a_shared_tower_is_one_object_and_changes_no_output() -> None:
    captions, answers, x = blip("captions"), blip("answers", seed=1), torch.randn(2, 3, 32, 32)
    answers.vision_model.load_state_dict(captions.vision_model.state_dict())
    before = decoder_logits(answers, x, **asked("answers"))
    share_tower([captions, answers])
    assert answers.vision_model is captions.vision_model
    tokens = split(captions, 2).head(x)
    assert torch.equal(decoder_logits(split(answers, 2).tail, tokens, **asked("answers")), before)


@pytest.mark.parametrize("change", ["weights", "heads", "depth", "family"])
def test_towers_that_differ_are_not_shared(change: str) -> None:
    first, other = blip("captions"), blip("answers")
    if change == "depth":
        other.vision_model.encoder.layers.append(other.vision_model.encoder.layers[0])
    elif change == "family":
        with pytest.raises(ValueError, match="cannot split BertModel"):
            share_tower(
                [
                    first,
                    BertModel(
                        BertConfig(
                            **{"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
                        )
                    ),
                ]
            )
        return
    else:
        other.vision_model.load_state_dict(first.vision_model.state_dict())
        if change == "heads":
            other.vision_model.config.num_attention_heads = 4
        else:
            other.vision_model.encoder.layers[2].mlp.fc1.weight.data[3, 4] += 1e-3
    with pytest.raises(
        ValueError,
        match="BlipForConditionalGeneration and BlipForQuestionAnswering do not share one",
    ):
        share_tower([first, other])


def full_size_blip(kind: str) -> Any:
    """The configuration of `Salesforce/blip-image-captioning-base` or `blip-vqa-base`, with random
    weights made in a third of the time.
    """
    torch.manual_seed(0)
    with torch.device("meta"):
        model: Any = BLIP[kind](BlipConfig(text_config={"num_attention_heads": 12})).eval()
    model = model.to_empty(device="cpu")
    model.tie_weights()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(float(p.ndim == 1), 0.02)  # norms near one
    for name, buffer in model.named_buffers():
        assert name.endswith("position_ids")
        buffer.copy_(torch.arange(buffer.shape[1])[None])
    return model


@pytest.mark.long
@pytest.mark.parametrize(("kind", "k"), [("captions", 4), ("answers", 6)])
@torch.no_grad()
def test_a_full_size_blip_splits_bit_for_bit(kind: str, k: int) -> None:
    """Takes some 7 seconds and 2.4 GB."""
    model = full_size_blip(kind)
    assert (token_grid(model), n_blocks(model)) == ((1, 24, 768), 12)
    x, question = torch.randn(1, 3, 384, 384), torch.tensor([[101, 2129, 2116, 102]])
    head, tail = split(model, k)
    tokens = head(x)
    text = {"input_ids": question} | (
        {"decoder_input_ids": question[:, :2]} if kind == "answers" else {}
    )
    logits = decoder_logits(model, x, **text)
    assert torch.isfinite(logits).all()
    assert torch.equal(decoder_logits(tail, tokens, **text), logits)
    words = [
        part.generate(pixel_values=v, input_ids=question.clone(), max_new_tokens=3)
        for part, v in ((model, x), (tail, tokens))
    ]
    assert torch.equal(*words)
