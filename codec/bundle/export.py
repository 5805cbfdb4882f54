"""FeatureCodec -> bundle: the device side of a codec as a folder that needs neither torch nor this
library.

    encoder.onnx          pixel_values (B, 3, S, S) float32 -> symbols (B, Q, M, C) int32 of every
                          quality, and latent (B, M, C) float32
    encoder.fp16.onnx     the same with products in float16, where TensorRT builds strongly typed
                          networks
    alone.onnx            where a classifier for the device alone ships for the codec: pixel_values
                          (1, 3, S, S) float32 -> logits (1, L) float32, for ONNX Runtime
    ways.json             where the codec has a sweep: the ways of working that it measured
    tables.npz            the prior: integer network and tables
    samples.npz           pixels (n, S, S, 3) uint8, and the symbols (n, Q, M, C) int8 that ONNX
                          Runtime gives for them
    manifest.json         format, fingerprint, shapes, preprocessing constants, calibration, SHA-256
                          of every file
    SHA256SUMS            the same for `sha256sum -c`
    taskcodec_device.py, build_engine.py, README.md

All qualities come out of one run: the network is what costs, and to scale and round a latent
sixteen times costs nothing beside it. So the graph has one input, no shape depends on a value, and
a budget in bytes takes one run. The latent comes along because it tells whether float16 overflowed,
which integers would hide.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from codec.bundle.lint import lint
from codec.bundle.targets import find_target
from codec.bundle.tracing import trace
from codec.bundle.write import write_bundle
from codec.coding.dead_zone import half_steps
from codec.model import FeatureCodec

NEEDED = ("onnx", "onnxscript", "onnxruntime")


def check_installed() -> None:
    """Raises ValueError where a package that exporting takes is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"this takes {', '.join(missing)}: pip install 'task-codec[export]'")


def export_bundle(
    codec: FeatureCodec, out: Path, target: str, batch: int = 1, traced: Any = None
) -> Path:
    """Write the bundle of a codec into the folder `out`, whole or not at all; returns `out`.

    Args:
        batch: pictures that a run of the network takes, fixed in the graph.
        traced: what `trace` gave for this codec and batch, where several targets share it.

    Raises:
        ValueError: an unknown target, a batch below 1, a folder that is not empty, a package that
            is missing, or a graph that the target does not take or that does not give the codec's
            symbols.
    """
    find_target(target)
    check_installed()
    if batch < 1:
        raise ValueError(f"a batch has at least one picture, not {batch}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there and is not an empty folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        folder.chmod(0o755)
        traced = traced or trace(codec.encoder, codec.config.preprocess.size, batch)
        graph = make_graph(codec, traced, target)
        write_bundle(folder, codec, target, graph, _typed_graph(graph, target))
        os.replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return out


def make_graph(codec: FeatureCodec, traced: Any, target: str) -> Any:
    """The graph of a bundle for a target, linted: an `onnx.ModelProto`.

    Raises:
        ValueError: the target does not take it; the message names the first finding.
    """
    from codec.bundle.lowering import lower, weights_as_half

    takes = find_target(target)
    gain = codec.log_gain.detach().exp().cpu().numpy()
    half = half_steps(codec.config.dead_zone, codec.config.n_qualities)
    model = lower(traced, takes, gain, half)
    if takes.tensorrt is None:
        model = weights_as_half(model)
    _check_forms(model, target)
    return model


def _typed_graph(graph: Any, target: str) -> Any | None:
    """The graph for strongly typed networks, linted; None for targets that have none."""
    from codec.bundle.lowering import products_in_half

    takes = find_target(target)
    if takes.tensorrt is None or takes.opset < 18:
        return None
    typed = products_in_half(graph)
    _check_forms(typed, target)
    return typed


def _check_forms(model: Any, target: str) -> None:
    takes, opset = find_target(target), model.opset_import[0].version
    if (opset, model.ir_version) != (takes.opset, takes.ir):
        raise ValueError(
            f"the graph has opset {opset} and IR {model.ir_version}, "
            f"{target} takes {takes.opset} and {takes.ir}"
        )
    if findings := lint(model, target):
        first = findings[0]
        raise ValueError(
            f"{target} does not take the graph: {first.node}: {first.what}; {first.mend}"
        )
