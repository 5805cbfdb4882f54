"""what others have published of the same kind: bytes and scores, on other data with other models.

They are no rivals in a race: they say where the field is. FrankenSplit (Furutanpey et al. 2024,
arXiv 2302.10681) belongs here too, but its points are in the paper's pictures alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from codec.show.plot import style_axis
from codec.tasks import LABELS


class Published(NamedTuple):
    """A curve of a paper.

    Attributes:
        name: of the method and its data.
        points: bytes an image and top-1 accuracy in percent, read off the source's figure.
        source: where it stands.
    """

    name: str
    points: tuple[tuple[int, float], ...]
    source: str


LIMITNET = "Hojjat et al., LimitNet, MobiSys 2024 (arXiv 2504.13736), figures in its repository"
PUBLISHED = (
    Published(
        "LimitNet, CIFAR-100",
        (
            *((650, 77.1), (1190, 83.3), (1680, 84.1), (2190, 84.3), (2660, 84.2)),
            *((2950, 84.3), (3180, 84.4), (3440, 84.4), (3560, 84.4)),
        ),
        LIMITNET,
    ),
    Published(
        "LimitNet, ImageNet",
        (
            *((1200, 49.4), (1730, 55.2), (2250, 58.6), (2740, 60.9)),
            *((3190, 62.4), (3590, 63.2), (3860, 63.5), (4010, 63.6)),
        ),
        LIMITNET,
    ),
)


def draw_published(ax: Any, task: str) -> None:
    """Draw the points between the ends of the axis of scores, where it is one of labels."""
    if task != LABELS:
        return
    low, high = ax.get_ylim()
    for curve, marker in zip(PUBLISHED, "ds", strict=True):
        seen = [point for point in curve.points if low <= point[1] <= high]
        if seen:
            label = f"{curve.name} (published; other data, other model)"
            dots = {"marker": marker, "s": 34, "facecolors": "none", "edgecolors": "#777777"}
            ax.scatter(*zip(*seen, strict=True), label=label, zorder=2, **dots)
    style_axis(ax)  # its legend names them too
