"""data set -> pictures, and what is known about each: the one reader of folders, parquet files and
hub names.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from codec.tasks.label_columns import find_label, label_indices
from codec.tasks.slicing import load_split

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
    captions: str | None
    questions: str | None
    answers: str | None


def load_rows(data: str, split: str, limit: int | None = None) -> Any:
    """The first `limit` rows of a split, as a `datasets.Dataset`.

    Args:
        data: folder, parquet files or hub name, whatever `datasets.load_dataset` takes.
        split: name of the split, slices allowed (`train[:45000]`); of one that is sorted by label
            they are slices of a fixed shuffle (`codec.tasks.slicing`).

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
        rows = load_split(data, split)
    except MemoryError:
        raise
    except Exception as error:  # its readers raise whatever a bad file leads them to
        said = str(error.__cause__ or error).split("\n")[0] or type(error).__name__
        raise ValueError(f"cannot load split {split!r} of {data!r}: {said}") from error
    for name, feature in rows.features.items():  # as other libraries write pictures
        if isinstance(feature, dict) and set(feature) == {"bytes", "path"}:
            rows = rows.cast_column(name, datasets.Image())
    if limit is not None:
        rows = rows.select(range(min(limit, len(rows))))
    if not len(rows):
        raise ValueError(f"split {split!r} of {data!r} holds no rows")
    return rows


def find_columns(rows: Any) -> Columns:
    """Which columns of a data set hold pictures (the first of type `Image`) and texts (by name);
    for labels see `codec.tasks.label_columns`.

    Raises:
        ValueError: no column of pictures; the message names the columns.
    """
    import datasets

    features = rows.features
    image = next((n for n, f in features.items() if isinstance(f, datasets.Image)), None)
    if image is None:
        raise ValueError(f"the data set has no image column, only: {', '.join(features)}")
    captions, questions, answers = (
        next((n for n in names if n in features), None)
        for names in (CAPTION_COLUMNS, QUESTION_COLUMNS, ANSWER_COLUMNS)
    )
    return Columns(
        image,
        captions,
        questions,
        answers if questions else None,
    )


def row_at(rows: Any, index: int, image: str, data: str) -> Any:
    """A row, whose column `image` holds a picture.

    Raises:
        ValueError: it has none, or one that cannot be read; the message names the row.
    """
    try:
        row = rows[index]
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever a bad file leads them to
        raise ValueError(f"row {index} of {data!r} cannot be read: {error}") from error
    if row[image] is None:
        raise ValueError(f"row {index} of {data!r} has no picture")
    return row


def as_texts(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """What a column of texts holds of one picture, one text or a list of them, as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def check_answers(questions: Sequence[str], answers: Sequence[str], index: int, data: str) -> None:
    """Raises ValueError where a picture's questions and answers are not as many."""
    if len(questions) != len(answers):
        raise ValueError(
            f"picture {index} of {data!r} has {len(questions)} questions and {len(answers)} answers"
        )


def read_pictures(
    data: str,
    split: str = "test",
    limit: int | None = 500,
    model_labels: Mapping[int, str] | None = None,
) -> Iterator[Known]:
    """The first `limit` pictures of a split, in order, each with what is known about it.

    Args:
        model_labels: the model's labels by index, which the data set's are matched with; empty for
            none; None for the data set's own.

    Raises:
        ValueError: as `load_rows`, `find_columns`, `row_at` and `codec.tasks.label_columns`, or a
            picture's questions and answers are not as many.
    """
    rows = load_rows(data, split, limit)
    columns = find_columns(rows)
    column = None if model_labels is not None and not model_labels else find_label(rows)
    labels = label_indices(rows, column, data, model_labels)
    for index, label in enumerate(labels):
        row = row_at(rows, index, columns.image, data)
        captions, questions, answers = (
            as_texts(row[name]) if name else ()
            for name in (columns.captions, columns.questions, columns.answers)
        )
        if answers:
            check_answers(questions, answers, index, data)
        yield Known(
            row[columns.image],
            None if label < 0 else label,
            captions,
            questions,
            answers,
        )
