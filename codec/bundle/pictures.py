"""data set -> the pictures that a bundle is verified on, with labels as the model numbers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from codec.tasks.dataset import Known, read_pictures


def read_labelled(
    data: str, split: str, limit: int, model_labels: Mapping[int, str]
) -> Iterator[Known]:
    """The first `limit` pictures of a split, each with the index that the model gives to its label.

    Args:
        model_labels: the model's labels by index; empty for a codec that does not classify, whose
            pictures lose their labels.

    Raises:
        ValueError: as `read_pictures`.
    """
    return read_pictures(data, split, limit, model_labels)
