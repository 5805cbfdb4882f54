"""The compiled coder: kept where nobody else can write, and no other code is ever loaded."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codec.coding import compiled

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler here"
)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Paths of all libraries that are loaded."""
    compiled._library.cache_clear()
    paths: list[str] = []
    real = ctypes.CDLL

    def noted(path: str) -> Any:
        paths.append(path)
        return real(path)

    monkeypatch.setattr(compiled.ctypes, "CDLL", noted)
    yield paths
    compiled._library.cache_clear()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: list[str]) -> Path:
    """Where the library is kept; it is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "task-codec"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that leaves a file `ran` beside itself when it is loaded."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "bad.c").write_text(
        "#include <stdio.h>\n#include <stdlib.h>\n"
        "__attribute__((constructor)) static void run(void)"
        '{ FILE *f = fopen(getenv("PLANTED_RAN"), "w"); if (f) fclose(f); }\n'
        "long long prior_write(void) { return 0; } long long prior_read(void) { return 0; }\n"
    )
    command = ["cc", "-shared", "-fPIC", str(folder / "bad.c"), "-o", str(folder / "bad.so")]
    subprocess.run(command, check=True)
    return folder / "bad.so"


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is there once the planted library was loaded."""
    monkeypatch.setenv("PLANTED_RAN", str(tmp_path / "ran"))
    return tmp_path / "ran"


def again() -> None:
    """As in another process."""
    compiled._library.cache_clear()
    compiled.library()


def library_in(folder: Path) -> Path:
    (made,) = folder.glob("*.so")
    return made


def test_the_planted_library_would_run_if_it_were_loaded(planted: Path, ran: Path) -> None:
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    subprocess.run(["python3", "-c", code, str(planted)], check=True)
    assert ran.exists()


def test_it_is_compiled_once_and_leaves_nothing_but_its_record(
    cache: Path, loaded: list[str]
) -> None:
    compiled.library()
    made = library_in(cache)
    assert {file.name for file in cache.iterdir()} == {made.name, f"{made.stem}.sha256"}
    stamp = made.stat().st_mtime_ns
    again()
    assert library_in(cache).stat().st_mtime_ns == stamp
    assert loaded[1:] == [str(made)]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_the_cache_is_private_whatever_the_umask(cache: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        compiled.library()
    finally:
        os.umask(before)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in cache.iterdir()} == {0o600}


def opened_to_others(cache: Path, planted: Path) -> None:
    shutil.copy(planted, library_in(cache))
    library_in(cache).with_suffix(".sha256").write_text(compiled._facts(planted))
    cache.chmod(0o770)


def below_a_folder_of_others(cache: Path, planted: Path) -> None:
    shutil.copy(planted, library_in(cache))
    library_in(cache).with_suffix(".sha256").write_text(compiled._facts(planted))
    cache.parent.chmod(0o777)


def a_link_to_another_folder(cache: Path, planted: Path) -> None:
    made, elsewhere = library_in(cache), cache.parent / "elsewhere"
    cache.rename(elsewhere)
    cache.symlink_to(elsewhere)
    shutil.copy(planted, elsewhere / made.name)
    (elsewhere / made.name).with_suffix(".sha256").write_text(compiled._facts(planted))


def another_library(cache: Path, planted: Path) -> None:
    shutil.copy(planted, library_in(cache))


def a_link_to_another_library(cache: Path, planted: Path) -> None:
    made = library_in(cache)
    made.unlink()
    made.symlink_to(planted)
    made.with_suffix(".sha256").write_text(compiled._facts(planted))


def a_file_that_others_may_write(cache: Path, planted: Path) -> None:
    shutil.copy(planted, library_in(cache))
    library_in(cache).with_suffix(".sha256").write_text(compiled._facts(planted))
    library_in(cache).chmod(0o666)


def no_record(cache: Path, planted: Path) -> None:
    shutil.copy(planted, library_in(cache))
    library_in(cache).with_suffix(".sha256").unlink()


def cut(cache: Path, planted: Path) -> None:
    made = library_in(cache)
    made.write_bytes(made.read_bytes()[: made.stat().st_size // 2])


def emptied(cache: Path, planted: Path) -> None:
    library_in(cache).write_bytes(b"")


@pytest.mark.parametrize(
    "harm",
    [
        opened_to_others,
        below_a_folder_of_others,
        a_link_to_another_folder,
        another_library,
        a_link_to_another_library,
        a_file_that_others_may_write,
        no_record,
        cut,
        emptied,
    ],
)
def test_what_someone_else_left_in_the_cache_is_compiled_anew(
    cache: Path, loaded: list[str], planted: Path, ran: Path, harm: Callable[[Path, Path], None]
) -> None:
    compiled.library()
    kept = str(library_in(cache))
    harm(cache, planted)
    loaded.clear()
    again()
    assert len(loaded) == 1
    assert kept not in loaded
    assert not Path(loaded[0]).exists(), "what is compiled for one process is gone once loaded"
    assert not ran.exists()


def test_a_cache_of_another_user_is_not_used(
    cache: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled.library()
    real = os.lstat

    def of_another(path: str) -> os.stat_result:
        found = real(path)
        return (
            os.stat_result((*found[:4], found.st_uid + 1, *found[5:]))
            if (str(path) == str(cache))
            else found
        )

    monkeypatch.setattr(compiled.os, "lstat", of_another)
    with pytest.raises(ValueError, match="can be written to by other users"):
        compiled.private_cache()
    loaded.clear()
    again()
    assert cache not in Path(loaded[0]).parents


@pytest.mark.parametrize(
    ("cache_home", "home"),
    [("relative", None), ("~", None), ("", "relative"), ("", "~"), ("", "/there/is/no/such/home")],
)
def test_no_relative_path_and_no_home_that_is_not_there_is_taken(
    tmp_path: Path,
    loaded: list[str],
    planted: Path,
    ran: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache_home: str,
    home: str | None,
) -> None:
    """Nor is what lies in the working directory under these names."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    compiled.library()
    name = library_in(tmp_path / "home" / ".cache" / "task-codec").name
    for place in ("relative", "~", "relative/.cache", "~/.cache", ".", "__pycache__"):
        folder = tmp_path / place / "task-codec"
        folder.mkdir(parents=True, exist_ok=True)
        for file in (folder / name, tmp_path / place / name):
            shutil.copy(planted, file)
            file.with_suffix(".sha256").write_text(compiled._facts(planted))
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
    monkeypatch.setenv("HOME", str(tmp_path / "home") if home is None else home)
    loaded.clear()
    again()
    assert not ran.exists()
    if home is None:
        assert loaded == [str(tmp_path / "home" / ".cache" / "task-codec" / name)]
    else:
        assert not Path(loaded[0]).exists()
        with pytest.raises(ValueError, match="no home folder"):
            compiled.private_cache()


def test_a_compiler_in_the_working_directory_is_not_asked(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cc").write_text("#!/bin/sh\ntouch ran\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".{os.pathsep}")
    with pytest.raises(ValueError, match="no C compiler"):
        compiled.library()
    assert not list(tmp_path.rglob("ran"))


def test_a_cache_that_cannot_be_written_costs_no_error(
    cache: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "whole_file", full)
    compiled.library()
    assert not list(cache.iterdir())
    assert len(loaded) == 1


def full(path: Path) -> Any:
    raise OSError("no space")
