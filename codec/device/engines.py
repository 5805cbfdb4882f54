"""pixel_values -> symbols of every quality and the latent, by what the device has: ONNX Runtime, or
an engine TensorRT built there.

Part of the one file for devices: Python 3.6, numpy, and whichever of the two is installed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.device.built import engine_path, is_built, read_engine
from codec.device.cuda import Cuda

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ONNX_FILE = "encoder.onnx"
TYPED_FILE = "encoder.fp16.onnx"
"""The ONNX file whose products are in float16, for strongly typed networks; bundles for TensorRT 10
and later hold it.
"""
ALONE_FILE = "alone.onnx"
"""The classifier for the device alone, in bundles that have one. ONNX Runtime runs it."""
PIXELS, SYMBOLS, LATENT, LOGITS = "pixel_values", "symbols", "latent", "logits"


def onnx_session(path: str) -> Any:
    """An ONNX file in ONNX Runtime, on the CPU: its `InferenceSession`.

    Raises:
        ImportError: there is no ONNX Runtime here.
        ValueError: it refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # its own count is of all cores, those this process may not use among them
    if hasattr(os, "sched_getaffinity"):
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base
        raise ValueError(
            f"ONNX Runtime {onnxruntime.__version__} refuses {path}: {error}"
        ) from error


class OnnxRuntime:
    """The bundle's ONNX file in ONNX Runtime, on the CPU."""

    name = "onnxruntime"

    def __init__(self, folder: str) -> None:
        self._session = onnx_session(os.path.join(folder, ONNX_FILE))

    def run(
        self, pixel_values: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Pixels (B, 3, S, S) float32, of the bundle's fixed B -> symbols (B, Q, M, C) int32,
        latent (B, M, C) float32.
        """
        try:
            symbols, latent = self._session.run([SYMBOLS, LATENT], {PIXELS: pixel_values})
        except Exception as error:
            raise ValueError(f"ONNX Runtime cannot run {ONNX_FILE}: {error}") from error
        return symbols, latent


class TensorRT:
    """An engine that `build_engine.py` built on this device, with memory from CUDA's driver.

    Args:
        path: as `engine_path` has it.
        shapes: of the tensors, by name.

    Raises:
        ValueError: the engine is of another TensorRT or GPU, was cut or replaced, or cannot be
            loaded.
    """

    name = "tensorrt"

    def __init__(self, path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
        import tensorrt

        self._cuda = Cuda()
        serialized = read_engine(path, str(tensorrt.__version__), self._cuda.device_name())
        self._load(tensorrt, serialized, shapes)

    @classmethod
    def of_bytes(
        cls, tensorrt: Any, serialized: bytes, shapes: dict[str, tuple[int, ...]]
    ) -> TensorRT:
        """An engine that has just been built."""
        made = cls.__new__(cls)
        made._cuda = Cuda()
        made._load(tensorrt, serialized, shapes)
        return made

    def _load(self, trt: Any, serialized: bytes, shapes: dict[str, tuple[int, ...]]) -> None:
        logger = trt.Logger(trt.Logger.ERROR)
        if hasattr(trt, "init_libnvinfer_plugins"):
            trt.init_libnvinfer_plugins(logger, "")
        try:  # without a GPU that it can use, its constructors raise TypeError
            self._runtime = trt.Runtime(logger)
            self._engine = self._runtime.deserialize_cuda_engine(serialized)
        except (TypeError, RuntimeError) as error:
            raise ValueError(f"TensorRT cannot start: {error}") from error
        self._context: Any = (
            self._engine.create_execution_context() if self._engine is not None else None
        )
        if self._context is None:
            raise ValueError(
                "TensorRT cannot load the engine, or has no memory to run it: build it again with "
                "build_engine.py"
            )
        self._symbols = np.empty(shapes[SYMBOLS], dtype=np.int32)
        self._latent = np.empty(shapes[LATENT], dtype=np.float32)
        sizes = {
            PIXELS: 4 * int(np.prod(shapes[PIXELS])),
            SYMBOLS: self._symbols.nbytes,
            LATENT: self._latent.nbytes,
        }
        self._memory = {name: self._cuda.allocate(n_bytes) for name, n_bytes in sizes.items()}

    def run(
        self, pixel_values: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """As `OnnxRuntime.run`."""
        self._cuda.to_device(
            self._memory[PIXELS], np.ascontiguousarray(pixel_values, dtype=np.float32)
        )
        # TensorRT 8.5 and later; the only way from 10 on
        if hasattr(self._context, "set_tensor_address"):
            for name, address in self._memory.items():
                self._context.set_tensor_address(name, address)
            done = self._context.execute_async_v3(0)
        else:
            places = {
                self._engine.get_binding_index(name): address
                for name, address in self._memory.items()
            }
            done = self._context.execute_v2([places[i] for i in range(len(places))])
        self._cuda.wait()
        if not done:
            raise ValueError(
                "TensorRT could not run the engine: build it again with build_engine.py"
            )
        self._cuda.from_device(self._symbols, self._memory[SYMBOLS])
        self._cuda.from_device(self._latent, self._memory[LATENT])
        return self._symbols.copy(), self._latent.copy()


def open_engine(
    folder: str, digest: str, shapes: dict[str, tuple[int, ...]]
) -> OnnxRuntime | TensorRT:
    """The engine that this user built of a bundle, where there is one; else ONNX Runtime.

    Args:
        folder: the bundle; nothing in it is loaded but the ONNX file.
        digest: of its manifest.
        shapes: of the tensors, by name.

    Raises:
        ValueError: neither can be had; the message says what to do.
    """
    lacking = "nor an engine"
    try:
        path = engine_path(digest)
    except (OSError, ValueError) as error:
        lacking = f"nor a place for an engine ({error})"
    else:
        if is_built(path):
            try:
                return TensorRT(path, shapes)
            except ImportError as error:
                raise ValueError(
                    f"{path} is there, but this Python has no tensorrt module: {error}"
                ) from error
    try:
        return OnnxRuntime(folder)
    except ImportError as error:
        raise ValueError(
            f"neither onnxruntime {lacking}: pip install onnxruntime, or run build_engine.py on "
            "this device"
        ) from error
