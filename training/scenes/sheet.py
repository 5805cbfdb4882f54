"""pictures with captions and questions -> one picture of them all, to judge the generator by
eye.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from training.scenes.questions import Question

_SCALE = 2  # pixels of the sheet a pixel, so that single pixels can be seen
_COLUMNS, _CELL, _MARGIN = 4, 300, 10
# points, pixels, letters a line, lines under a picture
_FONT, _LINE, _LETTERS, _LINES = 11, 14, 50, 14
_WHITE, _INK, _ACCENT = (255, 255, 255), (32, 32, 32), (20, 90, 160)

Cell = tuple[npt.NDArray[np.uint8], Sequence[str], Sequence[Question]]


def contact_sheet(cells: Sequence[Cell]) -> Image.Image:
    """(image (H, W, 3) uint8, captions, questions) of each scene -> a sheet, four in a row: two
    captions and as many questions as fit.
    """
    font = ImageFont.load_default(_FONT)
    side = _SCALE * max(image.shape[0] for image, _, _ in cells)
    height = side + _LINES * _LINE + 2 * _MARGIN
    columns = min(_COLUMNS, len(cells))
    sheet = Image.new(
        "RGB", (columns * _CELL + _MARGIN, -(-len(cells) // columns) * height + _MARGIN), _WHITE
    )
    draw = ImageDraw.Draw(sheet)
    for i, (image, captions, questions) in enumerate(cells):
        x, y = i % columns * _CELL + _MARGIN, i // columns * height + _MARGIN
        picture = Image.fromarray(image)
        sheet.paste(
            picture.resize(
                (_SCALE * picture.width, _SCALE * picture.height), Image.Resampling.NEAREST
            ),
            (x, y),
        )
        lines = [
            (line, _INK)
            for caption in captions[:2]
            for line in textwrap.wrap(caption, _LETTERS, subsequent_indent="  ")
        ]
        lines += [
            (line, _ACCENT)
            for q in questions
            for line in textwrap.wrap(f"{q.text} {q.answer}", _LETTERS, subsequent_indent="  ")
        ]
        for n, (line, ink) in enumerate(lines[:_LINES]):
            draw.text((x, y + side + 4 + n * _LINE), line, ink, font=font)
    return sheet
