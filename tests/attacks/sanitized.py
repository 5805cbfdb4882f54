"""payload -> symbols by the coder in C that is compiled with address and undefined-behaviour
sanitizers, in a process of its own.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.coding import compiled, native
from codec.coding.integer_prior import IntegerPrior

DRIVER = Path(__file__).parent / "sanitize.c"
FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1", "-std=c99")


def built(folder: Path, driver: Path = DRIVER) -> tuple[Path | None, str]:
    """A driver, that of the blobs' coder for instance, compiled into a folder; or None, and why
    not.
    """
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


class Driver:
    """A driver in a process of its own.

    Args:
        program: from `built`.
        start: what it reads first.
    """

    def __init__(self, program: Path, start: bytes) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: Any = subprocess.Popen(
            [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
        )
        self._process.stdin.write(start)

    def ask(self, question: bytes, n_bytes: Callable[[int], int]) -> bytes | None:
        """What it answers: the bytes behind a number, of which `n_bytes` says how many they are;
        None where the number is negative, as the payload is refused.

        Raises:
            AssertionError: a sanitizer ended the program; the message is what it said.
        """
        try:
            self._process.stdin.write(question)
            self._process.stdin.flush()
            (n,) = struct.unpack("=i", self._whole(4))
            return None if n < 0 else self._whole(n_bytes(n))
        except (OSError, struct.error) as error:
            self._said.seek(0)
            said = self._said.read().decode("utf-8", "replace")
            raise AssertionError(f"the C coder was ended by a sanitizer: {said[:2000]}") from error

    def close(self) -> None:
        """End the program."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._said.close()

    def _whole(self, n: int) -> bytes:
        data: bytes = self._process.stdout.read(n)
        if len(data) != n:
            raise OSError("the program ended")
        return data


class Sanitized(Driver):
    """The driver of the blobs' coder, with a prior."""

    def __init__(self, program: Path, prior: IntegerPrior) -> None:
        network = prior.network
        self._shape = (network.side**2, network.n_channels)
        sizes = (*self._shape, network.hidden.shape[1], len(network.passes), network.n_qualities)
        kept = native._arrays(network, prior.tables)
        start = b"".join(kept[name].tobytes() for name in native._POINTERS)
        super().__init__(program, struct.pack("=5i", *sizes) + start)

    def read(self, payload: bytes, quality: int) -> tuple[NDArray[np.int32], bytes] | None:
        """The symbols (M, C) of a payload and what they are written to; None where it is refused.
        Errors as `ask`.
        """
        size = 4 * self._shape[0] * self._shape[1]
        question = struct.pack("=2i", quality, len(payload)) + payload
        said = self.ask(question, lambda n: n + size)
        if said is None:
            return None
        return np.frombuffer(said[-size:], np.int32).reshape(self._shape), said[:-size]
