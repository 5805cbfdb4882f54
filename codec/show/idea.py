"""image -> blob -> answers, drawn as one picture of the idea: what the device sees, what it sends,
what the server says.

`python -m codec.show.idea --out docs/idea.png` draws it from a shipped codec's real blob.
"""

from __future__ import annotations

import argparse
import io
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from codec.device.preprocess import to_rgb
from codec.model.checkpoint import shipped_root
from codec.pipeline import Device, Server
from codec.show.plot import save_figure

CODEC = "blip-tiny-scenes"
SAMPLE = Path("samples") / CODEC / "05.png"
QUESTIONS = ("what shape is the small thing?", "is the cross in the lower half of the picture?")
FILE_SIZES = (96, 48, 24, 12)
"""Sides in pixels at which the image is tried as a file, at the lowest quality."""

_INK, _PALE, _OURS = "#222222", "#777777", "#00798c"


def draw(out: Path) -> None:
    """Send one bundled image and draw what happens into the file `out`.

    Raises:
        ValueError, OSError: the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    image = to_rgb(shipped_root() / SAMPLE)
    blob = Device.from_pretrained(CODEC)(image)
    server = Server.from_pretrained(CODEC)
    said = server.caption(blob), server.answer(blob, list(QUESTIONS))
    with rc_context({"font.family": "DejaVu Sans", "text.color": _INK}):
        figure = Figure(figsize=(14, 5.4), facecolor="white")
        FigureCanvasAgg(figure)
        _draw_device(figure, image)
        _draw_link(figure, blob, image)
        _draw_server(figure, *said)
        save_figure(figure, out, dpi=100)


def smallest_file(image: Image.Image) -> tuple[bytes, str]:
    """The smallest WebP or JPEG file of an image at `FILE_SIZES`, and what it is called."""
    found = []
    for side in FILE_SIZES:
        for kind, name in (("JPEG", "JPEG"), ("WEBP", "WebP")):
            file = io.BytesIO()
            small = image.resize((side, side), Image.Resampling.BICUBIC)
            small.save(file, kind, quality=1)
            found.append(
                (len(file.getvalue()), file.getvalue(), f"{name} of {side} x {side} pixels")
            )
    _, data, name = min(found)
    return data, name


def _draw_device(figure: Any, image: Image.Image) -> None:
    ax = figure.add_axes((0.02, 0.2, 0.22, 0.57))
    ax.imshow(np.asarray(image), interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    figure.text(0.02, 0.86, "The device", fontsize=20, fontweight="bold")
    figure.text(0.02, 0.8, f"sees {image.width} x {image.height} pixels", fontsize=13, color=_PALE)
    figure.text(0.02, 0.1, "It runs a small encoder\nand cannot run the model.", fontsize=13)


def _draw_link(figure: Any, blob: bytes, image: Image.Image) -> None:
    hexadecimal = textwrap.wrap(blob.hex(" "), 24)
    figure.text(0.31, 0.86, f"sends {len(blob)} bytes", fontsize=20, fontweight="bold", color=_OURS)
    figure.text(0.31, 0.8, "the whole message, header included", fontsize=13, color=_PALE)
    figure.text(
        0.31,
        0.6,
        "\n".join(hexadecimal),
        fontsize=17,
        family="DejaVu Sans Mono",
        color=_OURS,
        va="center",
    )
    data, name = smallest_file(image)
    ax = figure.add_axes((0.31, 0.09, 0.1, 0.26))
    ax.imshow(np.asarray(to_rgb(Image.open(io.BytesIO(data)))), interpolation="nearest")
    ax.axis("off")
    below = f"The smallest image file,\na {name},\ntakes {len(data)} bytes and shows this."
    figure.text(0.425, 0.22, below, fontsize=12, va="center")
    for x in (0.255, 0.575):
        figure.text(x, 0.48, "\N{RIGHTWARDS ARROW}", fontsize=34, color=_PALE, va="center")


def _draw_server(figure: Any, caption: str, answers: Sequence[str]) -> None:
    figure.text(0.63, 0.86, "The server", fontsize=20, fontweight="bold")
    figure.text(0.63, 0.8, "answers as if it had the image", fontsize=13, color=_PALE)
    lines = [("Caption", caption), *zip(QUESTIONS, answers, strict=True)]
    for place, (asked, said) in enumerate(lines):
        y = 0.7 - 0.17 * place
        figure.text(0.63, y, asked, fontsize=13, color=_PALE)
        figure.text(0.63, y - 0.065, said, fontsize=17)
    figure.text(
        0.63, 0.1, "Questions can be asked later:\nthe blob is all that is kept.", fontsize=13
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the picture; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="codec.show.idea", description="Draw the idea from a shipped codec's real blob."
    )
    parser.add_argument("--out", type=Path, default=Path("idea.png"), help="default: %(default)s")
    draw(parser.parse_args(argv).out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
