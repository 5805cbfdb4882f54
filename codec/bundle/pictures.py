"""data set -> the pictures that a bundle is verified on, with labels as the model numbers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from codec.tasks.dataset import Known, find_columns, load_rows, read_pictures


def label_names(data: str, split: str) -> list[str] | None:
    """What a data set calls its labels, by index; None where it does not say, or has no labels.

    Raises:
        ValueError: there is no such data or split, it holds no pictures, or the package datasets is
            missing.
    """
    rows = load_rows(data, split, 1)
    column = find_columns(rows).label
    names = None if column is None else getattr(rows.features[column], "names", None)
    return None if names is None else list(names)


def read_labelled(
    data: str, split: str, limit: int, model_labels: Mapping[int, str]
) -> Iterator[Known]:
    """The first `limit` pictures of a split, each with the index that the model gives to its label.

    Labels are matched by name, in lower case. Where the data set has indices alone, they are taken
    for the model's.

    Args:
        model_labels: the model's labels by index; empty for a codec that does not classify, whose
            pictures lose their labels.

    Raises:
        ValueError: as `label_names`; or the model has no label of that name, or of that index.
    """
    names = label_names(data, split)
    indices = {name.casefold(): index for index, name in model_labels.items()}
    if model_labels and names is not None:
        unknown = [name for name in names if name.casefold() not in indices]
        if unknown:
            raise ValueError(
                f"{data!r} has labels that the model does not have: {_few(unknown)}; the model has "
                f"{_few(list(model_labels.values()))}"
            )
    for picture in read_pictures(data, split, limit):
        label = picture.label
        if label is None or not model_labels:
            yield picture._replace(label=None)
            continue
        if names is not None:
            label = indices[names[label].casefold()]
        elif label not in model_labels:
            raise ValueError(f"{data!r} has a label {label}; the model has {len(model_labels)}")
        yield picture._replace(label=label)


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
