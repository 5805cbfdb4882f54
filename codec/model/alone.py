"""pixels -> label on the device alone: a classifier of the encoder's cost, which needs no server.

A codec has a reason where this falls short. The network is a convolutional encoder with a linear
head in the place of the projection to the latent. It sends its label in one byte, or two where
there are more than 256 labels.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from codec.files import whole_file
from codec.model import checkpoint
from codec.model.checkpoint import check_manifest, write_manifest
from codec.model.mobile import mobile_layers
from codec.model.mobile_shape import MobileShape
from codec.model.transforms import StudentAnalysis
from codec.model.typed import from_json

CONFIG, WEIGHTS = "config.json", "alone.safetensors"


@dataclass(frozen=True)
class AloneShape:
    """Shape of a classifier for the device alone, as config.json says it.

    Attributes:
        n_labels: number of labels.
        widths, depths: of the stages, as `StudentAnalysis` takes them; or none, and
        mobile: shape of a mobile encoder.
    """

    n_labels: int
    widths: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    mobile: MobileShape | None = None

    def to_json(self) -> str:
        """The text of config.json."""
        said = {k: v for k, v in asdict(self).items() if k != "mobile" or v is not None}
        return json.dumps(said, indent=2, sort_keys=True) + "\n"


class DeviceAlone(nn.Module):
    """The stages of an encoder, and a linear head on their mean and maximum over all positions:
    `pixel_values` (B, 3, S, S) float32 -> logits (B, n_labels) float32.
    """

    def __init__(self, shape: AloneShape) -> None:
        super().__init__()
        self.shape = shape
        if shape.mobile is not None:
            self.layers, width = mobile_layers(shape.mobile), shape.mobile.width
        else:
            self.layers = StudentAnalysis(shape.widths, shape.depths, 1).layers
            width = shape.widths[-1]
        self.head = nn.Linear(2 * width, shape.n_labels)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.answer(self.layers(pixel_values))

    def answer(self, features: torch.Tensor) -> torch.Tensor:
        """What the stages make of pictures (B, width, s, s) -> logits (B, n_labels)."""
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)
        logits: torch.Tensor = self.head(pooled)
        return logits


def save_alone(model: DeviceAlone, folder: Path) -> None:
    """Write config.json, alone.safetensors (float16) and manifest.json into a folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / CONFIG) as file:
        file.write_text(model.shape.to_json())
    weights = {name: p.detach().half().contiguous() for name, p in model.state_dict().items()}
    with whole_file(folder / WEIGHTS) as file:
        save_file(weights, file)
    write_manifest(folder)


def find_alone(codec_name: str) -> Path | None:
    """Folder of the classifier that ships for a codec, None where there is none."""
    folder = checkpoint.shipped_root() / "alone" / codec_name
    return folder if (folder / WEIGHTS).is_file() else None


def load_alone(folder: Path) -> DeviceAlone:
    """The inverse of `save_alone`, in float32 and evaluation mode.

    Raises:
        FileNotFoundError: the folder holds none.
        ValueError: a file was altered, or does not fit the others.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not (folder / WEIGHTS).is_file() or not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"no classifier for the device alone in {folder}")
    check_manifest(folder)
    try:
        shape = from_json(AloneShape, json.loads((folder / CONFIG).read_text()), CONFIG)
        model = DeviceAlone(shape)
        weights = {name: p.float() for name, p in load_file(folder / WEIGHTS).items()}
        model.load_state_dict(weights)
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"the classifier in {folder} cannot be read: {error}") from error
    return model.eval()
