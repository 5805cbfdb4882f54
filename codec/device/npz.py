"""npz file -> arrays of plain numbers, as `numpy.savez` writes them.

A file can come from anyone. Nothing here unpickles, decompresses or evaluates, and no array is
larger than the file it is in. Part of the one file for devices: Python 3.6, numpy.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ARRAYS = 1 << 26
"""Most bytes of a file."""
# what numpy writes before an array's bytes
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([<|][iuf][1248])', 'fortran_order': (False|True), "
    rb"'shape': \(((?:\d{1,10}, ?)*\d{0,10},?)\), \} *\n",
    re.DOTALL,
)


def read_arrays(path: str) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file, as `numpy.savez` writes integers and floats.

    Raises:
        OSError: there is no such file.
        ValueError: another file: cut, compressed, pickled, or with arrays that are not as long as
            they say.
    """
    size = os.path.getsize(path)
    try:
        if size > MAX_ARRAYS:
            raise ValueError(f"it has more than {MAX_ARRAYS} bytes")
        with zipfile.ZipFile(path) as file:
            parts = file.infolist()
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
                raise ValueError("it is compressed")
            if len({part.filename for part in parts}) != len(parts):
                raise ValueError("it holds a name twice")
            if sum(part.file_size for part in parts) > size:
                raise ValueError("its arrays are longer than the file")
            return {os.path.splitext(part.filename)[0]: _array(file.read(part)) for part in parts}
    except (
        zipfile.BadZipFile,
        struct.error,
        ValueError,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,  # encrypted
    ) as error:
        raise ValueError(f"{path} is not a file of arrays: {error}") from error


def _array(data: bytes) -> NDArray[Any]:
    """An npy file of plain numbers -> its array."""
    header = _NPY.match(data[:4096])
    if header is None:
        raise ValueError("an array is not of integers or floats")
    dtype = np.dtype(header.group(1).decode())
    shape = tuple(int(n) for n in header.group(3).decode().split(",") if n.strip())
    n_values = 1
    for n in shape:
        n_values *= n
    if n_values * dtype.itemsize != len(data) - header.end():
        raise ValueError("an array is not as long as it says")
    flat: NDArray[Any] = np.frombuffer(data, dtype=dtype, offset=header.end()).copy()
    return flat.reshape(shape, order="F" if header.group(2) == b"True" else "C")
