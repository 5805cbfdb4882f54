"""picture -> blob on the device: a bundle's encoder, integer tables and preprocessing, without
torch.

Part of the one file for devices: Python 3.6, numpy, PIL, and ONNX Runtime or TensorRT.
`codec.bundle.export` writes bundles.
"""

from __future__ import annotations

import hashlib
import json
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
from codec.device.engines import PIXELS, open_engine
from codec.device.preprocess import Preprocess
from codec.device.taking import Taking
from codec.files import sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.coding.budget import Rate

BUNDLE_FORMAT = 1
MANIFEST_FILE, TABLES_FILE, SAMPLES_FILE = "manifest.json", "tables.npz", "samples.npz"
NETWORK = ("unit", "hidden", "hidden_bias", "shift", "out", "out_bias", "factor", "bias")


def read_manifest(folder: str) -> dict[str, Any]:
    """The manifest of a bundle, with itself and every file it lists checked.

    Raises:
        FileNotFoundError: no bundle there, or a file of it is missing.
        ValueError: a file was cut or altered, or the bundle is of another format.
    """
    path = os.path.join(folder, MANIFEST_FILE)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no bundle in {folder}: it has no {MANIFEST_FILE}")
    try:
        with open(path) as file:
            manifest = json.load(file)
        version, sums, digest = manifest["format"], dict(manifest["sha256"]), manifest["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a bundle's manifest: {error}") from error
    if version != BUNDLE_FORMAT:
        raise ValueError(
            f"the bundle is of format {version}, this runtime reads {BUNDLE_FORMAT}: export it anew"
        )
    if manifest_digest(manifest) != digest:
        raise ValueError(f"{path} was altered: its digest is not that of what it says")
    for name, expected in sorted(sums.items()):
        part = os.path.join(folder, name)
        if not os.path.isfile(part):
            raise FileNotFoundError(f"the bundle is incomplete: {name} is missing")
        if sha256(part) != expected:
            raise ValueError(
                f"{part} was cut or altered: its SHA-256 is not the one in {MANIFEST_FILE}"
            )
    return manifest  # type: ignore[no-any-return]


def manifest_digest(manifest: dict[str, Any]) -> str:
    """SHA-256 of all that a manifest says beside its own digest, in hex."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_arrays(path: str) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file, without pickle."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


class DeviceEncoder(Taking):
    """An opened bundle: a call makes blobs of pictures, as `codec.pipeline.Device` does, and so do
    `each` and `session`; `decode` reads symbols back.

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
        try:
            self.preprocess = Preprocess.from_dict(self.manifest["preprocess"])
            self.fingerprint = bytes.fromhex(self.manifest["fingerprint"])
            self.default_quality, side = (
                int(self.manifest["default_quality"]),
                int(self.manifest["side"]),
            )
            self.shapes = {name: tuple(shape) for name, shape in self.manifest["shapes"].items()}
            # of each quality; a bundle from before has none
            self.drops = [float(row["drop"]) for row in self.manifest.get("calibration", [])]
            tables = read_arrays(os.path.join(folder, TABLES_FILE))
            network = ContextNetwork(side, *[tables[name] for name in NETWORK])
            prior = open_prior(network, Tables(tables["cdf"]), coder)
            self.prior = progressive_prior(
                prior, *[[row[i] for row in self.manifest["layers"]] for i in (0, 1)]
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the bundle in {folder} lacks {error}: export it anew") from error
        if self.default_quality not in self.qualities or len(self.drops) not in (
            0,
            len(self.qualities),
        ):
            raise ValueError(f"the manifest in {folder} does not fit its tables: export it anew")
        self.batch = self.shapes[PIXELS][0]
        self.engine = open_engine(folder, self.shapes)

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
