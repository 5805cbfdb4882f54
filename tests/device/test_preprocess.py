"""codec.preprocess against the image processors of transformers, and against bad pictures."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin
from transformers import (
    BitImageProcessorPil,
    BlipImageProcessorPil,
    BlipProcessor,
    ViTImageProcessorPil,
)

from codec.device.arrays import MAX_PIXELS
from codec.device.pictures import to_rgb
from codec.device.preprocess import Preprocess
from tests import tiny_blip

SIZES = [(32, 32), (33, 17), (100, 41), (31, 200), (1, 50), (1, 1), (57, 40)]
MODES = ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Picture = Callable[..., Image.Image]


def grey_levels_apart(ours: np.ndarray[Any, Any], theirs: Any) -> float:
    """Largest difference of two `pixel_values`, in the 255 levels of a pixel."""
    assert ours.shape == theirs.shape
    return float((np.abs(ours - theirs) * 255 * np.asarray(STD)[:, None, None]).max())


def vit(backend: Any, resample: int) -> Any:
    return backend(
        size={"height": 32, "width": 32}, resample=resample, image_mean=MEAN, image_std=STD
    )


def dinov2(backend: Any, resample: int) -> Any:
    sizes = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
    return backend(**sizes, resample=resample, do_convert_rgb=True, image_mean=MEAN, image_std=STD)


@pytest.mark.parametrize("resample", [2, 3])
@pytest.mark.parametrize("size", SIZES)
def test_both_edges_are_resized_as_transformers_does(
    picture: Picture, size: tuple[int, int], resample: int
) -> None:
    image = picture(1, *size)
    theirs = vit(ViTImageProcessorPil, resample)(image, return_tensors="np")["pixel_values"]
    ours = Preprocess(32, mean=MEAN, std=STD, resample=resample)([image])
    assert ours.dtype == np.float32
    assert grey_levels_apart(ours, theirs) < 0.01


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("joint", [False, True], ids=["own file", "joint file"])
def test_blips_processor_is_read_from_its_folder_and_reproduced(
    picture: Picture, tmp_path: Path, size: tuple[int, int], joint: bool
) -> None:
    processor = BlipImageProcessorPil(size={"height": 32, "width": 32})
    if joint:
        BlipProcessor(processor, tiny_blip.tokenizer()).save_pretrained(tmp_path)
    else:
        processor.save_pretrained(tmp_path)
    assert (tmp_path / "preprocessor_config.json").is_file() != joint
    preprocess = Preprocess.from_processor(tmp_path)
    assert (preprocess.resample, preprocess.resize) == (3, None)
    assert preprocess.mean == (0.48145466, 0.4578275, 0.40821073)
    image = picture(7, *size)
    theirs = processor(image, return_tensors="np")["pixel_values"]
    assert grey_levels_apart(preprocess([image]), theirs) < 0.01
    if not joint:
        assert Preprocess.from_processor(tmp_path / "preprocessor_config.json") == preprocess


def test_the_file_of_a_released_blip_is_read(tmp_path: Path) -> None:
    """The settings as they are in `Salesforce/blip-vqa-base`: no rescale factor is named."""
    values = {
        "do_normalize": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "Blip",
    }
    values |= {
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": {"height": 384, "width": 384},
        "size_divisor": 32,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    preprocess = Preprocess.from_processor(tmp_path)
    assert (preprocess.size, preprocess.resample, preprocess.std) == (
        384,
        3,
        (0.26862954, 0.26130258, 0.27577711),
    )


def test_a_folder_without_a_processor_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"preprocessor_config\.json"):
        Preprocess.from_processor(tmp_path)


@pytest.mark.parametrize("resample", [2, 3])
@pytest.mark.parametrize("size", [(33, 17), (100, 41), (31, 200), (40, 40), (57, 40), (40, 43)])
def test_the_shorter_edge_is_resized_and_cropped_as_transformers_does(
    picture: Picture, size: tuple[int, int], resample: int
) -> None:
    image = picture(2, *size)
    theirs = dinov2(BitImageProcessorPil, resample)(image, return_tensors="np")["pixel_values"]
    ours = Preprocess(32, mean=MEAN, std=STD, resample=resample, resize=40)([image])
    assert grey_levels_apart(ours, theirs) < 0.01


@pytest.mark.parametrize("resample", [2, 3])
@pytest.mark.parametrize("mode", MODES)
def test_other_modes_are_converted_as_for_transformers(
    picture: Picture, mode: str, resample: int
) -> None:
    image = in_mode(picture(3, 45, 38), mode)
    for theirs, resize in (
        (vit(ViTImageProcessorPil, resample), None),
        (dinov2(BitImageProcessorPil, resample), 40),
    ):
        values = theirs(image.convert("RGB"), return_tensors="np")["pixel_values"]
        ours = Preprocess(32, mean=MEAN, std=STD, resample=resample, resize=resize)([image])
        assert grey_levels_apart(ours, values) < 0.01


@pytest.mark.parametrize("resample", [2, 3])
def test_it_is_within_a_grey_level_of_the_processors_built_on_torchvision(
    picture: Picture, resample: int
) -> None:
    pytest.importorskip(
        "torchvision",
        reason="transformers' quick processors need torchvision, of the training extra",
    )
    from transformers import BitImageProcessor, ViTImageProcessor

    for size in SIZES:
        image = picture(4, *size)
        theirs = vit(ViTImageProcessor, resample)(image, return_tensors="np")["pixel_values"]
        ours = Preprocess(32, mean=MEAN, std=STD, resample=resample)([image])
        assert grey_levels_apart(ours, theirs) < 1.01
    for size in [(33, 17), (40, 40), (57, 40), (31, 60)]:
        image = picture(5, *size)
        theirs = dinov2(BitImageProcessor, resample)(image, return_tensors="np")["pixel_values"]
        ours = Preprocess(32, mean=MEAN, std=STD, resample=resample, resize=40)([image])
        assert grey_levels_apart(ours, theirs) < 1.01


@pytest.mark.parametrize(
    "processor",
    [vit(ViTImageProcessorPil, 3), dinov2(BitImageProcessorPil, 2)],
    ids=["vit", "dinov2"],
)
def test_a_saved_processor_is_read_back_as_what_it_does(
    picture: Picture, tmp_path: Path, processor: Any
) -> None:
    processor.save_pretrained(tmp_path)
    ours = Preprocess.from_processor(tmp_path / "preprocessor_config.json")
    image = picture(6, 51, 44)
    assert (
        grey_levels_apart(ours([image]), processor(image, return_tensors="np")["pixel_values"])
        < 0.01
    )
    assert Preprocess.from_dict(json.loads(json.dumps(ours.to_dict()))) == ours


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"size": {"shortest_edge": 40}}, "crop"),
        ({"size": {"height": 32, "width": 40}}, "square"),
        ({"size": 32, "crop_size": 40, "do_center_crop": True}, "crop_size 40 is more"),
        ({"size": 32, "rescale_factor": 1 / 128}, "rescale_factor"),
    ],
)
def test_a_processor_it_cannot_reproduce_is_refused(
    tmp_path: Path, values: dict[str, Any], named: str
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=named):
        Preprocess.from_processor(tmp_path / "preprocessor_config.json")


def test_arrays_are_what_pictures_of_them_are(picture: Picture) -> None:
    image, preprocess = picture(7, 50, 40), Preprocess(32)
    expected = preprocess.pixels(image)
    rgb = np.asarray(image)
    opaque = np.concatenate([rgb, np.full((40, 50, 1), 255, np.uint8)], axis=2)
    np.testing.assert_array_equal(preprocess.pixels(rgb), expected)
    np.testing.assert_array_equal(preprocess.pixels(opaque), expected)
    grey = image.convert("L")
    np.testing.assert_array_equal(preprocess.pixels(np.asarray(grey)), preprocess.pixels(grey))


def test_a_photograph_is_turned_as_its_exif_says(picture: Picture, tmp_path: Path) -> None:
    upright, exif = picture(8, 40, 40), Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(to_rgb(tmp_path / "turned.png")), np.asarray(upright))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_paths_and_opened_pictures_are_turned_alike(
    picture: Picture, tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(8, 40, 30).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    with Image.open(tmp_path / "turned.png") as opened:
        np.testing.assert_array_equal(np.asarray(to_rgb(opened)), expected)
    np.testing.assert_array_equal(np.asarray(to_rgb(tmp_path / "turned.png")), expected)


@pytest.mark.parametrize(
    "broken",
    [b"", b"Exif", b"MM\x00*\x00", b"II*\x00\xff\xff\xff\x7f", b"MM\x00*\x00\x00\x00\x08\x00\x09"],
)
def test_a_picture_with_broken_exif_has_no_orientation(
    picture: Picture, tmp_path: Path, broken: bytes
) -> None:
    image = picture(8, 40, 30)
    image.save(tmp_path / "broken.png", exif=b"Exif\0\0" + broken)
    np.testing.assert_array_equal(np.asarray(to_rgb(tmp_path / "broken.png")), np.asarray(image))


class _BadExif(Image.Image):
    """Raises what Pillow raised of EXIF that was altered."""

    error: Exception

    def getexif(self) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error", [struct.error("unpack"), TypeError("tag"), SyntaxError("TIFF"), KeyError(1)]
)
def test_whatever_exif_raises_the_picture_is_taken_as_it_lies(
    picture: Picture, error: Exception
) -> None:
    image = picture(8, 40, 30)
    bad = _BadExif()
    bad.__dict__.update(image.__dict__)
    bad.error = error
    np.testing.assert_array_equal(np.asarray(to_rgb(bad)), np.asarray(image))


@pytest.mark.parametrize(
    "error",
    [
        struct.error("unpack requires 4 bytes"),
        TypeError("a bytes-like object is required"),
        NotImplementedError("DDS pixel format"),
        KeyError("mode"),
        RuntimeError("AVIF"),
        AttributeError("tile"),
        EOFError(),
        IndexError("index out of range"),
        ZeroDivisionError(),
        Image.DecompressionBombError("too large"),
    ],
)
@pytest.mark.parametrize("when", ["opened", "loaded"])
def test_whatever_pillow_raises_is_a_picture_that_cannot_be_read(
    picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, error: Exception
) -> None:
    picture(8, 40, 30).save(tmp_path / "bad.png")

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    if when == "opened":
        monkeypatch.setattr(Image, "open", fail)
    else:
        monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(ValueError, match=r"bad\.png is not a picture that can be read"):
        to_rgb(tmp_path / "bad.png")
    if when == "loaded":
        with (
            Image.open(tmp_path / "bad.png") as opened,
            pytest.raises(ValueError, match=r"the picture is not a picture that can be read"),
        ):
            to_rgb(opened)


def damaged_files() -> dict[str, bytes]:
    """Headers that Pillow's plugins take, with nonsense behind them."""
    dds = b"DDS " + struct.pack("<7I", 124, 0x1007, 8, 8, 32, 0, 0) + bytes(44)
    avif = bytes.fromhex("0000001c667479706176696600000000617669666d6966316d696166")
    return {
        "bad.dds": dds + struct.pack("<8I", 32, 4, 0x12345678, 1, 2, 3, 4, 5) + bytes(60),
        "bad.blp": b"BLP2" + struct.pack("<IBBBB", 1, 9, 9, 9, 9) + bytes(60),
        "bad.avif": avif + bytes(40),
        "bad.gif": b"GIF89a" + bytes(range(200)),
        "bad.psd": b"8BPS" + bytes(range(200)),
        "bad.tif": b"II*\0\x08\0\0\0\x09\0" + bytes(range(200)),
        "bad.ico": b"\0\0\1\0\1\0" + bytes(range(200)),
    }


