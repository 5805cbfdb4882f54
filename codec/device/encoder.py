"""picture -> blob on the device: a bundle's encoder, integer tables and preprocessing, without
torch.

Part of the one file for devices: Python 3.6, numpy, PIL, and ONNX Runtime or TensorRT.
`codec.bundle.export` writes bundles.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.coding.blobs import read_blobs, write_blobs
from codec.coding.budget import best_that_fits, check_rate, chosen_quality
from codec.coding.context import ContextNetwork
from codec.coding.exact import LIMIT
from codec.coding.opening import open_prior
from codec.coding.progressive import progressive_prior
from codec.coding.tables import Tables
from codec.device.arrays import read_arrays
from codec.device.bundle import NETWORK, TABLES_FILE, check_fits, facts_of, read_manifest
from codec.device.engines import LATENT, PIXELS, SYMBOLS, open_engine
from codec.device.pictures import as_batch

if TYPE_CHECKING:
    from numpy.typing import NDArray


class DeviceEncoder:
    """An opened bundle: a call makes blobs of pictures, as `codec.pipeline.Device` does; `decode`
    reads their symbols back.

    Args:
        folder: the bundle.
        coder: who writes payloads, of `codec.coding.opening.CODERS`; None for the first that can be
            had. All write the same bytes.

    Raises:
        FileNotFoundError, ValueError: the bundle is not whole, or nothing here can run its encoder,
            or there is no such coder here.
    """

    def __init__(self, folder: str, coder: str | None = None) -> None:
        self.manifest = read_manifest(folder)
        facts = facts_of(self.manifest, folder)
        self.preprocess, self.fingerprint = facts.preprocess, facts.fingerprint
        self.default_quality, self.drops = facts.default_quality, facts.drops
        tables = read_arrays(os.path.join(folder, TABLES_FILE))
        try:
            network = ContextNetwork(facts.side, *[tables[name] for name in NETWORK])
            prior = open_prior(network, Tables(tables["cdf"]), coder)
        except KeyError as error:
            raise ValueError(f"{TABLES_FILE} in {folder} lacks {error}: export it anew") from error
        check_fits(facts, network.n_qualities, network.n_channels, folder)
        self.prior = progressive_prior(prior, facts.layers, facts.halves)
        self.shapes, self.batch = facts.shapes, facts.shapes[PIXELS][0]
        self.engine = open_engine(folder, self.shapes)

    @property
    def qualities(self) -> range:
        """The rate indices, 0 = smallest."""
        return range(self.prior.network.n_qualities)

    def __call__(
        self,
        images: Any,
        quality: int | None = None,
        *,
        max_bytes: int | None = None,
        target_drop: float | None = None,
    ) -> Any:
        """One picture -> its blob; a batch of pictures -> a list of blobs.

        Args:
            images: a PIL image, a path, an array (H, W), (H, W, 3) or (H, W, 4) uint8, a list of
                these, or an array (B, H, W, 3).
            quality: rate index, 0 = smallest; None for the codec's default.
            max_bytes: instead of a quality, the most bytes a blob may take, header included; each
                picture gets the best quality that fits. The network runs once.
            target_drop: instead of a quality, the points of score that may be lost in the mean, by
                the codec's calibration.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a picture, an empty batch, a quality the codec lacks, or a budget or
                drop that none keeps to; or more than one of the three is given.
        """
        batch, single = as_batch(images)
        blobs = self.code(
            self.symbols(self.preprocess(batch)),
            quality,
            max_bytes=max_bytes,
            target_drop=target_drop,
        )
        return blobs[0] if single else blobs

    def symbols(self, pixel_values: NDArray[np.float32]) -> NDArray[np.int32]:
        """Pixels (n, 3, S, S) float32 -> symbols (n, Q, M, C) int32 of every quality; the network
        runs once a batch.

        Raises:
            ValueError: what comes out of the network is not finite, or no symbols: float16
                overflowed, or the engine is wrong.
        """
        parts = []
        for start in range(0, len(pixel_values), self.batch):
            part = pixel_values[start : start + self.batch]
            padded = np.zeros(self.shapes[PIXELS], dtype=np.float32)
            padded[: len(part)] = part
            symbols, latent = self.engine.run(padded)
            if (symbols.shape, latent.shape) != (self.shapes[SYMBOLS], self.shapes[LATENT]):
                raise ValueError("the encoder gave arrays of other shapes than the manifest's")
            if not np.isfinite(latent[: len(part)]).all():
                raise ValueError(
                    "the latent is not finite (NaN or infinity): build the engine in float32, or "
                    "keep its norms in float32"
                )
            if symbols.min() < -LIMIT or symbols.max() > LIMIT:
                raise ValueError(
                    f"the encoder gave symbols beyond -{LIMIT}..{LIMIT}: the engine is wrong, "
                    "build it again"
                )
            parts.append(symbols[: len(part)])
        return np.concatenate(parts)

    def code(
        self,
        symbols: NDArray[np.int32],
        quality: int | None = None,
        *,
        max_bytes: int | None = None,
        target_drop: float | None = None,
    ) -> list[bytes]:
        """Symbols (B, Q, M, C) int32 of pictures, as `symbols` gives them -> a blob each. The rate
        and errors as for a call.
        """
        check_rate(quality, max_bytes, target_drop)
        if max_bytes is not None:
            return best_that_fits(
                lambda q, places: self._blobs(symbols[places], q),
                len(symbols),
                self.qualities,
                max_bytes,
            )
        q = chosen_quality(
            quality, target_drop, self.drops, self.default_quality, len(self.qualities)
        )
        return self._blobs(symbols, q)

    def _blobs(self, symbols: NDArray[np.int32], quality: int) -> list[bytes]:
        return write_blobs(self.prior, self.fingerprint, symbols[:, quality], quality)

    def decode(self, blob: bytes) -> tuple[NDArray[np.int32], int]:
        """Blob -> symbols (M, C) int32 and their quality.

        Raises:
            BitstreamError: the blob is damaged or of another codec.
        """
        symbols, qualities = read_blobs(self.prior, self.fingerprint, [blob])
        return symbols[0], int(qualities[0])
