"""`Scene` -> pixels (96, 96, 3) uint8: background, things with shading and shadows, light, blur,
sensor noise.

Every operation is on integers, so that a scene has the same pixels on every machine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.scenes.background import background
from training.scenes.counter import Draws, mix, noise_bytes
from training.scenes.layout import SIDE, Scene, Thing
from training.scenes.silhouettes import LIGHTS, Pixels, silhouette, texture

RGB = {
    "red": (204, 28, 32),
    "orange": (242, 128, 16),
    "yellow": (240, 214, 40),
    "green": (28, 146, 52),
    "blue": (36, 74, 212),
    "purple": (140, 44, 172),
    "white": (240, 240, 240),
    "black": (26, 26, 28),
}
PATTERN = {
    "red": (244, 170, 166),
    "orange": (124, 54, 0),
    "yellow": (126, 100, 0),
    "green": (168, 226, 170),
    "blue": (164, 186, 250),
    "purple": (226, 178, 240),
    "white": (122, 122, 126),
    "black": (136, 136, 138),
}
"""Colour of stripes and spots on a thing of that colour."""


def render(scene: Scene) -> npt.NDArray[np.uint8]:
    """Draw a scene: (96, 96, 3) uint8, RGB."""
    draws = Draws(scene.key, 1)
    light = draws.below(len(LIGHTS))
    canvas = background(draws, scene.key)
    for thing in scene.things:
        _paint(canvas, thing, light)
    canvas *= _daylight(draws, LIGHTS[light])
    canvas >>= 8
    for _ in range(draws.below(3)):
        canvas = _blurred(canvas)
    canvas += _sensor_noise(scene.key, draws.between(30, 52))
    return np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)


def _paint(canvas: Pixels, thing: Thing, light: int) -> None:
    """Lay a thing and its shadow over the canvas, in place."""
    mask, shade = silhouette(thing.shape, thing.radius, thing.turn, light)
    r = thing.radius + 1
    lx, ly = LIGHTS[light]
    top, left = thing.y - r - ly // 2, thing.x - r - lx // 2
    ground = canvas[top : top + 2 * r + 1, left : left + 2 * r + 1]
    ground -= (ground * mask * 110) >> 16
    place = canvas[thing.y - r : thing.y + r + 1, thing.x - r : thing.x + r + 1]
    colour = np.array(RGB[thing.colour], np.int32)
    if thing.texture != "plain":
        pattern = np.array(PATTERN[thing.colour], np.int32)
        colour = np.where(texture(thing.texture, thing.radius, thing.turn), pattern, colour)
    place += ((((colour * shade) >> 8) - place) * mask) >> 8


def _daylight(draws: Draws, light: tuple[int, int]) -> Pixels:
    """Brightness over the picture, (96, 96, 1) int32 with 256 as 1: brighter towards the light."""
    line = np.arange(SIDE, dtype=np.int32) - SIDE // 2
    fall = draws.between(0, 10)
    plane = (line[None, :] * light[0] + line[:, None] * light[1]) * fall >> 6
    return (draws.between(226, 262) + plane)[..., None]


def _blurred(canvas: Pixels) -> Pixels:
    """The binomial filter 1 2 1 both ways, the border repeated."""
    for axis in (0, 1):
        a = canvas.swapaxes(0, axis)
        out = 2 * a
        out[1:] += a[:-1]
        out[:-1] += a[1:]
        out[0] += a[0]
        out[-1] += a[-1]
        out >>= 2
        canvas = out.swapaxes(0, axis)
    return canvas


def _sensor_noise(key: int, gain: int) -> Pixels:
    """Nearly normal noise of each pixel and channel, (96, 96, 3) int32, from four uniform bytes;
    its deviation is 0.144 `gain`.
    """
    size = 3 * SIDE * SIDE
    b = noise_bytes(mix(key ^ 2), 4 * size).reshape(4, size).astype(np.int32)
    total = b[0] + b[1] + b[2] + b[3] - 510
    return (total * gain >> 10).reshape(SIDE, SIDE, 3)
