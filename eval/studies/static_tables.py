"""a codec's symbols -> bytes under static tables, one a channel and quality: the codec without its
contexts.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from codec.coding.coders import usual
from codec.coding.container import HEADER_BYTES
from codec.coding.exact import LIMIT
from codec.coding.tables import Tables
from codec.model import FeatureCodec
from training.data.images import Images, batches, normalise


@torch.inference_mode()
def static_bytes(codec: FeatureCodec, fit: Images, images: Images) -> NDArray[np.float64]:
    """Bytes (Q, n) of blobs whose symbols are coded with static tables, one a channel and quality,
    counted on `fit`.
    """
    preprocess = codec.config.preprocess
    rows = []
    fit_latents, latents = (
        [codec.latent(normalise(x, preprocess)) for x, _ in batches(some)] for some in (fit, images)
    )
    for q in track(codec.qualities, description="static tables"):
        counts = np.zeros((codec.config.n_channels, 2 * LIMIT + 1))
        for latent in fit_latents:
            symbols = codec.quantise(latent, q) + LIMIT
            counts += np.stack(
                [
                    np.bincount(symbols[..., c].ravel(), minlength=2 * LIMIT + 1)
                    for c in range(len(counts))
                ]
            )
        tables = Tables.from_mass(counts + 1e-3)
        sizes = []
        for latent in latents:
            for image in codec.quantise(latent, q) + LIMIT:
                coder = usual().encoder(tables)
                for channel, row in enumerate(np.ascontiguousarray(image.T)):
                    coder.write(row, channel)
                sizes.append(HEADER_BYTES + len(coder.finish()))
        rows.append(sizes)
    return np.array(rows, dtype=float)