@pytest.mark.parametrize("name", list(damaged_files()))
def test_damaged_files_of_any_format_are_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(damaged_files()[name])
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        Preprocess(32)([tmp_path / name])


def test_a_picture_too_long_and_thin_is_refused_before_it_takes_gigabytes(tmp_path: Path) -> None:
    for shape in ((30_000, 1), (1, 30_000)):
        with pytest.raises(ValueError, match="too long and thin: it would be resized to"):
            Preprocess(224, resize=256).pixels(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="too long and thin"):
        Preprocess(224).pixels(np.zeros((1 << 20, 1), np.uint8))  # its rows are resized first
    assert Preprocess(224).pixels(np.zeros((1, 30_000), np.uint8)).shape == (224, 224, 3)
    assert Preprocess(32, resize=40).pixels(np.zeros((1, 30_000), np.uint8)).shape == (32, 32, 3)


def test_no_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="an empty batch of pictures"):
        Preprocess(32)([])


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (np.zeros((32, 32, 3), np.int64), "uint8, or float .*, not int64"),
        (np.zeros((32, 32), bool), "not bool"),
        (np.zeros((32, 32, 2), np.uint8), "shape"),
        (np.zeros((3,), np.uint8), "shape"),
        (np.zeros((0, 5, 3), np.uint8), "pixels"),
        (Image.new("RGB", (0, 5)), "pixels"),
        (b"\x89PNG", "the bytes hold is not a picture"),
        (b"", "the bytes hold is not a picture"),
        ({}, "expected a picture: .*, not dict"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(image: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        to_rgb(image)


def test_an_enormous_picture_is_refused_before_it_is_converted() -> None:
    enormous = np.broadcast_to(np.uint8(0), (MAX_PIXELS + 1, 1))  # one byte, shown as many
    with pytest.raises(ValueError, match="pixels"):
        to_rgb(enormous)


def test_bad_files_are_refused_by_name(picture: Picture, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        to_rgb(tmp_path / "nowhere.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"text\.png"):
        to_rgb(tmp_path / "text.png")
    picture(9, 64, 64).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cut\.png"):
        to_rgb(tmp_path / "cut.png")


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """A picture in another mode; for `I;16`, its grey levels in the upper byte."""
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8)
    if mode == "P":
        return image.quantize(16)
    return image.convert(mode)
