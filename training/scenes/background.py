"""randomness -> a natural-looking background (96, 96, 3) int32: a 1/f texture in the colours of
ground, its style, clutter on it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from training.scenes.counter import Draws, mix, noise_bytes
from training.scenes.layout import SIDE

PALETTES = {
    "grass": ((58, 74, 44), (142, 152, 100)),
    "sand": ((138, 120, 92), (204, 188, 156)),
    "stone": ((84, 84, 88), (166, 164, 158)),
    "soil": ((70, 54, 44), (144, 120, 96)),
    "water": ((66, 90, 100), (150, 170, 176)),
    "wood": ((96, 72, 52), (170, 138, 104)),
    "heath": ((86, 74, 84), (168, 150, 146)),
    "moss": ((76, 84, 72), (158, 164, 142)),
}
"""Darkest and lightest colour of each ground: none as saturated as a thing, as white or as
black.
"""
STYLES = ("cloud", "ridge", "grain", "ramp")
_OCTAVES = (5, 8, 14, 26, 50, 98)  # n lattice points make 2 (n - 1) of the next octave


def background(draws: Draws, key: int) -> npt.NDArray[np.int32]:
    """A background, (96, 96, 3) int32 in [0, 255]."""
    ground, style = draws.choice(list(PALETTES)), draws.choice(STYLES)
    dark, light = (np.array(colour, np.int32) for colour in PALETTES[ground])
    waves = value_noise(mix(key ^ 1), draws.between(9, 13))
    level = waves[..., :1]
    line = np.arange(SIDE, dtype=np.int32)
    if style == "ridge":
        level = 2 * np.abs(level) - 100
    elif style == "grain":  # bands as of wood or dunes, bent by the noise
        a, b = draws.choice(((5, 0), (0, 5), (4, 2), (2, -4), (7, 1)))
        phase = (line[:, None] * a + line[None, :] * b)[..., None] * 3 + level
        level = np.abs(phase % 256 - 128) * 2 - 128 + (level >> 1)
    elif style == "ramp":
        a, b = draws.choice(((2, 0), (-2, 0), (1, 1), (1, -1), (0, 2)))
        level = ((line[:, None] - 48) * a + (line[None, :] - 48) * b)[..., None] + (level >> 1)
    canvas = dark + ((light - dark) * np.clip(level + 128, 0, 255) >> 8)
    canvas[..., 0] += waves[..., 1] >> 4
    canvas[..., 2] += waves[..., 2] >> 4
    if draws.chance(2, 3):
        canvas = _clutter(canvas, draws, dark, light)
    return canvas


def value_noise(key: int, gain: int) -> npt.NDArray[np.int32]:
    """Three channels of 1/f noise around 0, (96, 96, 3) int32: octaves of random lattices, each
    `gain` / 16 as strong as the coarser one.

    A lattice is refined as a quadratic B-spline (Chaikin 1974): two new points between two old
    ones, at 1/4 and 3/4.
    """
    bytes_needed = 3 * sum(n * n for n in _OCTAVES)
    source = noise_bytes(key, bytes_needed).astype(np.int32) - 128
    strength, start = 1 << 10, 0
    noise = np.zeros((5, 5, 3), np.int32)
    for n in _OCTAVES:
        if n > 5:
            noise = _refined(_refined(noise, 0), 1)[:n, :n]
        noise = noise + (source[start : start + 3 * n * n].reshape(n, n, 3) * strength >> 10)
        start, strength = start + 3 * n * n, strength * gain >> 4
    return noise[:SIDE, :SIDE]


def _refined(a: npt.NDArray[np.int32], axis: int) -> npt.NDArray[np.int32]:
    a = a.swapaxes(0, axis)
    out = np.empty((2 * (len(a) - 1), *a.shape[1:]), np.int32)
    out[0::2] = (3 * a[:-1] + a[1:]) >> 2
    out[1::2] = (a[:-1] + 3 * a[1:]) >> 2
    return out.swapaxes(0, axis)


def _clutter(
    canvas: npt.NDArray[np.int32],
    draws: Draws,
    dark: npt.NDArray[np.int32],
    light: npt.NDArray[np.int32],
) -> npt.NDArray[np.int32]:
    """Pebbles and blades in the colours of the ground over the canvas."""
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    blades = draws.chance(1, 2)
    for _ in range(draws.between(8, 36)):
        share = draws.between(-40, 280)
        ink = tuple(int(v) for v in np.clip(dark + ((light - dark) * share >> 8), 0, 255))
        x, y = draws.below(SIDE), draws.below(SIDE)
        if blades:
            bend = draws.between(-5, 5)
            height = draws.between(4, 14)
            draw.line((x, y, x + bend // 2, y - height // 2), ink)
            draw.line((x + bend // 2, y - height // 2, x + bend, y - height), ink)
        else:
            w, h = draws.between(1, 4), draws.between(1, 3)
            draw.ellipse((x - w, y - h, x + w, y + h), ink)
    return np.asarray(image, np.int32).copy()
