"""payload -> symbols by the coder in C that is compiled with address and undefined-behaviour
sanitizers, in a process of its own.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.coding import compiled, native
from codec.coding.integer_prior import IntegerPrior

DRIVER = Path(__file__).parent / "sanitize.c"
FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1", "-std=c99")


def built(folder: Path) -> tuple[Path | None, str]:
    """The driver of the blobs' coder, compiled into a folder; or None, and why not."""
    return compiled_with_sanitizers(DRIVER, folder)


def compiled_with_sanitizers(driver: Path, folder: Path) -> tuple[Path | None, str]:
    """A driver that includes `coder.c`, compiled into a folder; or None, and why not."""
    compiler = next(filter(None, map(shutil.which, ("clang", "gcc", "cc"))), None)
    if compiler is None:
        return None, "there is no C compiler"
    program = folder / "sanitize"
    (folder / "coder.c").write_text(compiled.SOURCE)
    defined = [flag for flag in compiled.FLAGS if flag.startswith("-D")]
    command = [compiler, *FLAGS, *defined, f"-I{folder}", str(driver), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None, f"{compiler} has no sanitizers: {done.stderr.strip()[:200]}"
    return program, ""


class Sanitized:
    """The driver, with a prior.

    Args:
        program: from `built`.
    """

    def __init__(self, program: Path, prior: IntegerPrior) -> None:
        network = prior.network
        self._shape = (network.side**2, network.n_channels)
        sizes = (*self._shape, network.hidden.shape[1], len(network.passes), network.n_qualities)
        kept = native._arrays(network, prior.tables)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: Any = subprocess.Popen(
            [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
        )
        start = b"".join(kept[name].tobytes() for name in native._POINTERS)
        self._process.stdin.write(struct.pack("=5i", *sizes) + start)

    def read(self, payload: bytes, quality: int) -> tuple[NDArray[np.int32], bytes] | None:
        """The symbols (M, C) of a payload and what they are written to; None where it is refused.

        Raises:
            AssertionError: a sanitizer ended the program; the message is what it said.
        """
        try:
            self._process.stdin.write(struct.pack("=2i", quality, len(payload)) + payload)
            self._process.stdin.flush()
            (n,) = struct.unpack("=i", read_whole(self._process.stdout, 4))
            if n < 0:
                return None
            written = read_whole(self._process.stdout, n)
            n_bytes = 4 * self._shape[0] * self._shape[1]
            symbols = np.frombuffer(read_whole(self._process.stdout, n_bytes), np.int32)
        except (OSError, struct.error) as error:
            self._said.seek(0)
            said = self._said.read().decode("utf-8", "replace")
            raise AssertionError(f"the C coder was ended by a sanitizer: {said[:2000]}") from error
        return symbols.reshape(self._shape), written

    def close(self) -> None:
        """End the program."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._said.close()


def read_whole(stream: Any, n: int) -> bytes:
    """The next n bytes that a program writes.

    Raises:
        OSError: it ended before that.
    """
    data: bytes = stream.read(n)
    if len(data) != n:
        raise OSError("the program ended")
    return data
