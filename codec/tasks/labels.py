"""logits' probabilities -> labels, best first: a typed result that reads as transformers' dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from codec.tasks import LABELS


@dataclass(frozen=True, eq=False)
class Label(dict[str, Any]):
    """One label of a picture and its probability: `label.score` and `label["score"]` are the same.

    It is a dict, equal to `{"label": ..., "score": ...}` and written as JSON like it; and like any
    typed result it does not change.
    """

    label: str
    score: float

    def __post_init__(self) -> None:
        super().__init__(label=self.label, score=self.score)

    def __reduce__(self) -> tuple[type[Label], tuple[str, float]]:
        return Label, (self.label, self.score)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a label does not change: make a dict of it, dict(label)")

    __setitem__ = __delitem__ = __ior__ = _refuse  # type: ignore[assignment]
    clear = pop = popitem = setdefault = update = _refuse  # type: ignore[assignment]


def best_labels(
    probabilities: NDArray[np.float32], names: Mapping[int, str], top_k: int
) -> list[Label]:
    """Probability of each label (n_labels,) float32 -> the `top_k` largest, best first.

    Raises:
        ValueError: `top_k` is not an integer of at least 1.
    """
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise ValueError(f"top_k is an integer of at least 1, not {top_k!r}")
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return [Label(names[int(i)], float(probabilities[i])) for i in best]


def labels_of(tails: Mapping[str, Any]) -> list[str]:
    """What the classifier among a codec's tails answers, in the order of its logits; none where
    there is none.
    """
    if LABELS not in tails:
        return []
    names: Mapping[int, str] = tails[LABELS].config.id2label
    return [names[i] for i in range(len(names))]
