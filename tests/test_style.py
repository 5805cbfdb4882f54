"""The house's measures: few files at the top of codec/, and no file or line that is too long."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_LINES, MOST_COLUMNS, MOST_FILES = 250, 100, 5


def python_files(package: str) -> list[Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    return files


@pytest.mark.parametrize("package", ["codec", "training", "eval"])
def test_no_file_is_longer_than_one_idea(package: str):
    lengths = {file: len(file.read_text().splitlines()) for file in python_files(package)}
    wrong = [f"{f.relative_to(ROOT)}: {n} lines" for f, n in lengths.items() if n > MOST_LINES]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", ["codec", "training", "eval"])
def test_no_line_is_wider_than_a_screen(package: str):
    wrong = [
        f"{file.relative_to(ROOT)}:{number}: {len(line)} columns"
        for file in python_files(package)
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if len(line) > MOST_COLUMNS
    ]
    assert not wrong, "\n".join(wrong)


def test_few_files_lie_directly_in_codec():
    files = [file.name for file in (ROOT / "codec").iterdir() if file.suffix == ".py"]
    assert len(files) <= MOST_FILES, ", ".join(sorted(files))


@pytest.mark.parametrize("package", ["codec", "training", "eval"])
def test_every_file_begins_with_what_it_is(package: str):
    wrong = [
        str(file.relative_to(ROOT))
        for file in python_files(package)
        if (text := file.read_text().strip()) and not text.startswith('"""')
    ]
    assert not wrong, "\n".join(wrong)
