"""a bundle's ONNX file -> a TensorRT engine for this device, checked on sample pixels before it is
accepted, and kept in this user's cache (`codec.device.built`).

usage: python build_engine.py BUNDLE [--fp16]. For TensorRT 8.0 to 10.x and Python 3.6.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.device.built import engine_path, keep_engine, keep_timing, read_timing
from codec.device.bundle import SAMPLES_FILE, facts_of, read_manifest
from codec.device.cuda import Cuda
from codec.device.engines import ONNX_FILE, PIXELS, TYPED_FILE, TensorRT
from codec.device.npz import read_arrays
from codec.device.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST_AGREEMENT = {"fp32": 0.999, "fp16": 0.97}
"""Share of the sample symbols that an engine must give as ONNX Runtime did."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and check one engine; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="build_engine.py",
        description="Build a bundle's TensorRT engine on this device, and check it.",
    )
    parser.add_argument("bundle", help="folder that `codec export` wrote")
    parser.add_argument(
        "--fp16",
        action="store_true",
        help="products in float16; norms, projection and quantiser stay in float32",
    )
    parser.add_argument(
        "--workspace",
        type=int,
        default=256,
        metavar="MB",
        help="memory the builder may try layers with",
    )
    options = parser.parse_args(arguments)
    try:
        build_bundle(options.bundle, options.fp16, options.workspace)
    except ImportError as error:
        print(
            "build_engine: error: this Python has no TensorRT (JetPack's is in the system's "
            f"dist-packages): {error}",
            file=sys.stderr,
        )
        return 2
    except (ValueError, OSError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"build_engine: error: {reason}", file=sys.stderr)
        return 2
    return 0


def build_bundle(folder: str, fp16: bool, workspace: int) -> None:
    """Build and check the engine of a bundle, and keep it with the record that ties it to this
    device, where this user alone can write: nothing is written into the bundle.

    Raises:
        ImportError: there is no TensorRT.
        FileNotFoundError, ValueError: the bundle is not whole, TensorRT refuses it, the engine's
            symbols are not the recorded ones, or there is no such place.
    """
    manifest = read_manifest(folder)
    import tensorrt

    cuda, path = Cuda(), engine_path(manifest["digest"])
    serialized, timing = build(
        tensorrt,
        onnx_of(folder, tensorrt, fp16),
        fp16,
        manifest["float32_nodes"],
        workspace,
        read_timing(path),
    )
    shapes = facts_of(manifest, folder).shapes
    precision = "fp16" if fp16 else "fp32"
    agreement = check(
        TensorRT.of_bytes(tensorrt, serialized, shapes),
        folder,
        manifest,
        LEAST_AGREEMENT[precision],
    )
    facts = {
        "tensorrt": str(tensorrt.__version__),
        "gpu": cuda.device_name(),
        "precision": precision,
        "agreement": agreement,
    }
    keep_engine(path, serialized, facts)
    keep_timing(path, timing)
    print(
        f"{path}: {precision}, {len(serialized)} bytes, {100 * agreement:.3f}% of the "
        "sample symbols as recorded"
    )


def version_of(trt: Any) -> tuple[int, int]:
    """Major and minor version of a `tensorrt` module."""
    major, minor = str(trt.__version__).split(".")[:2]
    return int(major), int(minor)


def onnx_of(folder: str, trt: Any, fp16: bool) -> bytes:
    """The ONNX file to build: the typed one for float16 on TensorRT 10 and later."""
    name = TYPED_FILE if fp16 and version_of(trt) >= (10, 0) else ONNX_FILE
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"{name} is not in this bundle: export it for this device's JetPack"
        )
    return Path(path).read_bytes()


