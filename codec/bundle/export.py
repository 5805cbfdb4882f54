"""FeatureCodec -> bundle: the device side of a codec as a folder that needs neither torch nor this
library.

    encoder.onnx          pixel_values (B, 3, S, S) float32 -> symbols (B, Q, M, C) int32 of every
    quality, latent (B, M, C) float32 encoder.fp16.onnx     the same with products in float16, where
    TensorRT builds strongly typed networks tables.npz            the prior: integer network and
    tables samples.npz           pixels (n, S, S, 3) uint8, and the symbols (n, Q, M, C) int8 that
    ONNX Runtime gives for them manifest.json         format, fingerprint, shapes, preprocessing
    constants, SHA-256 of every file taskcodec_device.py, build_engine.py, README.md

All qualities come out of one run: the network is what costs, and scaling and rounding a latent
sixteen times is nothing beside it. So the graph has one input, no shape depends on a value, and a
budget in bytes takes one run. The latent comes along because it tells whether float16 overflowed,
which integers would hide.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from codec.bundle.lint import lint
from codec.bundle.onefile import BUILD_FILE, DEVICE_FILE, build_source, device_source
from codec.bundle.targets import Target, find_target
from codec.device.encoder import (
    BUNDLE_FORMAT,
    MANIFEST_FILE,
    NETWORK,
    SAMPLES_FILE,
    TABLES_FILE,
    manifest_digest,
)
from codec.device.engines import ONNX_FILE, PIXELS, TYPED_FILE, OnnxRuntime
from codec.files import sha256
from codec.model import FeatureCodec
from codec.model.checkpoint import shipped_root

LEAST_AGREEMENT = 0.999
"""Share of the sample symbols that ONNX Runtime must give as PyTorch does for a bundle to be
written.
"""
SUMS_FILE = "SHA256SUMS"
"""Of all other files, for `sha256sum -c`."""
DECODE = {
    "image-classification": "--answer",
    "image-to-text": "--caption",
    "visual-question-answering": '--ask "What colour is it?"',
}
"""How the server's command is told what to make of a blob, by task."""
ANSWER = {
    "image-classification": "server(await request.body(), top_k=1)[0]",
    "image-to-text": "server.caption(await request.body())",
    "visual-question-answering": 'server.answer(await request.body(), "What colour is it?")',
}
"""The same in Python."""
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
        _fill(
            folder,
            codec,
            traced or trace(codec.encoder, codec.config.preprocess.size, batch),
            target,
        )
        os.replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return out


