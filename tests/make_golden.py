"""python -m tests.make_golden: writes the golden blobs of the shipped codecs anew.

A changed byte is a breaking release: say so in CHANGELOG.md."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from codec.checkpoint import shipped_names, shipped_root
from codec.pipeline import Device, Server

GOLDEN = Path(__file__).parent / "golden"


def main() -> None:
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


if __name__ == "__main__":
    main()