def build(
    trt: Any, model: bytes, fp16: bool, float32_nodes: Sequence[str], workspace: int, cache: bytes
) -> tuple[bytes, bytes]:
    """ONNX file -> serialized engine, and the timing cache for the next time.

    TensorRT before 10: weakly typed, with the layers named in `float32_nodes` (beginnings of names)
    kept in float32. From 10 on: strongly typed, each layer as the ONNX file has it.

    Raises:
        ValueError: TensorRT refuses the file or cannot build it.
    """
    version = version_of(trt)
    logger = trt.Logger(trt.Logger.WARNING)
    if hasattr(trt, "init_libnvinfer_plugins"):
        trt.init_libnvinfer_plugins(logger, "")
    try:
        builder = trt.Builder(logger)
        network = builder.create_network(_network_flags(trt, version))
        parser = trt.OnnxParser(network, logger)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"TensorRT {trt.__version__} cannot start: {error}") from error
    # a layer of its own, which computes in float32, instead of a plugin; later the only way
    if (8, 6) <= version < (10, 0):
        parser.set_flag(trt.OnnxParserFlag.NATIVE_INSTANCENORM)
    if not parser.parse(model):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise ValueError(f"TensorRT {trt.__version__} refuses the ONNX file: {errors}")
    config = builder.create_builder_config()
    if hasattr(config, "set_memory_pool_limit"):  # 8.4 and later
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace << 20)
    else:
        config.max_workspace_size = workspace << 20
    if version < (10, 0):
        # float32 means float32: Orin would round products to 10 bits
        config.clear_flag(trt.BuilderFlag.TF32)
        if fp16:
            _mix_precisions(trt, network, config, float32_nodes)
    elif hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    timing = config.create_timing_cache(cache)
    config.set_timing_cache(timing, ignore_mismatch=False)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise ValueError(
            f"TensorRT {trt.__version__} cannot build an engine of this file: see above"
        )
    return bytes(serialized), bytes(config.get_timing_cache().serialize())


def _network_flags(trt: Any, version: tuple[int, int]) -> int:
    if version < (10, 0):
        return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if typed is None else 1 << int(typed)  # from 11 on networks have no other kind


def _mix_precisions(trt: Any, network: Any, config: Any, float32_nodes: Sequence[str]) -> None:
    """float16 where TensorRT likes, float32 in the named layers, which it must obey."""
    config.set_flag(trt.BuilderFlag.FP16)
    obey = getattr(trt.BuilderFlag, "OBEY_PRECISION_CONSTRAINTS", None)  # 8.2 and later
    config.set_flag(trt.BuilderFlag.STRICT_TYPES if obey is None else obey)
    held = 0
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        outputs = [layer.get_output(j) for j in range(layer.num_outputs)]
        if not layer.name.startswith(tuple(float32_nodes)) or any(
            output.dtype != trt.float32 for output in outputs
        ):
            continue  # layers of shapes and integers have no precision to hold
        layer.precision = trt.float32
        for j in range(len(outputs)):
            layer.set_output_type(j, trt.float32)
        held += 1
    if not held:
        raise ValueError(
            "no layer of the network has the name of a node that must stay in float32: the ONNX "
            "file is not this bundle's"
        )


def check(engine: Any, folder: str, manifest: dict[str, Any], least: float) -> float:
    """Run an engine on the bundle's sample pixels; returns the share of symbols that are as
    recorded.

    Raises:
        ValueError: the share is below `least`, or what comes out is not finite.
    """
    samples = read_arrays(os.path.join(folder, SAMPLES_FILE))
    pixel_values = Preprocess.from_dict(manifest["preprocess"])(list(samples["pixels"]))
    batch, same, n_symbols = manifest["shapes"][PIXELS][0], 0, 0
    for start in range(0, len(pixel_values), batch):
        expected = samples["symbols"][start : start + batch]
        padded = np.zeros(manifest["shapes"][PIXELS], dtype=np.float32)
        padded[: len(expected)] = pixel_values[start : start + batch]
        symbols, latent = engine.run(padded)
        if not np.isfinite(latent[: len(expected)]).all():
            raise ValueError(
                "the engine is not accepted: its latent is not finite (NaN or infinity); build it "
                "without --fp16"
            )
        same += int((symbols[: len(expected)] == expected).sum())
        n_symbols += expected.size
    if same < least * n_symbols:
        raise ValueError(
            f"the engine is not accepted: {100 * same / n_symbols:.3f}% of its symbols are the "
            f"recorded ones, {100 * least:g}% are asked for"
        )
    return same / n_symbols


if __name__ == "__main__":
    sys.exit(main())
