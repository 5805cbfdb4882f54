"""A stand-in for the `tensorrt` module of a release: its names, where that release has them, and an
engine that ONNX Runtime runs.

It takes the calls in the order and of the kind the release does, so that code written for another
release fails as it would there. What TensorRT computes it cannot tell.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

MARK = b"engine of "


class FakeCuda:
    """Memory of this machine in the place of a device's; `name` is the GPU's."""

    name = "NVIDIA Tegra X1"
    arrays: dict[int, Any]

    def __init__(self) -> None:
        self.arrays = {}

    def device_name(self) -> str:
        return self.name

    def allocate(self, n_bytes: int) -> int:
        array = np.zeros(n_bytes, dtype=np.uint8)
        self.arrays[array.ctypes.data] = array
        return int(array.ctypes.data)

    def to_device(self, address: int, array: Any) -> None:
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def from_device(self, array: Any, address: int) -> None:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def wait(self) -> None:
        pass


def make(version: str, symbols_wrong: float = 0.0, nan: bool = False, refuses: str = "") -> Any:
    """The module of a release, with `log`, the calls it got.

    Args:
        symbols_wrong: share of the symbols its engines get wrong.
        nan: whether its engines give a latent that is not finite.
        refuses: `start`, `parse`, `build`, `load` or `context`, what it fails at.
    """
    release = tuple(int(part) for part in version.split(".")[:2])
    log: list[Any] = []
    flags = {"FP16": 0, "TF32": 7}
    if release < (10, 0):
        flags["STRICT_TYPES"] = 3
    if (8, 2) <= release < (11, 0):
        flags["OBEY_PRECISION_CONSTRAINTS"] = 12
    if release >= (11, 0):
        del flags["FP16"]
    creation = {"EXPLICIT_BATCH": 0} if release < (11, 0) else {}
    if (9, 0) <= release < (11, 0):
        creation["STRONGLY_TYPED"] = 2

    class Logger:
        WARNING, ERROR = 2, 1

        def __init__(self, severity: int) -> None:
            self.severity = severity

    class Layer:
        def __init__(self, node: Any) -> None:
            self.name, self.num_outputs, self.precision, self.held = (
                node.name,
                len(node.output),
                None,
                [],
            )
            self.kind = (
                "int32" if node.op_type in ("Shape",) or node.name == "quantise/cast" else "float32"
            )

        def get_output(self, _: int) -> Any:
            return SimpleNamespace(dtype=self.kind)

        def set_output_type(self, place: int, kind: str) -> None:
            self.held.append((place, kind))

    class Network:
        def __init__(self, creation_flags: int) -> None:
            self.flags, self.layers, self.data = creation_flags, [], b""
            log.append(("network", creation_flags))

        @property
        def num_layers(self) -> int:
            return len(self.layers)

        def get_layer(self, place: int) -> Layer:
            return self.layers[place]

    class Parser:
        num_errors = 1

        def __init__(self, network: Network, logger: Logger) -> None:
            self.network = network

        def get_error(self, _: int) -> str:
            return "In node 3: UNSUPPORTED_NODE"

        def parse(self, data: bytes) -> bool:
            if refuses == "parse":
                return False
            self.network.data = data
            self.network.layers = [Layer(node) for node in onnx.load_from_string(data).graph.node]
            log.append(("parse", len(data)))
            return True

        if release >= (8, 6):

            def set_flag(self, flag: str) -> None:
                log.append(("parser flag", flag))

    class Config:
        def __init__(self) -> None:
            self.cache = b""

        def set_flag(self, flag: int) -> None:
            log.append(("set", next(name for name, value in flags.items() if value == flag)))

        def clear_flag(self, flag: int) -> None:
            log.append(("clear", next(name for name, value in flags.items() if value == flag)))

        def create_timing_cache(self, data: bytes) -> bytes:
            log.append(("given cache", data))
            return data

        def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
            self.cache = cache + b"timed "
            return True

        def get_timing_cache(self) -> Any:
            return SimpleNamespace(serialize=lambda: self.cache)

        if release >= (8, 4):

            def set_memory_pool_limit(self, pool: str, n_bytes: int) -> None:
                log.append((pool, n_bytes))

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "max_workspace_size" and release >= (10, 0):
                raise AttributeError(name)
            log.append((name, value))
            object.__setattr__(self, name, value)

    class Builder:
        def __init__(self, logger: Logger) -> None:
            if refuses == "start":
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, creation_flags: int = 0) -> Network:
            return Network(creation_flags)

        def create_builder_config(self) -> Config:
            return Config()

        def build_serialized_network(self, network: Network, config: Config) -> Any:
            log.append(("build", network, config))
            # not bytes there either, a buffer
            return None if refuses == "build" else bytearray(MARK + network.data)

    class Context:
        def __init__(self, data: bytes) -> None:
            self.session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
            self.places: dict[str, int] = {}
            values = [*self.session.get_inputs(), *self.session.get_outputs()]
            self.shapes = {value.name: value.shape for value in values}

        def _compute(self) -> bool:
            pixels = _view(self.places["pixel_values"], np.float32, self.shapes["pixel_values"])
            symbols, latent = self.session.run(["symbols", "latent"], {"pixel_values": pixels})
            symbols.reshape(-1)[: int(symbols_wrong * symbols.size)] += 1
            _view(self.places["symbols"], np.int32, symbols.shape)[:] = symbols
            _view(self.places["latent"], np.float32, latent.shape)[:] = np.nan if nan else latent
            return True

        if release >= (8, 5):

            def set_tensor_address(self, name: str, address: int) -> bool:
                self.places[name] = address
                return True

            def execute_async_v3(self, stream: int) -> bool:
                return self._compute()

        if release < (10, 0):

            def execute_v2(self, bindings: list[int]) -> bool:
                self.places = dict(zip(self.shapes, bindings, strict=True))
                return self._compute()

    class Engine:
        def __init__(self, data: bytes) -> None:
            self.context = Context(data)

        def create_execution_context(self) -> Context | None:
            return None if refuses == "context" else self.context

        if release < (10, 0):

            def get_binding_index(self, name: str) -> int:
                return list(self.context.shapes).index(name)

    class Runtime:
        def __init__(self, logger: Logger) -> None:
            pass

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            log.append(("deserialised", data))
            return (
                None
                if refuses == "load" or not data.startswith(MARK)
                else Engine(data[len(MARK) :])
            )

    module = SimpleNamespace(
        __version__=version,
        Logger=Logger,
        Builder=Builder,
        OnnxParser=Parser,
        Runtime=Runtime,
        BuilderFlag=SimpleNamespace(**flags),
        NetworkDefinitionCreationFlag=SimpleNamespace(**creation),
        float32="float32",
        log=log,
        init_libnvinfer_plugins=lambda logger, namespace: True,
    )
    if release >= (8, 4):
        module.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    if release >= (8, 6):
        module.OnnxParserFlag = SimpleNamespace(NATIVE_INSTANCENORM="native instance norm")
    return module


def _view(address: int, kind: Any, shape: Any) -> Any:
    """The array that lies at an address."""
    n_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize
    return np.frombuffer((ctypes.c_uint8 * n_bytes).from_address(address), dtype=kind).reshape(
        shape
    )
