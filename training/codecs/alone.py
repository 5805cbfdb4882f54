"""augmented pixels -> loss of a classifier for the device alone: the target is the codec's."""

from __future__ import annotations

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model import FeatureCodec
from codec.model.alone import DeviceAlone
from codec.model.transforms import StudentAnalysis
from training.codecs.objective import Objective, divergence
from training.codecs.recipe import CodecRecipe
from training.data.images import Keyed, batches, normalise


class AloneTask(nn.Module):
    """A batch -> KL divergence from the uncut model's answers, with a share of the true labels."""

    def __init__(self, alone: DeviceAlone, preprocess: Preprocess, objective: Objective) -> None:
        super().__init__()
        self.alone, self.preprocess, self.objective = alone, preprocess, objective

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        x = normalise(self.objective.augment(pixels, keys), self.preprocess)
        x = x.contiguous(memory_format=torch.channels_last)
        logits = self.alone(x)
        right = (logits.argmax(1) == labels).float().mean()
        loss = divergence(logits, self.objective.target(x, labels, keys)).mean()
        return {"loss": loss, "train_accuracy": right}


def build_alone(recipe: CodecRecipe, n_labels: int) -> DeviceAlone:
    """The classifier of a recipe's encoder, with the stages of the codec `recipe.start`, where it
    names one, and a head of random weights.

    Raises:
        ValueError: the recipe's encoder is no student, or that codec's has another shape.
    """
    if recipe.encoder != "student":
        raise ValueError("the device alone is measured for student encoders, not for blocks")
    torch.manual_seed(recipe.answer.seed)
    alone = DeviceAlone(recipe.student_widths, recipe.student_depths, n_labels)
    if recipe.start is not None:
        encoder = FeatureCodec.from_pretrained(recipe.start).encoder
        shape = (recipe.student_widths, recipe.student_depths)
        if not isinstance(encoder, StudentAnalysis) or not _fits(encoder, alone):
            raise ValueError(f"start: the encoder of {recipe.start} is no student of {shape}")
        alone.layers.load_state_dict(encoder.layers.state_dict())
    return alone


def _fits(encoder: StudentAnalysis, alone: DeviceAlone) -> bool:
    own, given = alone.layers.state_dict(), encoder.layers.state_dict()
    return {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in given.items()}


@torch.inference_mode()
def accuracy(alone: DeviceAlone, data: Keyed, preprocess: Preprocess) -> float:
    """Right labels of the pictures of a data set, in percent."""
    alone.eval()
    right = 0
    for pixels, labels in batches(data):
        right += int((alone(normalise(pixels, preprocess)).argmax(1) == labels).sum())
    return 100 * right / len(data)
