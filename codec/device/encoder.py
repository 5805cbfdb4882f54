"""picture -> blob on the device: a bundle's encoder, integer tables and preprocessing, without
torch.

Part of the one file for devices: Python 3.6, numpy, PIL, and ONNX Runtime or TensorRT.
`codec.bundle.export` writes bundles.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.coding.blobs import read_blobs, write_blobs
from codec.coding.budget import best_that_fits, check_rate, chosen_quality
from codec.coding.context import ContextNetwork
from codec.coding.exact import LIMIT
from codec.coding.opening import open_prior
from codec.coding.progressive import progressive_prior
from codec.coding.tables import Tables
from codec.device.engines import ONNX_FILE, PIXELS, open_engine
from codec.device.pictures import as_batch
from codec.device.preprocess import Preprocess
from codec.files import sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray

BUNDLE_FORMAT = 1
MANIFEST_FILE, TABLES_FILE, SAMPLES_FILE = "manifest.json", "tables.npz", "samples.npz"
MAX_ARRAYS_BYTES = 1 << 28
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
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a bundle's manifest: {error}") from error
    if version != BUNDLE_FORMAT:
        raise ValueError(
            f"the bundle is of format {version}, this runtime reads {BUNDLE_FORMAT}: export it anew"
        )
    if manifest_digest(manifest) != digest:
        raise ValueError(f"{path} was altered: its digest is not that of what it says")
    if not {TABLES_FILE, ONNX_FILE} <= set(sums):
        raise ValueError(f"{path} does not list the files that are read: export the bundle anew")
    for name, expected in sorted(sums.items()):
        if os.path.isabs(name) or ".." in name.replace("\\", "/").split("/"):
            raise ValueError(f"{path} lists {name!r}, which is outside of the bundle")
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
    """The arrays of an npz file, without pickle.

    Raises:
        ValueError: it is not one, or its arrays take more than `MAX_ARRAYS_BYTES`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(info.file_size for info in archive.infolist())
        if n_bytes > MAX_ARRAYS_BYTES:
            raise ValueError(f"{path} holds {n_bytes} bytes, more than any bundle")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (zipfile.BadZipFile, EOFError, MemoryError, NotImplementedError, KeyError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


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
            self.batch = int(self.shapes[PIXELS][0])
            size = self.preprocess.size
            wanted = (self.batch, 3, size, size)
            if self.shapes[PIXELS] != wanted or not 0 < min(wanted) <= max(wanted) <= 4096:
                raise ValueError(f"a bundle does not take pixels of shape {self.shapes[PIXELS]}")
        except (LookupError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"the bundle in {folder} lacks {error}: export it anew") from error
        if self.default_quality not in self.qualities or len(self.drops) not in (
            0,
            len(self.qualities),
        ):
            raise ValueError(f"the manifest in {folder} does not fit its tables: export it anew")
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
