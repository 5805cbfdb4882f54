"""pixel_values -> symbols of every quality and the latent, by what the device has: ONNX Runtime, or
an engine TensorRT built there.

Part of the one file for devices: Python 3.6, numpy, and whichever of the two is installed.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.device.cuda import Cuda
from codec.files import sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray

ONNX_FILE, ENGINE_FILE, RECORD_FILE = "encoder.onnx", "encoder.engine", "encoder.engine.json"
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
        shapes: of the tensors, by name.

    Raises:
        ValueError: the engine is of another TensorRT, GPU or ONNX file, or cannot be loaded.
    """

    name = "tensorrt"

    def __init__(self, folder: str, shapes: dict[str, tuple[int, ...]]) -> None:
        import tensorrt

        self._cuda = Cuda()
        check_record(folder, str(tensorrt.__version__), self._cuda.device_name())
        with open(os.path.join(folder, ENGINE_FILE), "rb") as file:
            self._load(tensorrt, file.read(), shapes)

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


def check_record(folder: str, tensorrt: str, gpu: str) -> None:
    """Compare what `build_engine.py` wrote beside the engine with this device.

    Raises:
        ValueError: the engine is of another TensorRT, GPU or ONNX file, or was altered.
    """
    try:
        with open(os.path.join(folder, RECORD_FILE)) as file:
            record = json.load(file)
        built = {
            key: str(record[key]) for key in ("tensorrt", "gpu", "onnx_sha256", "engine_sha256")
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} lacks a whole {RECORD_FILE}: build the engine again with build_engine.py"
        ) from error
    here = {"tensorrt": tensorrt, "gpu": gpu}
    here["onnx_sha256"], here["engine_sha256"] = (
        sha256(os.path.join(folder, name)) for name in (ONNX_FILE, ENGINE_FILE)
    )
    words = {
        "tensorrt": "TensorRT",
        "gpu": "the GPU",
        "onnx_sha256": "the ONNX file",
        "engine_sha256": "the engine file",
    }
    for key in ("tensorrt", "gpu", "onnx_sha256", "engine_sha256"):
        if built[key] != here[key]:
            raise ValueError(
                f"{ENGINE_FILE} was built for another device: {words[key]} was "
                f"{built[key][:40]}, here it is {here[key][:40]}; build it again with "
                "build_engine.py"
            )


def open_engine(folder: str, shapes: dict[str, tuple[int, ...]]) -> OnnxRuntime | TensorRT:
    """The engine that was built in a bundle, where there is one; else ONNX Runtime.

    Raises:
        ValueError: neither can be had; the message says what to do.
    """
    if os.path.exists(os.path.join(folder, ENGINE_FILE)):
        try:
            return TensorRT(folder, shapes)
        except ImportError as error:
            raise ValueError(
                f"{ENGINE_FILE} is there, but this Python has no tensorrt module: {error}"
            ) from error
    try:
        return OnnxRuntime(folder)
    except ImportError as error:
        raise ValueError(
            "neither onnxruntime nor an engine: pip install onnxruntime, or run build_engine.py on "
            "this device"
        ) from error
