"""bundled pictures -> the symbols that a bundle's graph gives for them, checked against PyTorch: an
engine that is built on a device is compared with these.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from codec.device.engines import OnnxRuntime
from codec.model import FeatureCodec
from codec.model.checkpoint import shipped_root

LEAST_AGREEMENT = 0.999
"""Share of the sample symbols that ONNX Runtime must give as PyTorch does for a bundle to be
written.
"""


def sample_pixels(codec: FeatureCodec) -> NDArray[np.uint8]:
    """The first bundled pictures, at the size the backbone takes."""
    preprocess = codec.config.preprocess
    pictures = sorted((shipped_root() / "samples").rglob("*.png"))[
        : 8 if preprocess.size <= 64 else 4
    ]
    if not pictures:
        raise FileNotFoundError("the pictures in pretrained/samples are missing")
    return np.stack([preprocess.pixels(picture) for picture in pictures])


def recorded_symbols(
    folder: Path, codec: FeatureCodec, pixels: NDArray[np.uint8], batch: int
) -> NDArray[np.int8]:
    """What the exported graph gives in ONNX Runtime, (n, Q, M, C), checked against PyTorch."""
    engine = OnnxRuntime(str(folder))
    pixel_values = codec.config.preprocess(list(pixels))
    latent = codec.latent(torch.from_numpy(pixel_values))
    expected = np.stack([codec.quantise(latent, q) for q in codec.qualities], axis=1)
    fill = np.zeros((-len(pixels) % batch, *pixel_values.shape[1:]), dtype=np.float32)
    padded = np.concatenate([pixel_values, fill])
    found = np.concatenate(
        [engine.run(padded[i : i + batch])[0] for i in range(0, len(padded), batch)]
    )[: len(pixels)]
    agreement = float((found == expected).mean())
    if agreement < LEAST_AGREEMENT:
        raise ValueError(
            f"ONNX Runtime gives {100 * agreement:.3f}% of the symbols that PyTorch gives: the "
            "graph is wrong"
        )
    return found.astype(np.int8)
