"""Figures of sweeps: the best sizes of pictures, and intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codec.tasks import CAPTIONS, LABELS
from eval.measuring.figure import best_sizes, draw_intervals
from eval.measuring.published import draw_published


def test_a_picture_codec_has_its_best_size_at_each_number_of_bytes(
    made_up: Callable[..., dict[str, Any]],
) -> None:
    ours = [made_up("ours", 10, 1.0), made_up("ours", 20, 2.0)]
    jpeg = [made_up("jpeg", 100, 8.0), made_up("jpeg", 200, 1.0)]
    small = [made_up("jpeg@16", 90, 5.0), made_up("jpeg@16", 150, 4.0), made_up("jpeg@16", 250, 3)]
    webp = [made_up("webp", 100, 1.0), made_up("webp", 200, 2.0)]
    kept = best_sizes([*ours, *jpeg, *small, *webp])
    drawn = [(row["codec"], row["bytes_mean"]) for row in kept]
    assert drawn == [
        ("ours", 10),
        ("ours", 20),
        ("jpeg", 200),
        ("jpeg", 90),
        ("jpeg", 150),
        ("webp", 100),
        ("webp", 200),
    ], "a codec that was measured at one size keeps all its rows"


def test_published_points_are_drawn_beside_labels_alone_and_within_the_axis() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2)
    for ax, task in zip(axes, (LABELS, CAPTIONS), strict=True):
        ax.set_ylim(77.0, 84.2)
        draw_published(ax, task)
    (cifar,) = axes[0].collections  # those of ImageNet lie below
    assert len(cifar.get_offsets()) == 4
    assert "published; other data, other model" in cifar.get_label()
    assert not axes[1].collections
    plt.close(figure)


def test_bars_are_drawn_where_a_row_has_an_interval(
    made_up: Callable[..., dict[str, Any]],
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    draw_intervals(ax, [made_up("jpeg", 100, 1.0), made_up("ours", 10, 2.0, drop_margin=0.5)])
    (bar,) = ax.collections
    assert bar.get_segments()[0].tolist() == [[10, 87.5], [10, 88.5]]
    plt.close(figure)
