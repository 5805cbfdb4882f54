"""data set -> pictures, and what is known about each: the one reader of folders, parquet files and
hub names.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

CAPTION_COLUMNS = ("captions", "caption", "sentences")
QUESTION_COLUMNS = ("questions", "question")
ANSWER_COLUMNS = ("multiple_choice_answer", "answers", "answer")
"""What data sets call their texts; the first that is there is taken."""


class Known(NamedTuple):
    """A picture and what is known about it: the index of its label, captions, questions, and the
    right answer to each of these; each may be missing.
    """

    image: Any
    label: int | None = None
    captions: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


class Columns(NamedTuple):
    """Names of a data set's columns; None for one that it does not have."""

    image: str
    label: str | None
    captions: str | None
    questions: str | None
    answers: str | None


def load_rows(data: str, split: str, limit: int | None = None) -> Any:
    """The first `limit` rows of a split, as a `datasets.Dataset`.

    Args:
        data: folder, parquet files or hub name, whatever `datasets.load_dataset` takes.
        split: name of the split, slices allowed (`train[:45000]`).

    Raises:
        ValueError: the package datasets is not there, or there is no such data or split, or it has
            no rows; the message says which.
    """
    if importlib.util.find_spec("datasets") is None:
        raise ValueError(
            "reading a data set takes the package datasets: pip install 'task-codec[train]'"
        )
    import datasets

    if Path(data).exists():  # bars are for downloads
        datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(data, split=split)
    except (FileNotFoundError, ConnectionError, ValueError, KeyError) as error:
        raise ValueError(
            f"cannot load split {split!r} of {data!r}: {str(error).splitlines()[0]}"
        ) from error
    if limit is not None:
        rows = rows.select(range(min(limit, len(rows))))
    if not len(rows):
        raise ValueError(f"split {split!r} of {data!r} holds no rows")
    return rows


def find_columns(rows: Any) -> Columns:
    """Which columns of a data set hold pictures (the first of type `Image`), labels (the first
    `ClassLabel`, or else `label` or `labels`) and texts (by name).

    Raises:
        ValueError: no column of pictures; the message names the columns.
    """
    import datasets

    features = rows.features
    image = next((n for n, f in features.items() if isinstance(f, datasets.Image)), None)
    if image is None:
        raise ValueError(f"the data set has no image column, only: {', '.join(features)}")
    label = next((n for n, f in features.items() if isinstance(f, datasets.ClassLabel)), None)
    captions, questions, answers = (
        next((n for n in names if n in features), None)
        for names in (CAPTION_COLUMNS, QUESTION_COLUMNS, ANSWER_COLUMNS)
    )
    return Columns(
        image,
        label or next((n for n in ("label", "labels") if n in features), None),
        captions,
        questions,
        answers if questions else None,
    )


def as_texts(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """What a column of texts holds of one picture, one text or a list of them, as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def check_answers(questions: Sequence[str], answers: Sequence[str], index: int, data: str) -> None:
    """Raises ValueError where a picture's questions and answers are not as many."""
    if len(questions) != len(answers):
        raise ValueError(
            f"picture {index} of {data!r} has {len(questions)} questions and {len(answers)} answers"
        )


def read_pictures(data: str, split: str = "test", limit: int | None = 500) -> Iterator[Known]:
    """The first `limit` pictures of a split, in order, each with what is known about it.

    Raises:
        ValueError: as `load_rows` and `find_columns`, or a picture's questions and answers are not
            as many.
    """
    rows = load_rows(data, split, limit)
    columns = find_columns(rows)
    for index in range(len(rows)):
        row = rows[index]
        label = row[columns.label] if columns.label else None
        captions, questions, answers = (
            as_texts(row[name]) if name else ()
            for name in (columns.captions, columns.questions, columns.answers)
        )
        if answers:
            check_answers(questions, answers, index, data)
        yield Known(
            row[columns.image],
            None if label is None or label < 0 else int(label),
            captions,
            questions,
            answers,
        )
