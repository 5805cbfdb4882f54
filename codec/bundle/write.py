"""FeatureCodec and its encoder's graph -> the files of a bundle."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from codec.bundle.onefile import BUILD_FILE, DEVICE_FILE, build_source, device_source
from codec.bundle.own import write_own
from codec.bundle.readme import bundle_readme
from codec.bundle.samples import recorded_symbols, sample_pixels
from codec.bundle.targets import find_target
from codec.device.bundle import (
    BUNDLE_FORMAT,
    MANIFEST_FILE,
    NETWORK,
    SAMPLES_FILE,
    TABLES_FILE,
    manifest_digest,
)
from codec.device.engines import ONNX_FILE, PIXELS, TYPED_FILE
from codec.files import sha256
from codec.model import FeatureCodec

SUMS_FILE = "SHA256SUMS"
"""Of all other files, for `sha256sum -c`."""


def write_bundle(
    folder: Path, codec: FeatureCodec, target: str, graph: Any, typed_graph: Any | None
) -> None:
    """Write every file of a bundle into an empty folder.

    Args:
        graph: the encoder's `onnx.ModelProto`, as the target takes it.
        typed_graph: the same with products in float16, for targets whose networks are strongly
            typed.

    Raises:
        ValueError: the graph does not give the codec's symbols, or the codec's sweep or the
            classifier for its device alone cannot be taken along.
    """
    from codec.bundle.lowering import FLOAT32

    (folder / ONNX_FILE).write_bytes(graph.SerializeToString())
    if typed_graph is not None:
        (folder / TYPED_FILE).write_bytes(typed_graph.SerializeToString())
    network = codec.prior.network
    tables = {name: getattr(network, name) for name in NETWORK}
    np.savez(folder / TABLES_FILE, cdf=codec.prior.tables.cdf, **tables)
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    }
    pixels = sample_pixels(codec)
    symbols = recorded_symbols(folder, codec, pixels, shapes[PIXELS][0])
    np.savez(folder / SAMPLES_FILE, pixels=pixels, symbols=symbols)
    (folder / DEVICE_FILE).write_text(device_source(), encoding="utf-8")
    (folder / BUILD_FILE).write_text(build_source(), encoding="utf-8")
    own = write_own(folder, codec, target, pixels)
    manifest = _manifest(codec, target, shapes, list(FLOAT32)) | own
    (folder / "README.md").write_text(bundle_readme(manifest), encoding="utf-8")
    manifest["sha256"] = {file.name: sha256(file) for file in sorted(folder.iterdir())}
    manifest["digest"] = manifest_digest(manifest)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n")
    sums = {**manifest["sha256"], MANIFEST_FILE: sha256(folder / MANIFEST_FILE)}
    (folder / SUMS_FILE).write_text(
        "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    )


def _manifest(
    codec: FeatureCodec, target: str, shapes: dict[str, list[int]], float32_nodes: list[str]
) -> dict[str, Any]:
    """What a bundle says of itself, without its checksums."""
    config, of_target = codec.config, find_target(target)
    return {
        "format": BUNDLE_FORMAT,
        "name": config.name,
        "task": config.task,
        "fingerprint": codec.fingerprint.hex(),
        "target": target,
        "opset": of_target.opset,
        "ir": of_target.ir,
        "side": config.side,
        "default_quality": config.default_quality,
        "layers": [[q, config.halves[q]] for q in config.layers],
        "calibration": [asdict(point) for point in config.calibration],
        "preprocess": config.preprocess.to_dict(),
        "shapes": shapes,
        "float32_nodes": float32_nodes,
    }
