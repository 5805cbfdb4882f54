"""scenes -> a Parquet file with PNG pictures, captions, questions and answers: for whatever reads
data sets and does not draw.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.files import whole_file
from training.scenes.questions import Question

Row = tuple[npt.NDArray[np.uint8], Sequence[str], Sequence[Question]]
_GROUP = 500  # rows in memory at a time


def write_parquet(rows: Iterable[Row], path: Path) -> None:
    """(image (H, W, 3) uint8, captions, questions) of each scene -> `path`, with the columns image,
    captions, questions and answers.

    The file is whole or not there. `datasets.load_dataset` reads the folder it lies in; its split
    is named as the file.

    Raises:
        ValueError: the packages that write it are not there.
        OSError: it cannot be written.
    """
    try:
        import datasets
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            "writing a data set takes the package datasets: pip install 'task-codec[train]'"
        ) from error
    texts = datasets.List(datasets.Value("string"))
    features = datasets.Features(
        {"image": datasets.Image(), "captions": texts, "questions": texts, "answers": texts}
    )
    with (
        whole_file(path) as file,
        pyarrow.parquet.ParquetWriter(file, features.arrow_schema) as writer,
    ):
        for group in _groups(rows):
            writer.write_table(datasets.Dataset.from_dict(group, features).data.table)


def _groups(rows: Iterable[Row]) -> Iterator[dict[str, list[Any]]]:
    columns: dict[str, list[Any]] = {
        name: [] for name in ("image", "captions", "questions", "answers")
    }
    for image, captions, questions in rows:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        columns["image"].append({"bytes": file.getvalue(), "path": None})
        columns["captions"].append(list(captions))
        columns["questions"].append([question.text for question in questions])
        columns["answers"].append([question.answer for question in questions])
        if len(columns["image"]) == _GROUP:
            yield columns
            columns = {name: [] for name in columns}
    if columns["image"]:
        yield columns
