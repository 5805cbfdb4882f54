"""codec -> what its device knows and answers by itself: `ways.json` and `alone.onnx` of a bundle,
and how both compare with the codec that they are of.

    ways.json     by what is asked: the ways of working that the codec's sweep has measured
    alone.onnx    pixel_values (1, 3, S, S) float32 -> logits (1, L) float32, where a classifier
                  for the device alone ships for the codec
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from codec.bundle.targets import find_target
from codec.bundle.tracing import trace
from codec.device.alone import OwnClassifier
from codec.device.bundle import WAYS_FILE
from codec.device.encoder import DeviceEncoder
from codec.device.engines import ALONE_FILE
from codec.link.choosing import swept_ways
from codec.link.ways_file import read_ways, ways_text
from codec.model import FeatureCodec
from codec.model.alone import DeviceAlone, find_alone, load_alone
from codec.model.checkpoint import WEIGHTS, shipped_fingerprints
from codec.tasks.labels import labels_of


def text_of_ways(codec: FeatureCodec) -> str | None:
    """The text of a codec's `ways.json`; None where no sweep is beside the codec.

    Raises:
        ValueError: the sweep cannot be read, or is not this codec's.
    """
    saved = (codec.folder / WEIGHTS).is_file()
    ways = swept_ways(codec.folder, codec.config.name, alone=True) if saved else {}
    return ways_text(ways) if ways else None


def classifier_of(codec: FeatureCodec) -> DeviceAlone | None:
    """The classifier for the device alone that ships for a codec; None where none does.

    Raises:
        ValueError: it is not whole, or has another number of labels than the codec.
    """
    name = codec.config.name
    place = find_alone(name) if shipped_fingerprints().get(name) == codec.fingerprint else None
    if place is None:
        return None
    alone, n_labels = load_alone(place), len(labels_of(codec.tails))
    if alone.shape.n_labels != n_labels:
        raise ValueError(f"{place} answers {alone.shape.n_labels} labels, {name} {n_labels}")
    return alone


def write_own(
    folder: Path, codec: FeatureCodec, target: str, pixels: NDArray[np.uint8]
) -> dict[str, Any]:
    """Write `ways.json` and `alone.onnx` into a bundle where the codec has what they are of; gives
    what the manifest says of them.

    Args:
        pixels: sample pictures (n, S, S, 3), on which ONNX Runtime has to answer as PyTorch.

    Raises:
        ValueError: it does not; or as `text_of_ways` and `classifier_of`.
    """
    if (text := text_of_ways(codec)) is not None:
        (folder / WAYS_FILE).write_text(text, encoding="utf-8")
        read_ways(folder / WAYS_FILE, len(codec.qualities))
    if (alone := classifier_of(codec)) is None:
        return {}
    from codec.bundle.lowering import lower_classifier

    traced = trace(alone, codec.config.preprocess.size)
    graph = lower_classifier(traced, find_target(target))
    (folder / ALONE_FILE).write_bytes(graph.SerializeToString())
    labels = labels_of(codec.tails)
    own = OwnClassifier(str(folder), labels, codec.config.preprocess)
    if n_same(own, alone, list(pixels)) < len(pixels):
        raise ValueError("ONNX Runtime gives other labels than PyTorch: the graph is wrong")
    return {"alone_labels": labels}


def n_same(own: OwnClassifier, alone: DeviceAlone, pictures: list[Any]) -> int:
    """How many pictures get the label in ONNX Runtime that PyTorch gives them."""
    with torch.inference_mode():
        rows = alone(torch.from_numpy(own.preprocess(pictures))).argmax(1).tolist()
    names = [own(picture, top_k=1)[0]["label"] for picture in pictures]
    return sum(own.labels[row] == name for row, name in zip(rows, names, strict=True))


class Own:
    """What a bundle's device knows and answers by itself, compared with the codec's.

    Attributes:
        ways: whether its ways are those of the codec's sweep; None where it has none.

    Raises:
        ValueError: it has ways or a classifier, and the codec nothing to compare them with; or its
            labels are other ones.
    """

    def __init__(self, encoder: DeviceEncoder, codec: FeatureCodec) -> None:
        listed, name = encoder.manifest["sha256"], codec.config.name
        self.ways: bool | None = None
        if WAYS_FILE in listed:
            if (text := text_of_ways(codec)) is None:
                raise ValueError(f"the bundle has {WAYS_FILE}, {codec.folder} no sweep")
            self.ways = text == (Path(encoder.folder) / WAYS_FILE).read_text(encoding="utf-8")
        self._own: OwnClassifier | None = None
        self._n = self._n_same = 0
        if ALONE_FILE in listed:
            alone = classifier_of(codec)
            if alone is None:
                raise ValueError(f"the bundle has {ALONE_FILE}, and none ships for {name}")
            if encoder.labels != labels_of(codec.tails):
                raise ValueError(f"{ALONE_FILE} has other labels than {name}")
            self._alone = alone
            self._own = OwnClassifier(encoder.folder, encoder.labels, encoder.preprocess)

    def add(self, pictures: list[Any]) -> None:
        """Compare the labels of some pictures."""
        if self._own is not None:
            self._n += len(pictures)
            self._n_same += n_same(self._own, self._alone, pictures)

    @property
    def agreement(self) -> float | None:
        """Labels that are PyTorch's, in percent; None where there is no classifier."""
        return 100 * self._n_same / self._n if self._n else None
