"""augmented pictures -> soft labels of a pretrained mobile network, from heads that did not see
them.

The network's features stay as they are. A linear head is fitted to the labels of all pictures but
one part's, for each part in turn, and answers for that part: a head that had seen a picture would
be sure of its label, and tell nothing that the label does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.mobile import mobile_layers
from codec.model.mobile_shape import MobileShape
from codec.model.networks import digest
from training.backbones.mobile_start import start_mobile
from training.backbones.probe import features_of, fit_head
from training.data.images import Images
from training.data.remembered import Remembered

PARTS = 5


@dataclass(frozen=True)
class MobileTeacher:
    """A mobile network as a teacher.

    Attributes:
        start: its weights, as `training.backbones.mobile_start` takes them.
        shape: all its stages.
        width: channels of the convolution behind them, whose mean the head sees.
        weight: share of its answers in the target; the rest is the label.
        decay: weight decay of the heads.
    """

    start: str
    shape: MobileShape
    width: int = 1280
    weight: float = 0.5
    decay: float = 1e-4


class SoftLabels:
    """The teacher's probabilities (B, L) for augmented pictures of a data set.

    Args:
        teacher: what it is.
        data: labelled pictures, which the heads are fitted to as they are.
        preprocess: of these pictures.
        shift: of their augmentation; it names what is remembered.
        folder: where the features are kept.
    """

    def __init__(
        self, teacher: MobileTeacher, data: Images, preprocess: Preprocess, shift: int, folder: Path
    ) -> None:
        network = features(teacher, preprocess)
        about = f"{digest(network.state_dict())} {data.digest} {preprocess}"
        shape = (teacher.width,)
        self._of_views = Remembered(network, shape, folder, len(data), f"{about} {shift}")
        plain = Remembered(network, shape, folder, len(data), f"{about} as it is")
        labels, n_labels = torch.tensor(data.labels), len(data.label_names)
        x = features_of(plain, data, preprocess)
        part = torch.arange(len(x)) % PARTS
        self.heads = [
            fit_head(x[part != i], labels[part != i], n_labels, teacher.decay) for i in range(PARTS)
        ]
        said = torch.stack([head(x) for head in self.heads]).argmax(2)
        right = (said[part, torch.arange(len(x))] == labels).float().mean()
        self.accuracy = 100 * float(right)

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Pixel values (B, 3, S, S) and their keys (B,) -> (B, L) float32."""
        of_all = torch.stack([head(self._of_views(x, keys)) for head in self.heads])
        part = (keys & 0xFFFFFFFF) % PARTS
        return of_all[part, torch.arange(len(x), device=x.device)].softmax(-1)


def features(teacher: MobileTeacher, preprocess: Preprocess) -> nn.Sequential:
    """The network up to its head: pixel values (B, 3, S, S) -> (B, width), frozen."""
    layers = mobile_layers(teacher.shape)
    layers.extend([nn.Conv2d(teacher.shape.width, teacher.width, 1), nn.ReLU6()])
    start_mobile(layers, teacher.start, preprocess)
    layers.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])
    return layers.eval().requires_grad_(False)
