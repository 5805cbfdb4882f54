"""python -m tests.make_golden: writes the golden blobs of the shipped codecs anew, the digest of
what devices write with their tables, and the names of stored weights.

A changed byte is a breaking release: say so in CHANGELOG.md.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec import FeatureCodec
from codec.bundle.onefile import device_source
from codec.model.checkpoint import shipped_names
from codec.model.freezing import prior_to_tensors
from codec.model.split_names import named_weights
from codec.pipeline import Device, Server
from codec.show.demo import bundled_samples
from codec.show.demo_words import Asked, bundled_questions
from tests import recorded
from tests.versions import saved

GOLDEN = Path(__file__).parent / "golden"


def tables_of(codec: FeatureCodec) -> dict[str, NDArray[np.generic]]:
    """A codec's prior as a bundle's tables.npz has it."""
    tables = {
        name.removeprefix("prior."): value.numpy()
        for name, value in prior_to_tensors(codec.prior).items()
    }
    return tables | {"cdf": tables["cdf"].astype(np.uint32)}


def sent_pictures(codec: FeatureCodec) -> list[Asked]:
    """The bundled pictures of a codec, with what is asked of them."""
    if "image-classification" in codec.config.tasks:
        return [Asked(sample.path, ()) for sample in bundled_samples(codec)]
    return bundled_questions(codec)


def answers_of(server: Server, blob: bytes, questions: Sequence[tuple[str, str]]) -> list[str]:
    """All that a codec's tails say: a label; or a caption, answers, or both."""
    tasks = server.codec.config.tasks
    if "image-classification" in tasks:
        return [server(blob, top_k=1)[0]["label"]]
    caption = [server.caption(blob)] if "image-to-text" in tasks else []
    return caption + (
        server.answer(blob, [question for question, _ in questions])
        if "visual-question-answering" in tasks
        else []
    )


def names_of(family: str) -> dict[str, list[str]]:
    """What the weights of a family's backbone are called in fingerprints, and those of a codec that
    is cut from it in its checkpoint.
    """
    with tempfile.TemporaryDirectory() as folder:
        codec = saved.make(family, Path(folder))
        stored = [*codec.own_parameters(), *prior_to_tensors(codec.prior)]
        return {
            "backbone": sorted(named_weights(saved.backbone(family))),
            "codec": sorted(stored),
        }


def main() -> None:
    digests = {}
    names = {family: names_of(family) for family in saved.FAMILIES}
    (GOLDEN / "names.json").write_text(json.dumps(names, indent=1) + "\n")
    for name in shipped_names():
        device = Device(codec := FeatureCodec.from_pretrained(name))
        server, rows, pictures = Server(codec), [], sent_pictures(codec)[:4]
        paths = [picture.path for picture in pictures]
        for quality in codec.qualities:
            symbols = codec.symbols(device.preprocess(paths), quality)
            for picture, blob, image in zip(pictures, device(paths, quality), symbols, strict=True):
                row = {"picture": picture.path.name, "quality": quality, "blob": blob.hex()}
                digest = hashlib.sha256(image.astype("<i4").tobytes()).hexdigest()
                rows.append(
                    row
                    | {"symbols": digest, "answers": answers_of(server, blob, picture.questions)}
                )
        (GOLDEN / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
        with tempfile.TemporaryDirectory() as folder:
            runtime = Path(folder) / "taskcodec_device.py"
            runtime.write_text(device_source())
            for layers in ((), recorded.LAYERS):
                digest = recorded.digest(recorded.load(runtime), tables_of(codec), layers=layers)
                digests[name + " in layers" * bool(layers)] = digest
    (GOLDEN / "device.json").write_text(json.dumps(digests) + "\n")
    (GOLDEN / "layers.json").write_text(json.dumps(layered_blobs(), indent=1) + "\n")


def layered_blobs() -> list[dict[str, Any]]:
    """Blobs of bundled pictures at the finest quality of a codec that was given layers, and what
    they are cut to.
    """
    codec = FeatureCodec.from_pretrained("vit-tiny-cifar10").set_layers(recorded.LAYERS)
    rows = []
    for sample in bundled_samples(codec, 4):
        (blob,) = Device(codec)([sample.path], quality=recorded.LAYERS[-1])
        digest = hashlib.sha256(codec.read([blob])[0].astype("<i4").tobytes()).hexdigest()
        rows.append(
            {
                "picture": sample.path.name,
                "blob": blob.hex(),
                "symbols": digest,
                "cuts": codec.cuts(blob),
            }
        )
    return rows


if __name__ == "__main__":
    main()
