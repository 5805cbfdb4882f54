"""Scenes: the same pixels everywhere, hard to compress, every thing in plain sight."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from training.scenes import Scenes
from training.scenes.background import value_noise
from training.scenes.counter import Draws, mix, noise_bytes
from training.scenes.dataset import main
from training.scenes.layout import CLEAR, SIDE, SPLITS, Scene, clear_relations, draw_scene, holds
from training.scenes.pixels import RGB, render
from training.scenes.silhouettes import _polygon, silhouette

PIXELS = "7d5c96c77a51ddca1b889123860fa5a47c6b76da0fd13954fe636032873cdb80"
WORDS = "3fadf65410590c929ae0a0addedbdab3d101179d1926faee6ee13e5d8dec264c"


def test_the_same_seed_gives_the_same_pixels_on_every_machine():
    digest = hashlib.sha256()
    for split in SPLITS:
        for index in range(40):
            digest.update(render(draw_scene(split, index)).tobytes())
    assert digest.hexdigest() == PIXELS


def test_the_same_seed_gives_the_same_words_on_every_machine():
    digest = hashlib.sha256()
    for split in SPLITS:
        for sample in Scenes(split, 20):
            digest.update(repr((sample.scene, sample.captions, sample.questions)).encode())
    assert digest.hexdigest() == WORDS


def test_random_numbers_are_splitmix64():
    step = 0x9E3779B97F4A7C15
    # the published test vector
    assert [mix(1234567 + i * step) for i in range(2)] == [6457827717110365317, 3203168211198807973]
    assert [int(v) for v in noise_bytes(7, 24).view("<u8")] == [
        mix((mix(7) + i - 1) * step) for i in range(3)
    ]
    assert len(noise_bytes(7, 13)) == 13


def test_draws_are_even_and_their_own():
    draws = Draws(1, 2)
    counts = np.bincount([draws.below(6) for _ in range(6000)], minlength=6)
    assert counts.min() > 900
    assert counts.max() < 1100
    assert {draws.between(3, 5) for _ in range(100)} == {3, 4, 5}
    assert sorted(draws.shuffled(range(9))) == list(range(9))
    assert Draws(1, 2).below(1 << 60) != Draws(2, 1).below(1 << 60)


def test_a_data_set_is_its_split_its_size_and_its_seed():
    data = Scenes("train", 5)
    image, captions, questions, scene = data[3]
    assert (image.shape, image.dtype, len(data)) == ((SIDE, SIDE, 3), np.uint8, 5)
    assert (len(captions), len(questions)) == (5, 10)
    assert scene == data.scene(3) == Scenes("train", 50).scene(3) == data[-2].scene
    others = [Scenes("validation", 5), Scenes("test", 5), Scenes("train", 5, seed=1)]
    assert len({scene, *(other.scene(3) for other in others)}) == 4
    assert [sample.scene for sample in data] == [data.scene(i) for i in range(5)]


def test_what_is_no_data_set_is_refused():
    with pytest.raises(ValueError, match="no split 'dev'"):
        Scenes("dev", 5)
    with pytest.raises(ValueError, match="at least 1"):
        Scenes("train", 0)
    for index in (5, -6):
        with pytest.raises(IndexError, match=f"scene {index} of 5"):
            Scenes("train", 5)[index]


def test_no_two_scenes_of_all_splits_are_the_same():
    assert len({draw_scene(split, index).key for split in SPLITS for index in range(2000)}) == 6000


def test_scenes_are_hard_to_compress():
    sizes = []
    for index in range(40):
        file = io.BytesIO()
        Image.fromarray(render(draw_scene("test", index))).save(file, "PNG", optimize=True)
        sizes.append(file.tell())
    assert np.mean(sizes) > 15_000
    assert min(sizes) > 14_000


def visible_shares(scene: Scene) -> list[float]:
    covers = []
    for thing in scene.things:
        cover, r = np.zeros((SIDE, SIDE)), thing.radius + 1
        cover[thing.y - r : thing.y + r + 1, thing.x - r : thing.x + r + 1] = silhouette(
            thing.shape, thing.radius, thing.turn, 0
        )[0][..., 0]
        covers.append(cover / 256)
    above = [np.max(covers[i + 1 :], axis=0, initial=0) for i in range(len(covers))]
    return [float((c * (1 - a)).sum() / c.sum()) for c, a in zip(covers, above, strict=True)]


def test_of_every_thing_the_greater_part_is_visible():
    shares = [share for index in range(400) for share in visible_shares(draw_scene("train", index))]
    assert min(shares) > 0.5
    assert np.mean(np.array(shares) > 0.7) > 0.99
    assert 0.05 < np.mean(np.array(shares) < 0.99) < 0.5  # there is occlusion


def test_things_differ_in_what_is_said_of_them():
    for index in range(500):
        things = draw_scene("train", index).things
        assert 1 <= len(things) <= 5
        assert len({(thing.colour, thing.shape) for thing in things}) == len(things)
        small, large = ([t.radius for t in things if t.size == size] for size in ("small", "large"))
        assert not small or not large or min(large) >= 1.5 * max(small)
        assert all(thing.texture == "plain" for thing in things if thing.size == "small")


def test_stated_relations_have_a_clear_margin():
    stated = 0
    for index in range(200):
        things = draw_scene("train", index).things
        for one in things:
            for other in things:
                relations = clear_relations(one, other)
                stated += len(relations)
                assert all(
                    holds(relation, one, other, CLEAR)
                    and not holds(relation, other, one, -CLEAR + 1)
                    for relation in relations
                )
    assert stated > 500


def test_a_things_pixels_have_its_colour():
    """In its middle, before light, blur and noise: the nearest of the eight colours is its own."""
    names, values = list(RGB), np.array(list(RGB.values()))
    right = total = 0
    for index in range(150):
        scene = draw_scene("validation", index)
        pixels = render(scene).astype(int)
        for i, thing in enumerate(scene.things):
            if thing.shape == "ring" or thing.texture != "plain" or visible_shares(scene)[i] < 0.95:
                continue
            middle = pixels[thing.y - 2 : thing.y + 3, thing.x - 2 : thing.x + 3].mean(axis=(0, 1))
            right += names[int(((values - middle) ** 2).sum(axis=1).argmin())] == thing.colour
            total += 1
    assert total > 100
    assert right / total > 0.95


def exact_fill(points: list[tuple[int, int]], side: int) -> np.ndarray:
    """Scan conversion in exact fractions: between each pair of crossings, rounded as Pillow does,
    halves included.
    """
    image = np.zeros((side, side), np.uint8)
    edges = list(zip(points, points[1:] + points[:1], strict=True))
    for y in range(side):
        crossings = []
        for (x0, y0), (x1, y1) in edges:
            if min(y0, y1) <= y < max(y0, y1):
                crossings.append(x0 + Fraction((y - y0) * (x1 - x0), y1 - y0))
        for left, right in zip(sorted(crossings)[::2], sorted(crossings)[1::2], strict=True):
            image[y, floor(left + Fraction(1, 2)) : ceil(right - Fraction(1, 2)) + 1] = 255
    return image


class Recorder(ImageDraw.ImageDraw):
    polygons: list[list[tuple[int, int]]]

    def polygon(self, xy, *args, **kwargs):  # type: ignore[no-untyped-def]
        self.polygons.append(list(xy))
        super().polygon(xy, *args, **kwargs)


def test_no_polygon_depends_on_how_floats_are_rounded(monkeypatch: pytest.MonkeyPatch):
    recorded: list[list[tuple[int, int]]] = []
    monkeypatch.setattr(Recorder, "polygons", recorded, raising=False)
    monkeypatch.setattr("training.scenes.silhouettes.ImageDraw.Draw", Recorder)
    for shape in ("cube", "cone", "star", "cross"):
        for radius in (8, 9, 14, 15, 16, 17):
            for turn in range(8):
                silhouette.__wrapped__(shape, radius, turn, 0)
    polygons = {tuple(points) for points in recorded}
    assert len(polygons) > 100
    for corners in polygons:
        points = list(corners)
        assert all(
            (y1 - y0) % 2 for (_, y0), (_, y1) in zip(points, points[1:] + points[:1], strict=True)
        )
        image = Image.new("L", (148, 148))
        _polygon(ImageDraw.Draw(image), points, 255)
        # but for corners, which Pillow joins
        assert (np.asarray(image) != exact_fill(points, 148)).mean() < 0.01


def test_backgrounds_fall_off_as_natural_pictures_do():
    """The amplitude falls with the frequency: octave by octave, and by a factor of 4 and more over
    all.
    """
    octaves = np.zeros(4)
    for key in range(20):
        spectrum = np.abs(np.fft.fft2(value_noise(key, 11)[..., 0]))
        frequency = np.hypot(
            *np.meshgrid(np.fft.fftfreq(SIDE, 1 / SIDE), np.fft.fftfreq(SIDE, 1 / SIDE))
        )
        octaves += [spectrum[(frequency >= f) & (frequency < 2 * f)].mean() for f in (3, 6, 12, 24)]
    assert all(octaves[:-1] > octaves[1:])
    assert octaves[0] > 4 * octaves[-1]


def test_a_contact_sheet_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sheet = tmp_path / "sheet.png"
    assert main(["--split", "test", "--n", "5", "--out", str(sheet)]) == 0
    with Image.open(sheet) as image:
        first = np.asarray(image.convert("RGB"))[10 : 10 + 2 * SIDE : 2, 10 : 10 + 2 * SIDE : 2]
    assert np.array_equal(first, render(draw_scene("test", 0)))
    assert main(["--n", "0", "--out", str(sheet)]) == 2
    assert main(["--n", "1", "--out", str(tmp_path / "none" / "sheet.png")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in errors] == ["training.scenes"] * 2


def test_scenes_need_no_torch():
    source = (
        "import sys, training.scenes.dataset; training.scenes.dataset.Scenes('train', 1)[0]; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", source], check=True, cwd=Path(__file__).parent.parent.parent
    )
