"""A student's shape from a backbone and a budget: within the budget, and what is given stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from codec.model.cost import device_cost
from codec.model.transforms import StudentAnalysis
from training.codecs.recipe import CodecRecipe
from training.codecs.shapes import BackboneFacts, derived, student_macs
from training.engine.recipe import read_recipe

BACKBONES = [
    BackboneFacts(size, size // patch, width, n_blocks)
    for size, width, n_blocks in ((32, 192, 6), (64, 96, 4), (96, 144, 6), (224, 384, 12))
    for patch in (4, 8, 14, 16)
]
OVERRIDES = ["backbone=backbones/vit-tiny-cifar10", "data=mine"]


def student(facts: BackboneFacts, found: dict[str, Any]) -> nn.Module:
    return StudentAnalysis(
        tuple(found["student_widths"]), tuple(found["student_depths"]), found["n_channels"]
    )


@pytest.mark.parametrize("facts", BACKBONES, ids=str)
def test_a_student_costs_its_budget_or_at_most_a_quarter_less(facts: BackboneFacts) -> None:
    for budget in (20_000_000, 60_000_000):
        found = derived(facts, {"device_macs": budget})
        macs = device_cost(student(facts, found), facts.size).macs
        assert 0.75 * budget <= macs <= budget
        widths = found["student_widths"]
        assert macs == student_macs(
            facts.size, widths, found["student_depths"], found["n_channels"]
        )
        assert max(widths) <= facts.width
        assert facts.size == found["side"] << len(widths)
        assert found["side"] <= min(7, facts.grid)
        assert found["k"] == facts.n_blocks // 2


@pytest.mark.parametrize("facts", [BACKBONES[0], BACKBONES[5], BACKBONES[-1]], ids=str)
def test_without_a_budget_it_is_a_twentieth_of_the_backbone(facts: BackboneFacts) -> None:
    found = derived(facts, {"device_macs": None})
    assert 0.75 < 20 * device_cost(student(facts, found), facts.size).macs / facts.macs <= 1


def test_what_is_given_wins_and_the_rest_fits_it() -> None:
    given = {"device_macs": 5_000_000, "side": 2, "n_channels": 12, "k": 1, "rate_weights": [0.1]}
    found = derived(BACKBONES[0], given)
    assert {key: found[key] for key in given} == given
    assert len(found["student_widths"]) == 4, "four stages lead from 32 pixels to a side of 2"
    folded = derived(BACKBONES[0], {"device_macs": 5_000_000, "fold": 2, "side": 4})
    assert len(folded["student_widths"]) == 4


def test_widths_or_depths_that_are_given_alone_get_the_other_within_the_budget() -> None:
    facts, budget = BACKBONES[0], 20_000_000
    for given in ({"student_widths": [16, 24, 60]}, {"student_depths": [2, 2, 4]}):
        found = derived(facts, {"device_macs": budget, **given})
        shape = found["student_widths"], found["student_depths"]
        assert {key: found[key] for key in given} == given
        assert len(shape[0]) == len(shape[1]) == 3
        macs = device_cost(student(facts, found), facts.size).macs
        assert macs == student_macs(facts.size, *shape, found["n_channels"])
        assert macs <= budget
        assert macs >= 0.75 * budget or found["student_depths"] == [4, 4, 4]
    assert derived(facts, {"student_depths": [1, 1, 1, 1]})["side"] == 2


def test_more_than_a_student_can_use_is_not_used() -> None:
    small = BackboneFacts(32, 4, 32, 4)
    found = derived(small, {"device_macs": 10**10})
    assert found["student_widths"] == [32, 32, 32]
    assert device_cost(student(small, found), 32).macs < 10**9


@pytest.mark.parametrize(
    ("facts", "given", "reason"),
    [
        (BACKBONES[0], {"device_macs": 1000}, "device_macs is 1,000, and the smallest student"),
        (BACKBONES[0], {"student_widths": [8], "student_depths": [1, 1]}, "are not as many"),
        (BACKBONES[0], {"student_widths": [8, 8], "side": 4}, "has 3 stages"),
        (BackboneFacts(518, 37, 384, 12), {}, "halving 518 pixels leads to a side of 259"),
        (BACKBONES[0], {"encoder": "blocks"}, "for a student, not for the encoder 'blocks'"),
    ],
)
def test_what_cannot_be_is_said(facts: BackboneFacts, given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        derived(facts, given)


def test_one_recipe_serves_any_backbone_and_keeps_what_it_derived(tmp_path: Path) -> None:
    recipe = read_recipe(CodecRecipe, "codec-student", OVERRIDES)
    assert (recipe.k, recipe.side, recipe.n_channels, recipe.shift) == (3, 4, 48, 2)
    assert recipe.config(recipe.preprocess()).encoder == "student"
    for stage in (recipe.match, recipe.answer):
        assert stage.batch_size % len(recipe.turns()) == 0
    smaller = read_recipe(CodecRecipe, "codec-student", [*OVERRIDES, "device_macs=2000000", "k=2"])
    assert smaller.k == 2
    assert smaller.student_widths < recipe.student_widths


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["data=x"], "the recipe lacks the key 'backbone'"),
        ([*OVERRIDES, "device_macs=few"], "'device_macs' is a whole number or null, not 'few'"),
    ],
)
def test_what_a_reader_has_to_name_is_said(overrides: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_recipe(CodecRecipe, "codec-student", overrides)


def test_a_recipe_without_a_budget_derives_nothing(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nbackbone: no/such/model\n")
    with pytest.raises(ValueError, match="the recipe lacks the key 'data'"):
        read_recipe(CodecRecipe, file)
