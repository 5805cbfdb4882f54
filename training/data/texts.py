"""data set -> pictures with captions, and with questions and answers: scenes, a folder, parquet
files or a hub name.

The loop sees what it sees of `Images`: pixels, an index where labels were, and a key. Words are
looked up by the index; which of a picture's words are used is a function of the key, as all
randomness is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from codec.device.preprocess import Preprocess
from codec.tasks import CAPTIONS
from codec.tasks.dataset import as_texts, check_answers, find_columns, load_rows, row_at
from training.data.images import IN_MEMORY_BYTES, Keyed
from training.data.randomness import uniform
from training.scenes import Scenes
from training.scenes.layout import Scene
from training.scenes.marks import patch_marks
from training.scenes.pixels import render
from training.scenes.questions import questions
from training.scenes.text import captions

SCENES = "scenes"
"""As the name of a data set: those that `training.scenes.dataset` draws."""


class Words(NamedTuple):
    """What is said of a picture: captions, and pairs of a question and its answer; either may be
    none.
    """

    captions: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]

    def of(self, task: str) -> tuple[Any, ...]:
        """The captions, or the questions and answers: what there is for a task."""
        return self.captions if task == CAPTIONS else self.questions


class Source(Protocol):
    """Pictures with words, by index."""

    def __len__(self) -> int: ...

    def picture(self, index: int) -> Any: ...

    def words(self, index: int) -> Words: ...


class SceneSource:
    """The scenes of a split such as `train[:20000]` or `validation[500:1000]`.

    Raises:
        ValueError: the split does not say which.
    """

    def __init__(self, split: str, limit: int | None = None) -> None:
        match = re.fullmatch(r"(\w+)\[(\d*):(\d+)\]", split)
        if not match:
            raise ValueError(
                f"split {split!r} of scenes is not of the form train[:20000], which says how many "
                "are drawn"
            )
        self.start = int(match[2] or 0)
        size = int(match[3]) - self.start
        self.size = size if limit is None else min(size, limit)
        if self.size < 1:
            raise ValueError(f"split {split!r} of scenes holds none")
        self.scenes = Scenes(match[1], self.start + self.size)

    def __len__(self) -> int:
        return self.size

    def scene(self, index: int) -> Scene:
        """The facts behind a picture."""
        return self.scenes.scene(self.start + index)

    def picture(self, index: int) -> Any:
        return render(self.scene(index))

    def words(self, index: int) -> Words:
        scene = self.scene(index)
        return Words(captions(scene), tuple((q.text, q.answer) for q in questions(scene)))


class RowSource:
    """Rows with an image column and texts: captions, or questions and answers, or both; of each one
    text or a list of them.

    Columns are found by the names of `codec.tasks.dataset`, so that
    `nlphuji/flickr30k` or `lmms-lab/VQAv2` can be read as they are: where several people answered,
    their `multiple_choice_answer` stands for them.

    Raises:
        ValueError: the data set has neither, or a row's questions and answers are not as many.
    """

    def __init__(self, data: str, split: str, limit: int | None = None) -> None:
        self.data, self.rows = f"{data}:{split}", load_rows(data, split, limit)
        columns = find_columns(self.rows)
        self.image_column = columns.image
        asked = columns.questions if columns.answers else None
        if columns.captions is None and asked is None:
            raise ValueError(
                f"{data!r} has neither captions nor questions and answers, only: "
                f"{', '.join(sorted(self.rows.column_names))}"
            )
        texts = [
            [()] * len(self.rows) if name is None else map(as_texts, self.rows[name])
            for name in (columns.captions, asked, columns.answers)
        ]
        self._words = []
        for index, (captions_, questions_, answers) in enumerate(zip(*texts, strict=True)):
            check_answers(questions_, answers, index, data)
            self._words.append(Words(captions_, tuple(zip(questions_, answers, strict=True))))

    def __len__(self) -> int:
        return len(self.rows)

    def picture(self, index: int) -> Any:
        return row_at(self.rows, index, self.image_column, self.data)[self.image_column]

    def words(self, index: int) -> Words:
        return self._words[index]


class JoinedSource:
    """Several sources, one after the other: of some pictures there may be captions, of others
    questions.
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts = tuple(parts)
        self._ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def picture(self, index: int) -> Any:
        part, place = self._at(index)
        return part.picture(place)

    def words(self, index: int) -> Words:
        part, place = self._at(index)
        return part.words(place)

    def _at(self, index: int) -> tuple[Source, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[number], index - (int(self._ends[number - 1]) if number else 0)


def set_names(data: str) -> list[str]:
    """The data sets that a recipe or a command names: one, or several that commas separate."""
    return [data] if Path(data).exists() else [name.strip() for name in data.split(",")]


def open_source(data: str, split: str, limit: int | None = None) -> Source:
    """Pictures with words of a data set, or of several whose names commas separate: the same split
    of each, of each at most `limit` rows. Errors as the sources'.
    """
    names = set_names(data)
    if len(names) > 1:
        return JoinedSource([open_source(name, split, limit) for name in names])
    return SceneSource(split, limit) if data == SCENES else RowSource(data, split, limit)


class TextImages(Keyed):
    """Pictures with words as uint8 pixels (3, S, S) of the size the backbone takes; kept in memory
    where they are few.

    Args:
        source: where they are from.
        preprocess: gives the size.
        seed: of the randomness that keys carry.
        marks_side: of a grid whose squares are to say what thing is there, `marks` (n, side * side,
            N_MARKS) uint8; else that is None.

    Raises:
        ValueError: such marks of anything but scenes.
    """

    def __init__(
        self, source: Source, preprocess: Preprocess, seed: int = 0, marks_side: int | None = None
    ) -> None:
        super().__init__(seed)
        self.source, self.preprocess = source, preprocess
        self.marks: torch.Tensor | None = None
        if marks_side is not None:
            if not isinstance(source, SceneSource):
                raise ValueError(
                    "only scenes tell what thing is where: other data cannot have a stage `see`"
                )
            self.marks = torch.stack(
                [patch_marks(source.scene(i), marks_side) for i in range(len(source))]
            )
        self.words = [source.words(i) for i in range(len(source))]
        self._cache: torch.Tensor | None = None
        if 3 * preprocess.size**2 * len(source) < 2 * IN_MEMORY_BYTES:
            self._cache = torch.empty(
                len(source), 3, preprocess.size, preprocess.size, dtype=torch.uint8
            )
            for i in range(len(source)):
                self._cache[i] = self._decode(i)

    def _decode(self, index: int) -> torch.Tensor:
        return torch.tensor(self.preprocess.pixels(self.source.picture(index))).permute(2, 0, 1)

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        pixels = self._decode(index) if self._cache is None else self._cache[index]
        return pixels, index, self.key(index)

    def some(
        self, indices: torch.Tensor, keys: torch.Tensor, n_questions: int
    ) -> tuple[list[str], list[tuple[str, str]]]:
        """A caption of each picture, and `n_questions` of its questions, picture by picture; none
        where the data set has none.
        """
        said: list[str] = []
        asked: list[tuple[str, str]] = []
        for index, draw in zip(
            indices.tolist(), uniform(keys, 1 + n_questions, stream=2).tolist(), strict=True
        ):
            words = self.words[index]
            if words.captions:
                said.append(words.captions[int(draw[0] * len(words.captions))])
            # from a random one on, so that none comes twice as long as there are enough
            if words.questions:
                start = int(draw[1] * len(words.questions))
                asked += [
                    words.questions[(start + i) % len(words.questions)] for i in range(n_questions)
                ]
        return said, asked