def trace(encoder: nn.Module, size: int, batch: int = 1) -> Any:
    """An encoder's graph as torch writes it: an `onnx.ModelProto` of opset 18, `pixel_values`
    (batch, 3, size, size) -> latent.

    Raises:
        ValueError: torch wrote another opset.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            encoder,
            (torch.zeros(batch, 3, size, size),),
            input_names=[PIXELS],
            opset_version=18,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    opset = [entry.version for entry in model.opset_import if entry.domain == ""]
    if opset != [18] or len(model.functions):
        raise ValueError(
            f"torch {torch.__version__} wrote opset {opset} with {len(model.functions)} functions, "
            "not plain opset 18"
        )
    return model


def make_graph(codec: FeatureCodec, traced: Any, target: str) -> Any:
    """The graph of a bundle for a target, linted: an `onnx.ModelProto`.

    Raises:
        ValueError: the target does not take it; the message names the first finding.
    """
    from codec.bundle.lowering import lower, weights_as_half

    of = find_target(target)
    config = codec.config
    gain = codec.log_gain.detach().exp().cpu().numpy()
    half = np.float32(0.5) - np.asarray(
        config.dead_zone or (0.0,) * config.n_qualities, dtype=np.float32
    )
    model = lower(traced, of, gain, half)
    if of.tensorrt is None:
        model = weights_as_half(model)
    _check_forms(model, target)
    return model


def _check_forms(model: Any, target: str) -> None:
    of, opset = find_target(target), model.opset_import[0].version
    if (opset, model.ir_version) != (of.opset, of.ir):
        raise ValueError(
            f"the graph has opset {opset} and IR {model.ir_version}, {target} takes {of.opset} and "
            f"{of.ir}"
        )
    if findings := lint(model, target):
        first = findings[0]
        raise ValueError(
            f"{target} does not take the graph: {first.node}: {first.what}; {first.mend}"
        )


def _fill(folder: Path, codec: FeatureCodec, traced: Any, target: str) -> None:
    from codec.bundle.lowering import FLOAT32, products_in_half

    of, model = find_target(target), make_graph(codec, traced, target)
    (folder / ONNX_FILE).write_bytes(model.SerializeToString())
    if of.tensorrt is not None and of.opset >= 18:
        typed = products_in_half(model)
        _check_forms(typed, target)
        (folder / TYPED_FILE).write_bytes(typed.SerializeToString())
    network = codec.prior.network
    tables = {name: getattr(network, name) for name in NETWORK}
    np.savez(folder / TABLES_FILE, cdf=codec.prior.tables.cdf, **tables)
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    pixels = _sample_pixels(codec)
    np.savez(
        folder / SAMPLES_FILE,
        pixels=pixels,
        symbols=_recorded(folder, codec, pixels, shapes[PIXELS][0]),
    )
    (folder / DEVICE_FILE).write_text(device_source(), encoding="utf-8")
    (folder / BUILD_FILE).write_text(build_source(), encoding="utf-8")
    config = codec.config
    manifest: dict[str, Any] = {
        "format": BUNDLE_FORMAT,
        "name": config.name,
        "task": config.task,
        "fingerprint": codec.fingerprint.hex(),
        "target": target,
        "opset": of.opset,
        "ir": of.ir,
        "side": config.side,
        "default_quality": config.default_quality,
        "layers": [[q, config.halves[q]] for q in config.layers],
        "preprocess": config.preprocess.to_dict(),
        "shapes": shapes,
        "float32_nodes": list(FLOAT32),
    }
    (folder / "README.md").write_text(_readme(manifest, of), encoding="utf-8")
    manifest["sha256"] = {file.name: sha256(file) for file in sorted(folder.iterdir())}
    manifest["digest"] = manifest_digest(manifest)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n")
    sums = {**manifest["sha256"], MANIFEST_FILE: sha256(folder / MANIFEST_FILE)}
    (folder / SUMS_FILE).write_text(
        "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    )


def _sample_pixels(codec: FeatureCodec) -> NDArray[np.uint8]:
    """The first bundled pictures, at the size the backbone takes."""
    preprocess = codec.config.preprocess
    pictures = sorted((shipped_root() / "samples").rglob("*.png"))[
        : 8 if preprocess.size <= 64 else 4
    ]
    if not pictures:
        raise FileNotFoundError("the pictures in pretrained/samples are missing")
    return np.stack([preprocess.pixels(picture) for picture in pictures])


def _recorded(
    folder: Path, codec: FeatureCodec, pixels: NDArray[np.uint8], batch: int
) -> NDArray[np.int8]:
    """What the exported graph gives in ONNX Runtime, (n, Q, M, C), checked against PyTorch."""
    engine = OnnxRuntime(str(folder))
    pixel_values = codec.config.preprocess(list(pixels))
    latent = codec.latent(torch.from_numpy(pixel_values))
    expected = np.stack([codec.quantise(latent, q) for q in codec.qualities], axis=1)
    fill = np.zeros((-len(pixels) % batch, *pixel_values.shape[1:]), dtype=np.float32)
    padded = np.concatenate([pixel_values, fill])
    found = np.concatenate(
        [engine.run(padded[i : i + batch])[0] for i in range(0, len(padded), batch)]
    )[: len(pixels)]
    agreement = float((found == expected).mean())
    if agreement < LEAST_AGREEMENT:
        raise ValueError(
            f"ONNX Runtime gives {100 * agreement:.3f}% of the symbols that PyTorch gives: the "
            "graph is wrong"
        )
    return found.astype(np.int8)


def _readme(manifest: dict[str, Any], of: Target) -> str:
    text = (Path(__file__).parent / "readme.md").read_text(encoding="utf-8")
    runtime = "pip install numpy pillow onnxruntime"
    if of.tensorrt is not None:
        runtime += "     # or TensorRT as JetPack installs it (below), with numpy and pillow alone"
    start, end = "<!-- tensorrt -->\n", "<!-- end -->\n"
    before, _, rest = text.partition(start)
    about_tensorrt, _, after = rest.partition(end)
    text = before + (about_tensorrt if of.tensorrt is not None else "") + after
    answer = ANSWER[manifest["task"].split(", ")[0]]
    decode = " and ".join(
        f"`codec decode photo.blob {DECODE[task]}`" for task in manifest["task"].split(", ")
    )
    values = {
        "name": manifest["name"],
        "decode": decode,
        "answer": answer,
        "target": manifest["target"],
        "device": of.device,
        "opset": str(of.opset),
        "runtime": runtime,
    }
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", value)
    return text
