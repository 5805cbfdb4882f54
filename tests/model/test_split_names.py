"""Names of weights: the parts of earlier versions' blocks have the names that they are stored
under.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from codec.model.split import blocks
from codec.model.split_names import named_weights, our_names
from codec.model.split_tower import query_and_key
from tests.versions.saved import backbone


def module(**parts: nn.Module) -> nn.Module:
    made = nn.Module()
    for name, part in parts.items():
        made.add_module(name, part)
    return made


def old_block(intermediate: bool) -> nn.Module:
    """A block of ViT (or DINOv2) as it was before 5.9."""
    linear = [nn.Linear(2, 2) for _ in range(6)]
    attention = module(
        attention=module(query=linear[0], key=linear[1], value=linear[2]),
        output=module(dense=linear[3]),
    )
    mlp = (
        {"intermediate": module(dense=linear[4]), "output": module(dense=linear[5])}
        if intermediate
        else {"mlp": module(fc1=linear[4], fc2=linear[5])}
    )
    return module(attention=attention, layernorm_before=nn.LayerNorm(2), **mlp)


INSIDE = ["k_proj", "o_proj", "q_proj", "v_proj"]


@pytest.mark.parametrize(("intermediate", "place"), [(True, "layers"), (False, "encoder.layer")])
def test_an_old_block_in_a_model_has_the_names_of_a_new_one(intermediate: bool, place: str):
    layer = nn.ModuleList([old_block(intermediate) for _ in range(11)])
    model = module(vit=module(encoder=module(layer=layer)), classifier=nn.Linear(2, 2))
    inside = [f"attention.{name}" for name in INSIDE] + ["layernorm_before", "mlp.fc1", "mlp.fc2"]
    wanted = {f"vit.{place}.{i}.{name}" for i in range(11) for name in inside} | {"classifier"}
    named = named_weights(model)
    assert {name.rpartition(".")[0] for name in named} == wanted
    assert len(named) == len(model.state_dict())
    block = layer[10]
    assert named[f"vit.{place}.10.attention.k_proj.weight"] is not None
    assert torch.equal(
        named[f"vit.{place}.10.attention.k_proj.weight"],
        block.attention.attention.key.weight,  # type: ignore[union-attr]
    )
    assert torch.equal(
        named[f"vit.{place}.10.mlp.fc2.bias"],
        (block.output.dense if intermediate else block.mlp.fc2).bias,  # type: ignore[union-attr]
    )


def test_adapters_in_an_old_block_of_a_head_or_tail_have_the_names_of_those_in_a_new_one():
    block = old_block(True)
    block.attention.attention.query = module(down=nn.Linear(2, 1))  # type: ignore[union-attr]
    codec = module(encoder=module(head=module(layers=nn.ModuleList([block]))))
    names = our_names(codec)
    start = "encoder.head.layers.0.attention."
    assert names[f"{start}attention.query.down.weight"] == f"{start}q_proj.down.weight"


def test_query_and_key_of_an_old_block_are_those_of_its_attention():
    attention = old_block(True).attention.attention  # type: ignore[union-attr]
    old = old_block(True)
    old.attention.attention = attention  # type: ignore[union-attr]
    assert [id(w) for w in query_and_key(old)] == [
        id(attention.query.weight),
        id(attention.key.weight),
    ]


@pytest.mark.parametrize("family", ["vit", "deit", "dinov2", "blip"])
def test_no_two_weights_have_one_name(family: str):
    model = backbone(family)
    names = our_names(model)
    assert len(set(names.values())) == len(names)
    assert len(list(blocks(model))) == 3
