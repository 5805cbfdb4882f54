"""python -m tests.make_golden: writes the golden blobs of the shipped codecs anew, and the digest of what devices write with their tables.

A changed byte is a breaking release: say so in CHANGELOG.md."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codec import FeatureCodec
from codec.checkpoint import shipped_names, shipped_root
from codec.onefile import device_source
from codec.pipeline import Device, Server
from codec.prior import prior_to_tensors
from tests import recorded

GOLDEN = Path(__file__).parent / "golden"


def tables_of(codec: FeatureCodec) -> dict[str, NDArray[np.generic]]:
    """A codec's prior as a bundle's tables.npz has it."""
    tables = {name.removeprefix("prior."): value.numpy() for name, value in prior_to_tensors(codec.prior).items()}
    return tables | {"cdf": tables["cdf"].astype(np.uint32)}


def main() -> None:
    digests = {}
    pictures = sorted((shipped_root() / "samples" / "cifar10").glob("*.png"))[:4]
    for name in shipped_names():
        device = Device.from_pretrained(name)
        server, rows = Server(device.codec), []
        for quality in device.codec.qualities:
            symbols = device.codec.symbols(device.preprocess(pictures), quality)
            for picture, blob, image in zip(pictures, device(pictures, quality), symbols, strict=True):
                digest = hashlib.sha256(image.astype("<i4").tobytes()).hexdigest()
                answer = server(blob)[0]["label"]
                rows.append({"picture": picture.name, "quality": quality, "blob": blob.hex(), "symbols": digest, "label": answer})
        (GOLDEN / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
        with tempfile.TemporaryDirectory() as folder:
            runtime = Path(folder) / "taskcodec_device.py"
            runtime.write_text(device_source())
            digests[name] = recorded.digest(recorded.load(runtime), tables_of(device.codec))
    (GOLDEN / "device.json").write_text(json.dumps(digests) + "\n")


if __name__ == "__main__":
    main()
