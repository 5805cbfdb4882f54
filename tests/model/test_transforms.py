"""Analysis, synthesis and adapters: shapes, what depends on what, and what is left alone at the
start.
"""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from codec.model.adapters import LowRank, add_adapters, merged
from codec.model.split import TokenGrid, share_tower, split, token_grid
from codec.model.transforms import BlocksAnalysis, StudentAnalysis, Synthesis
from tests import tiny_blip

GRID = TokenGrid(n_prefix=1, side=4, width=32)


def vit() -> ViTForImageClassification:
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    return ViTForImageClassification(
        ViTConfig(**sizes, image_size=32, patch_size=8, num_labels=4)
    ).eval()


def test_both_analyses_give_a_latent_of_the_same_shape() -> None:
    model = vit()
    x = torch.randn(2, 3, 32, 32)
    student = StudentAnalysis((8, 16, 16, 16), (1, 0, 1, 0), n_channels=5)
    blocks = BlocksAnalysis(split(model, 2).head, token_grid(model), side=2, n_channels=5)
    assert student(x).shape == blocks(x).shape == (2, 4, 5)


@pytest.mark.parametrize("encoder", ["student", "blocks"])
def test_a_fold_shares_channels_out_among_positions_and_changes_nothing_else(encoder: str) -> None:
    model, x = vit(), torch.randn(2, 3, 32, 32)
    analyses = [
        StudentAnalysis((8, 16, 16, 16), (1, 0, 1, 0), n_channels, fold)
        if encoder == "student"
        else BlocksAnalysis(split(model, 2).head, token_grid(model), 2 * fold, n_channels, fold)
        for n_channels, fold in ((12, 1), (3, 2))
    ]
    analyses[1].load_state_dict(analyses[0].state_dict())
    plain, folded = (analysis(x) for analysis in analyses)
    assert (plain.shape, folded.shape) == ((2, 4, 12), (2, 16, 3))
    assert torch.equal(folded[:, [2, 3, 6, 7]].flatten(1), plain[:, 1]), (
        "the upper right position is the four of the upper right quarter"
    )
    syntheses = [
        Synthesis(GRID, 2 * fold, n_channels, 1, 2, fold) for n_channels, fold in ((12, 1), (3, 2))
    ]
    syntheses[1].load_state_dict(syntheses[0].state_dict())
    quality = torch.tensor([0, 1])
    assert torch.equal(syntheses[1](folded, quality), syntheses[0](plain, quality))


def test_the_blocks_analysis_trains_its_map_and_not_the_backbone() -> None:
    model = vit()
    analysis = BlocksAnalysis(split(model, 2).head, token_grid(model), side=4, n_channels=5)
    trained = {name for name, p in analysis.named_parameters() if p.requires_grad}
    assert trained == {"norm.weight", "norm.bias", "project.weight", "project.bias"}


def test_synthesis_puts_each_position_where_its_tokens_are() -> None:
    torch.manual_seed(0)
    synthesis = Synthesis(GRID, side=2, n_channels=3, depth=0, n_qualities=2)
    latent = torch.zeros(1, 4, 3)
    base = synthesis(latent, torch.tensor([0]))
    latent[0, 1] = 5.0  # the upper right quarter
    moved = (synthesis(latent, torch.tensor([0])) - base).abs().sum(-1)[0, 1:].view(4, 4) > 1e-6
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[:2, 2:] = True
    assert torch.equal(moved, expected)


def test_synthesis_attends_over_all_positions() -> None:
    torch.manual_seed(0)
    synthesis = Synthesis(GRID, side=2, n_channels=3, depth=1, n_qualities=2)
    latent = torch.zeros(1, 4, 3)
    base = synthesis(latent, torch.tensor([0]))
    latent[0, 1] = 5.0
    assert ((synthesis(latent, torch.tensor([0])) - base).abs().sum(-1) > 0).all()


def test_adapters_change_nothing_until_they_are_trained() -> None:
    model = vit()
    tail = split(copy.deepcopy(model), 1).tail
    x = split(model, 1).head(torch.randn(2, 3, 32, 32))
    before = split(model, 1).tail(x).logits
    adapters = add_adapters(tail, rank=2)
    assert len(adapters) == 2 * 6
    torch.testing.assert_close(tail(x).logits, before)
    trained = [name for name, p in tail.named_parameters() if p.requires_grad]
    assert trained
    assert all(name.endswith((".up", ".down")) for name in trained)
    with torch.no_grad():
        for module in adapters.values():
            assert isinstance(module, LowRank)
            module.up.add_(0.1)
    assert not torch.allclose(tail(x).logits, before, atol=1e-3)


