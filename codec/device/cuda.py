"""arrays <-> memory of the GPU: the few calls of CUDA's driver that a TensorRT engine needs.

Part of the one file for devices: Python 3.6, numpy.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Cuda:
    """The few calls of CUDA's driver that an engine needs.

    Raises:
        ValueError: there is no driver, no device, or a call fails.
    """

    def __init__(self) -> None:
        try:
            self._driver = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise ValueError(f"no CUDA driver: {error}") from error
        self._device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(self._device), ctypes.c_int(0))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code:
            raise ValueError(f"CUDA: {name} failed with code {code}")

    def device_name(self) -> str:
        """Name of the GPU."""
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, ctypes.c_int(256), self._device)
        return text.value.decode("ascii", "replace")

    def allocate(self, n_bytes: int) -> int:
        """Address of new memory on the device; it lives as long as the process."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(n_bytes))
        return int(address.value)

    def to_device(self, address: int, array: NDArray[Any]) -> None:
        """Copy an array that is contiguous."""
        self._call(
            "cuMemcpyHtoD_v2",
            ctypes.c_uint64(address),
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_size_t(array.nbytes),
        )

    def from_device(self, array: NDArray[Any], address: int) -> None:
        """Copy into an array that is contiguous."""
        self._call(
            "cuMemcpyDtoH_v2",
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_uint64(address),
            ctypes.c_size_t(array.nbytes),
        )

    def wait(self) -> None:
        """Until everything that was started is done."""
        self._call("cuCtxSynchronize")
