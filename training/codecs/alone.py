"""augmented pixels -> loss of a classifier for the device alone: the target is the codec's."""

from __future__ import annotations

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model import FeatureCodec
from codec.model.alone import AloneShape, DeviceAlone
from training.backbones.mobile_start import start_mobile
from training.codecs.objective import Objective, divergence
from training.codecs.recipe import CodecRecipe
from training.data.images import normalise
from training.data.remembered import Remembered
from training.engine.precision import encoder_precision


class AloneTask(nn.Module):
    """A batch -> KL divergence from the uncut model's answers, with a share of the true labels.

    Args:
        features_of: what the stages make of pictures, where they stay as they are; else None.
    """

    def __init__(
        self,
        alone: DeviceAlone,
        preprocess: Preprocess,
        objective: Objective,
        features_of: Remembered | None = None,
    ) -> None:
        super().__init__()
        self.alone, self.preprocess, self.objective = alone, preprocess, objective
        self.features_of = features_of
        if features_of is not None:
            alone.layers.requires_grad_(False)

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        x = normalise(self.objective.augment(pixels, keys), self.preprocess)
        x = x.contiguous(memory_format=torch.channels_last)
        with encoder_precision(self.alone.shape.mobile, x.device):
            if self.features_of is None:
                logits = self.alone(x)
            else:
                logits = self.alone.answer(self.features_of(x, keys))
        right = (logits.argmax(1) == labels).float().mean()
        loss = divergence(logits, self.objective.target(x, labels, keys)).mean()
        return {"loss": loss, "train_accuracy": right}


def build_alone(recipe: CodecRecipe, n_labels: int) -> DeviceAlone:
    """The classifier of a recipe's encoder, with a head of random weights; its stages are those of
    the codec `recipe.start` or of the mobile network `recipe.encoder_start`, where it names one.

    Raises:
        ValueError: the recipe's encoder is of the backbone's blocks, or the stages have another
            shape.
    """
    if recipe.encoder == "blocks":
        raise ValueError("the device alone is measured for convolutional encoders, not for blocks")
    torch.manual_seed(recipe.answer.seed)
    alone = DeviceAlone(
        AloneShape(n_labels, recipe.student_widths, recipe.student_depths, recipe.mobile)
    )
    if recipe.start is not None:
        encoder = FeatureCodec.from_pretrained(recipe.start).encoder
        layers = getattr(encoder, "layers", nn.Identity())
        if _shapes(layers) != _shapes(alone.layers):
            raise ValueError(f"start: the encoder of {recipe.start} has another shape")
        alone.layers.load_state_dict(layers.state_dict())
    elif recipe.encoder_start is not None:
        start_mobile(alone.layers, recipe.encoder_start, recipe.preprocess())
    return alone


def _shapes(layers: nn.Module) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in layers.state_dict().items()}
