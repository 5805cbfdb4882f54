"""a thing's shape, size, turn and light -> its cover, its brightness, and where its pattern shows.

Every operation is exact, so that a scene has the same pixels on every machine: numpy on integers,
Pillow's integer ellipses, lines and reduction, and its polygons. Pillow fills these in float32, but
each edge is given an odd height: then no crossing with a row lies nearer to a rounding boundary
than 1 / (2 x height) >= 0.003 pixels, and float32 errs by less than 0.0001 there, however it is
compiled.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Pixels = npt.NDArray[np.int32]

LIGHTS = ((-4, 0), (-3, -3), (0, -4), (3, -3), (4, 0), (-3, -2), (3, -2), (-2, -3))
"""Where light comes from, as (x, y); never from below."""

_FINE = 4  # sub-pixels a pixel, each way


@cache
def silhouette(shape: str, radius: int, turn: int, light: int) -> tuple[Pixels, Pixels]:
    """Cover (0 to 256) and brightness (256 is the colour itself) of a shape, both (2r + 3, 2r + 3,
    1) int32 around its centre.
    """
    width = 2 * radius + 3
    cover = Image.new("L", (_FINE * width, _FINE * width), 0)
    faces = Image.new("L", cover.size, 128)
    _DRAW[shape](ImageDraw.Draw(cover), ImageDraw.Draw(faces), radius, turn, LIGHTS[light][0])
    mask, face = (np.asarray(image.reduce(_FINE), np.int32)[..., None] for image in (cover, faces))
    dy, dx = (
        v[..., None]
        for v in np.mgrid[-radius - 1 : radius + 2, -radius - 1 : radius + 2].astype(np.int32)
    )
    lx, ly = LIGHTS[light]
    lit = (dx * lx + dy * ly) * 14 // radius  # from the light's side to the other: about +56 to -56
    if shape == "ball":
        lit = 2 * lit + 40 - 110 * (dx * dx + dy * dy) // (radius * radius)
        lit += np.maximum(
            0,
            110
            - 900
            * ((3 * dx - lx * radius // 4) ** 2 + (3 * dy - ly * radius // 4) ** 2)
            // (9 * radius * radius),
        )
    elif shape in ("cone", "cylinder"):
        lit = dx * (1 if lx >= 0 else -1) * 90 // radius
    elif shape == "cube":
        lit = lit // 4
    return mask + (mask >> 7), 2 * face + lit


@cache
def texture(name: str, radius: int, turn: int) -> npt.NDArray[np.bool_]:
    """Where a texture shows its second colour: (2r + 3, 2r + 3, 1) bool."""
    y, x = np.mgrid[-radius - 1 : radius + 2, -radius - 1 : radius + 2] + 96
    if name == "striped":
        along = (x, 5 * (x + y) // 7, y, 5 * (x - y) // 7)[turn % 4]
        return np.asarray(along % 8 < 4)[..., None]
    row = y // 7
    u, v = (x + row % 2 * 4) % 8 - 4, y % 7 - 3
    return np.asarray(u * u + v * v <= 5)[..., None]


def _sizes(radius: int) -> tuple[int, int]:
    """Radius and centre in sub-pixels."""
    return _FINE * radius, _FINE * (radius + 1) + _FINE // 2


def _ball(
    cover: ImageDraw.ImageDraw, faces: ImageDraw.ImageDraw, radius: int, turn: int, lx: int
) -> None:
    r, c = _sizes(radius)
    cover.ellipse((c - r, c - r, c + r, c + r), 255)


def _ring(
    cover: ImageDraw.ImageDraw, faces: ImageDraw.ImageDraw, radius: int, turn: int, lx: int
) -> None:
    r, c = _sizes(radius)
    cover.ellipse((c - r, c - r, c + r, c + r), 255)
    r = r * 52 // 100
    cover.ellipse((c - r, c - r, c + r, c + r), 0)


def _cube(
    cover: ImageDraw.ImageDraw, faces: ImageDraw.ImageDraw, radius: int, turn: int, lx: int
) -> None:
    """Seen from above a corner: three faces, the top the brightest, then the one towards the
    light.
    """
    r, c = _sizes(radius)
    w, h = r * 87 // 100, r // 2
    bright, dark = (112, 74) if lx <= 0 else (74, 112)
    sides = [
        ((0, -r), (w, -h), (0, 0), (-w, -h)),
        ((-w, -h), (0, 0), (0, r), (-w, h)),
        ((w, -h), (0, 0), (0, r), (w, h)),
    ]
    for side, face in zip(sides, (150, bright, dark), strict=True):
        for image, ink in ((cover, 255), (faces, face)):
            _polygon(image, [(c + x, c + y) for x, y in side], ink)


def _cone(
    cover: ImageDraw.ImageDraw, faces: ImageDraw.ImageDraw, radius: int, turn: int, lx: int
) -> None:
    r, c = _sizes(radius)
    w, h, foot = r * 82 // 100, r // 4, c + r * 3 // 4
    _polygon(cover, [(c - 1, c - r), (c + 1, c - r), (c + w, foot), (c - w, foot)], 255)
    cover.ellipse((c - w, foot - h, c + w, foot + h), 255)


def _cylinder(
    cover: ImageDraw.ImageDraw, faces: ImageDraw.ImageDraw, radius: int, turn: int, lx: int
) -> None:
    r, c = _sizes(radius)
    w, h, half = r * 60 // 100, r // 4, r * 3 // 4
    cover.rectangle((c - w, c - half, c + w, c + half), 255)
    cover.ellipse((c - w, c + half - h, c + w, c + half + h), 255)
    for image, ink in ((cover, 255), (faces, 165)):
        image.ellipse((c - w, c - half - h, c + w, c - half + h), ink)


def _star(
    cover: ImageDraw.ImageDraw, faces: ImageDraw.ImageDraw, radius: int, turn: int, lx: int
) -> None:
    r, c = _sizes(radius)
    _polygon(
        cover, [_spot(c, r if i % 2 else r * 43 // 100, 36 * i + 9 * turn) for i in range(10)], 255
    )


def _cross(
    cover: ImageDraw.ImageDraw, faces: ImageDraw.ImageDraw, radius: int, turn: int, lx: int
) -> None:
    r, c = _sizes(radius)
    # atan(0.29) is about 16 degrees
    arms = [(90 * arm + 11 * turn, side) for arm in range(4) for side in (-16, 16)]
    corners = []
    for i, (arm, side) in enumerate(arms):
        corners.append(_spot(c, r, arm + side))
        if i % 2:
            corners.append(_spot(c, r * 39 // 100, arm + 45))
    _polygon(cover, corners, 255)


_DRAW = {
    "ball": _ball,
    "ring": _ring,
    "cube": _cube,
    "cone": _cone,
    "cylinder": _cylinder,
    "star": _star,
    "cross": _cross,
}


def _polygon(image: ImageDraw.ImageDraw, points: list[tuple[int, int]], ink: int) -> None:
    """Fill a polygon of an even number of corners; their heights are made even and odd in turn, so
    that each edge's height is odd.
    """
    image.polygon([(x, (y & ~1) | (i & 1)) for i, (x, y) in enumerate(points)], fill=ink)


def _directions() -> list[tuple[int, int]]:
    """(cos, sin) of each degree in units of 2^-48, by turning (1, 0) by one degree 359 times in
    integers.
    """
    cos, sin = 281432106708348, 4912415695479  # of one degree
    found = [(1 << 48, 0)]
    for _ in range(359):
        x, y = found[-1]
        found.append(((x * cos - y * sin) >> 48, (x * sin + y * cos) >> 48))
    return found


_DIRECTIONS = _directions()


def _spot(centre: int, radius: int, degrees: int) -> tuple[int, int]:
    cos, sin = _DIRECTIONS[degrees % 360]
    return centre + ((radius * cos + (1 << 47)) >> 48), centre + ((radius * sin + (1 << 47)) >> 48)
