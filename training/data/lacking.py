"""labels of a split -> a warning where it lacks classes: of these nothing is learned, or nothing is
known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MOST_NAMES = 4


def lacking(labels: Sequence[int], names: Mapping[int, str], split: str) -> str | None:
    """A line that says how many of a model's classes no picture of a split is of, with some of
    their names; None where there are pictures of all, or the labels are not known.

    Args:
        labels: of the pictures, -1 for one that is not known.
        names: the model's classes by index.
        split: what the pictures are called.
    """
    if not labels or min(labels) < 0:
        return None
    there = set(labels)
    missing = [name for index, name in sorted(names.items()) if index not in there]
    if not missing:
        return None
    few = ", ".join(missing[:MOST_NAMES]) + (", ..." if len(missing) > MOST_NAMES else "")
    return (
        f"warning: {split} has no picture of {len(missing)} of the model's {len(names)} classes: "
        f"{few}"
    )


def warn_of_lacking(labels: Sequence[int], names: Mapping[int, str], split: str) -> None:
    """Print the line of `lacking`, where there is one."""
    if line := lacking(labels, names, split):
        print(line, flush=True)
