"""recipe -> the models it names, and its untrained codec."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from codec.model import FeatureCodec
from codec.model.backbone import load_backbone
from codec.model.split import share_tower
from codec.model.split_tower import set_attention
from training.backbones.mobile_start import start_mobile
from training.codecs.recipe import CodecRecipe
from training.codecs.start import spread_gains, start_from


def load_models(recipe: CodecRecipe) -> dict[str, nn.Module]:
    """The models of a recipe by task, with one vision tower, as they are."""
    models = {
        task: load_backbone(reference, Path()).requires_grad_(False)
        for task, reference in recipe.backbones.items()
    }
    share_tower(list(models.values()))
    return models


def first_of(models: dict[str, nn.Module]) -> nn.Module:
    """The first of several models: its tower is that of all."""
    return next(iter(models.values()))


def build(recipe: CodecRecipe) -> FeatureCodec:
    """The untrained codec of a recipe."""
    models = load_models(recipe)
    for model in models.values():
        set_attention(model, "eager")  # its backward takes half the time of sdpa's on a CPU
    torch.manual_seed(recipe.match.seed)
    codec = FeatureCodec(recipe.config(recipe.preprocess()), models)
    if recipe.encoder_start is not None:
        start_mobile(codec.encoder.layers, recipe.encoder_start, codec.config.preprocess)
    if recipe.start is None:
        spread_gains(codec.log_gain, recipe.rate_weights)
    elif not start_from(
        codec, Path(recipe.start), recipe.start_quality, own_gains=recipe.start_rate_weight is None
    ):
        spread_gains(codec.log_gain, recipe.rate_weights, recipe.start_rate_weight)
    return codec
