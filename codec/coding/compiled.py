"""codec/coding/coder.c -> a library that is loaded into this process, compiled here and kept in a
folder that nobody else can write to. Engines of TensorRT are kept there too (`codec.device.built`).

Code is loaded from nowhere else: not from a bundle or a checkpoint, not from the working directory,
not from a folder that another user could change. A library that is kept is loaded only if its
length and SHA-256 are those that were written down when it was compiled. Where no such folder can
be had, it is compiled for this process alone. Part of the one file for devices: Python 3.6.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codec.coding.exact import EIGHTHS, FRACTION_BITS, LIMIT, N_SCALES
from codec.coding.places import REACH
from codec.files import sha256, whole_file

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE = (Path(__file__).parent / "coder.c").read_text(encoding="utf-8")
_KNOWN = {
    "LIMIT": LIMIT,
    "REACH": REACH,
    "N_SCALES": N_SCALES,
    "EIGHTHS": EIGHTHS,
    "FRACTION_BITS": FRACTION_BITS,
}
FLAGS = (
    "-std=c99",
    "-O3",
    "-shared",
    "-fPIC",
    *[f"-D{name}={value}" for name, value in sorted(_KNOWN.items())],
)
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def library(more: str = "") -> Any:
    """The compiled C, as ctypes has it.

    Args:
        more: source of this package that follows coder.c and uses what is in it.

    Raises:
        ValueError: there is no compiler, it fails, or there is no place to write; the message says
            why.
    """
    return _library(SOURCE + more, FLAGS)


@functools.lru_cache(maxsize=8)
def _library(source: str, flags: Sequence[str]) -> Any:
    about = f"{source} {flags} {platform.machine()} {sys.maxsize} {sys.platform}"
    name = f"coder-{hashlib.sha256(about.encode()).hexdigest()[:16]}.so"
    try:
        folder = private_cache()
    except (OSError, ValueError):
        folder = None
    if folder is not None and _is_ours(folder / name):
        with contextlib.suppress(ValueError):  # one of another system: compiled anew
            return _loaded(folder / name)
    try:
        place = Path(tempfile.mkdtemp(prefix="coder-", dir=folder and str(folder)))
        try:
            check_private(place)
            made = _compiled(source, flags, place)
            found = _loaded(made)
            if folder is not None:
                _keep(made, folder / name)
            return found
        finally:  # Linux and macOS need the file of a library no longer once it is loaded
            shutil.rmtree(str(place), ignore_errors=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(f"the coder cannot be compiled: {error}") from error


def private_cache() -> Path:
    """The folder of this user that keeps the library, made where it is missing: in
    XDG_CACHE_HOME, or in `.cache` of the home folder.

    Raises:
        ValueError: neither is an absolute path of a folder that is there, or another user could
            write to it.
        OSError: it cannot be made.
    """
    above = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(above):
        home = os.path.expanduser("~")  # a literal "~" where there is none
        if not os.path.isabs(home) or not os.path.isdir(home):
            raise ValueError("this user has no home folder")
        above = os.path.join(home, ".cache")
    folder = Path(os.path.realpath(above)) / "task-codec"
    for part in [*reversed(folder.parents), folder]:
        if not part.exists():
            with contextlib.suppress(FileExistsError):  # another process made it just now
                part.mkdir(mode=0o700)
    check_private(folder)
    return folder


def check_private(folder: Path) -> None:
    """Check that only this user can change what is in a folder, or put another in its place.

    Raises:
        ValueError: it is a link or not a folder; or it, or a folder above it, belongs to another
            user (root aside), or others may write to it (folders above may be sticky, as /tmp is).
        OSError: it cannot be looked at.
    """
    if not hasattr(os, "geteuid"):
        raise ValueError("this system does not say who owns a folder")
    found = os.lstat(str(folder))
    if not stat.S_ISDIR(found.st_mode):
        raise ValueError(f"{folder} is not a folder")
    if found.st_uid != os.geteuid() or found.st_mode & OTHERS_WRITE:
        raise ValueError(f"{folder} can be written to by other users")
    for above in Path(os.path.realpath(str(folder))).parents:
        found = os.stat(str(above))
        shared = found.st_mode & OTHERS_WRITE and not found.st_mode & stat.S_ISVTX
        if found.st_uid not in (0, os.geteuid()) or shared:
            raise ValueError(f"{above}, above {folder}, can be written to by other users")


def is_own_file(path: Path) -> bool:
    """Whether a file is no link, this user's own, and nobody else may write to it.

    Raises:
        OSError: it cannot be looked at.
    """
    found = os.lstat(str(path))
    own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    return own and not found.st_mode & OTHERS_WRITE


def _is_ours(path: Path) -> bool:
    """Whether a library is whole and the one that was compiled here: this user's own file, and of
    the length and SHA-256 in the record beside it.
    """
    record = _record(path)
    try:
        for file in (path, record):
            if not is_own_file(file) or file.stat().st_size > 1 << 24:
                return False
        return record.read_text() == _facts(path)
    except (OSError, ValueError):
        return False


def _keep(made: Path, path: Path) -> None:
    """Put a library and its record where the next process looks for them. Two processes at once may
    leave a record that is not the library's: then the next one compiles again.
    """
    contents = ((path, made.read_bytes()), (_record(path), _facts(made).encode()))
    with contextlib.suppress(OSError):  # a full disk, say: what is loaded serves this process
        for target, content in contents:
            with whole_file(target) as file:
                file.write_bytes(content)
                file.chmod(0o600)


def _record(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _facts(path: Path) -> str:
    return f"{path.stat().st_size} {sha256(path)}\n"


def _loaded(path: Path) -> Any:
    try:
        found: Any = ctypes.CDLL(str(path))
        number, size, pointer = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
        found.prior_write.argtypes = [pointer, number] + [pointer] * 5
        found.prior_read.argtypes = [pointer, number, ctypes.c_char_p, size] + [pointer] * 4
        found.prior_write.restype = found.prior_read.restype = size
    except (OSError, AttributeError) as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from error
    return found


def _compiled(source: str, flags: Sequence[str], place: Path) -> Path:
    """Compile into an empty folder. Compilers are looked for in absolute folders of PATH alone."""
    folders = [f for f in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(f)]
    names = [shutil.which(name, path=os.pathsep.join(folders)) for name in ("cc", "gcc", "clang")]
    compilers = [name for name in names if name]
    if not folders or not compilers:
        raise ValueError("no C compiler: neither cc, gcc nor clang is there")
    (place / "coder.c").write_text(source, encoding="utf-8")
    made = place / "coder.so"
    done = subprocess.run(
        [compilers[0], *flags, str(place / "coder.c"), "-o", str(made)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=str(place),
        timeout=60,
        check=False,
    )
    if done.returncode:
        output = done.stdout.decode("utf-8", "replace")[:300]
        raise ValueError(f"{compilers[0]} failed: {output}")
    return made
