"""A file is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from codec.files import sha256, whole_file


def write(target: Path, data: bytes, error: type[Exception] | None = None) -> None:
    with whole_file(target) as path:
        path.write_bytes(data)
        if error is not None:
            raise error


def test_what_was_there_stays_until_the_new_file_is_whole(tmp_path: Path):
    target = tmp_path / "out.blob"
    write(target, b"before")
    for error in (RuntimeError, KeyboardInterrupt, OSError):
        with pytest.raises(error):
            write(target, b"half", error)  # type: ignore[arg-type]
        assert target.read_bytes() == b"before"
    write(target, b"after")
    assert target.read_bytes() == b"after"
    assert [file.name for file in tmp_path.iterdir()] == ["out.blob"]


def test_the_temporary_file_has_the_suffix_and_the_folder_of_the_whole_one(tmp_path: Path):
    with whole_file(tmp_path / "picture.png") as path:
        assert (path.suffix, path.parent) == (".png", tmp_path)
        path.touch()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "it is there and is not a file"), ("none/out.blob", "there is no folder")],
)
def test_what_cannot_be_a_file_is_refused_by_reason(tmp_path: Path, name: str, reason: str):
    with pytest.raises(OSError, match=reason):
        write(tmp_path / name, b"")
    with pytest.raises(OSError, match="is not a file's name"):
        write(Path(), b"")


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert (
        sha256(tmp_path / "abc")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