@pytest.mark.parametrize(
    "task", ["image-to-text", "visual-question-answering", "image-text-retrieval"]
)
def test_blips_adapters_are_in_the_vision_blocks_behind_the_cut_alone(task: str) -> None:
    model = tiny_blip.build(task)
    tail = split(copy.deepcopy(model), 1).tail
    tokens = split(model, 1).head(torch.randn(2, 3, 32, 32))
    before = tail.vision_model(tokens).last_hidden_state
    adapters = add_adapters(tail, rank=2)
    linears = ("self_attn/qkv", "self_attn/projection", "mlp/fc1", "mlp/fc2")
    assert set(adapters) == {
        f"vision_model/encoder/layers/{i}/{linear}" for i in range(2) for linear in linears
    }
    assert len([p for p in tail.parameters() if p.requires_grad]) == 2 * len(adapters)
    assert torch.equal(tail.vision_model(tokens).last_hidden_state, before)
    with torch.no_grad():
        for module in adapters.values():
            module.up.add_(0.1)
    assert not torch.allclose(tail.vision_model(tokens).last_hidden_state, before, atol=1e-3)


def test_a_tail_without_blocks_gets_no_adapters() -> None:
    for model in (vit(), tiny_blip.build("image-to-text")):
        tail = split(model, 3).tail
        assert not len(add_adapters(tail, rank=2))
        assert not any(p.requires_grad for p in tail.parameters())


def test_tails_that_share_a_tower_share_its_adapters() -> None:
    captions, answers = (
        tiny_blip.build("image-to-text"),
        tiny_blip.build("visual-question-answering"),
    )
    answers.vision_model.load_state_dict(captions.vision_model.state_dict())
    share_tower([captions, answers])
    tails = split(captions, 1).tail, split(answers, 1).tail
    adapters = add_adapters(tails[0], rank=2)
    found = [[module for module in tail.modules() if isinstance(module, LowRank)] for tail in tails]
    assert all(a is b for a, b in zip(*found, strict=True))
    assert len(found[1]) == len(adapters)


@pytest.mark.parametrize("side", [8, 0])
def test_a_latent_of_more_positions_than_tokens_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match="cannot be unfolded into a token grid of side 4"):
        Synthesis(GRID, side=side, n_channels=3, depth=0, n_qualities=1)


@torch.no_grad()
@pytest.mark.parametrize("depth", [0, 1])
def test_special_tokens_know_the_picture_with_and_without_blocks(depth: int) -> None:
    made = Synthesis(GRID, side=2, n_channels=3, depth=depth, n_qualities=1)
    tokens = made(torch.randn(2, 4, 3), torch.zeros(2, dtype=torch.long))[:, : GRID.n_prefix]
    assert tokens.shape[1] == GRID.n_prefix > 0
    assert not torch.allclose(tokens[0], tokens[1])
    assert (made.gather is None) == (depth > 0)


def test_the_blocks_analysis_takes_whole_tokens_together() -> None:
    model = vit()
    with pytest.raises(ValueError, match="does not divide a token grid of side 4"):
        BlocksAnalysis(split(model, 2).head, token_grid(model), side=3, n_channels=5)


def test_a_latent_whose_side_does_not_divide_the_grid_is_unfolded_over_it() -> None:
    made = Synthesis(GRID, side=3, n_channels=3, depth=0, n_qualities=1)
    latent = torch.zeros(1, 9, 3, requires_grad=True)
    tokens = made(latent, torch.zeros(1, dtype=torch.int64))
    assert tokens.shape == (1, GRID.n_tokens, GRID.width)
    seen = torch.autograd.grad(tokens[0, GRID.n_prefix].sum(), latent, retain_graph=True)[0][0]
    assert seen[0].abs().sum() > 0  # the first token: of the first position, and of no far one
    assert seen[8].abs().sum() == 0
    last = torch.autograd.grad(tokens[0, -1].sum(), latent)[0][0]
    assert last[8].abs().sum() > 0
    assert last[0].abs().sum() == 0


def test_a_student_with_other_depths_than_widths_is_refused() -> None:
    with pytest.raises(ValueError, match="as many depths as widths"):
        StudentAnalysis((8, 8), (1,), 4)


def test_a_merged_tail_answers_alike_and_leaves_the_tail_as_it_was() -> None:
    torch.manual_seed(0)
    tail = split(vit(), 1).tail
    assert merged(tail) is tail  # nothing to merge
    adapters = add_adapters(tail, rank=2)
    for module in adapters.values():
        torch.nn.init.normal_(module.up, std=0.1)
    tokens = torch.randn(2, 17, 32)
    with torch.inference_mode():
        wanted = tail(tokens).logits
        whole = merged(tail)
        torch.testing.assert_close(whole(tokens).logits, wanted, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, LowRank) for module in whole.modules())
    assert sum(isinstance(module, LowRank) for module in tail.modules()) == len(adapters)
    own = {p.data_ptr() for p in whole.parameters()} - {p.data_ptr() for p in tail.parameters()}
    assert len(own) == len(adapters)  # the merged weights; all else is shared
