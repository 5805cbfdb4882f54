"""frozen stages of an encoder, pictures -> what the stages make of them, remembered on disk."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.networks import digest
from training.codecs.recipe import CodecRecipe
from training.data.images import Keyed
from training.data.remembered import Remembered
from training.engine.precision import encoder_precision


def frozen_features(
    layers: nn.Module,
    recipe: CodecRecipe,
    preprocess: Preprocess,
    data: Keyed | None = None,
    runs: Path | None = None,
) -> Remembered:
    """What the stages `layers` of a recipe's mobile encoder make of pictures: features (B, W, s,
    s).

    Args:
        data, runs: those of these pictures are kept in `runs/encoder-features`, shared by the runs
            in that folder; None to keep none.
    """
    mobile = recipe.mobile
    assert mobile is not None
    side = mobile.side(preprocess.size)

    def compute(x: torch.Tensor) -> torch.Tensor:
        with encoder_precision(mobile, x.device):
            features: torch.Tensor = layers(x)
        return features

    shape = (mobile.width, side, side)
    if data is None or runs is None:
        return Remembered(compute, shape, None, 0, "")
    about = f"{digest(layers.state_dict())} {mobile} {data.digest} {preprocess} {recipe.shift}"
    return Remembered(compute, shape, runs / "encoder-features", len(data), about)
