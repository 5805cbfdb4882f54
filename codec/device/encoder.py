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
from codec.coding.budget import best_that_fits, chosen_rate
from codec.coding.context import ContextNetwork
from codec.coding.exact import LIMIT
from codec.coding.opening import open_prior
from codec.coding.progressive import progressive_prior
from codec.coding.tables import Tables
from codec.device.bundle import NETWORK, TABLES_FILE, check_fits, facts_of, read_manifest
from codec.device.engines import LATENT, PIXELS, SYMBOLS, open_engine
from codec.device.npz import read_arrays
from codec.device.taking import Taking

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.coding.budget import Rate


class DeviceEncoder(Taking):
    """An opened bundle: a call makes blobs of pictures, as `codec.pipeline.Device` does, and so do
    `each` and `session`; `decode` reads symbols back.

    Args:
        folder: the bundle.
        coder: who writes payloads, of `codec.coding.opening.CODERS`; None for the first that can be
            had. All write the same bytes.

    Attributes:
        labels: of the bundle's classifier for the device alone (`codec.device.alone`); none where
            it has none.

    Raises:
        FileNotFoundError, ValueError: the bundle is not whole, or nothing here can run its encoder,
            or there is no such coder here.
    """

    def __init__(self, folder: str, coder: str | None = None) -> None:
        self.folder, self.manifest = folder, read_manifest(folder)
        facts = facts_of(self.manifest, folder)
        self.labels = facts.labels
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
        self.engine = open_engine(folder, self.manifest["digest"], self.shapes)

    @property
    def qualities(self) -> range:
        """The rate indices, 0 = smallest."""
        return range(self.prior.network.n_qualities)

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
        return self._blobs(symbols, self.chosen_rate(quality, max_bytes, target_drop))

    def chosen_rate(self, quality: Any, max_bytes: Any, target_drop: Any) -> Rate:
        """The rate that is asked for. Arguments and errors as for a call."""
        return chosen_rate(
            quality,
            max_bytes,
            target_drop,
            self.drops,
            self.default_quality,
            len(self.qualities),
        )

    def _pixels(self, image: Any) -> NDArray[np.uint8]:
        return self.preprocess.pixels(image)

    def _rows(self, pixels: list[Any]) -> list[Any]:
        return list(self.symbols(self.preprocess.normalise(np.stack(pixels))))

    def _blobs(self, rows: Any, rate: Rate) -> list[bytes]:
        symbols = np.asarray(rows)

        def write(quality: int, places: Any) -> list[bytes]:
            return write_blobs(self.prior, self.fingerprint, symbols[places, quality], quality)

        if rate.quality is not None:
            return write(rate.quality, slice(None))
        return best_that_fits(write, len(symbols), self.qualities, rate.max_bytes, rate.spared)

    def decode(self, blob: bytes) -> tuple[NDArray[np.int32], int]:
        """Blob -> symbols (M, C) int32 and their quality.

        Raises:
            BitstreamError: the blob is damaged or of another codec.
        """
        symbols, qualities = read_blobs(self.prior, self.fingerprint, [blob])
        return symbols[0], int(qualities[0])
