"""Pictures as people have them: whatever form one comes in, its pixels are the same, and what can
be read in two ways is refused.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from codec import open_url, pictures_in
from codec.device.pictures import as_batch, is_stream, to_rgb

Picture = Callable[..., Image.Image]


def pixels(image: Any) -> np.ndarray:
    return np.asarray(to_rgb(image))


def as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


class Pipe:
    """An opened file that cannot be searched and gives a few bytes at a time."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def read(self, n: int) -> Any:
        if self.data is None:
            return None
        part, self.data = self.data[: min(n, 100)], self.data[min(n, 100) :]
        return part


def test_bytes_and_file_objects_are_the_picture_they_hold(picture: Picture, tmp_path: Path) -> None:
    image = picture(1, 40, 30)
    data = as_png(image)
    (tmp_path / "a.png").write_bytes(data)
    forms = [data, bytearray(data), memoryview(data), io.BytesIO(data), Pipe(data)]
    for form in forms:
        np.testing.assert_array_equal(pixels(form), np.asarray(image))
    with (tmp_path / "a.png").open("rb") as opened:
        np.testing.assert_array_equal(pixels(opened), np.asarray(image))
    with (tmp_path / "a.png").open() as text, pytest.raises(ValueError, match="mode 'rb'"):
        pixels(text)


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "HWC": lambda rgb: rgb,
    "CHW": lambda rgb: rgb.transpose(2, 0, 1),
    "floats": lambda rgb: rgb / 255,
    "float32 CHW": lambda rgb: (rgb / 255).astype(np.float32).transpose(2, 0, 1),
    "float16": lambda rgb: (rgb / 255).astype(np.float16),
    "tensor": torch.from_numpy,
    "tensor CHW of floats": lambda rgb: torch.from_numpy(rgb).permute(2, 0, 1).float() / 255,
    "tensor that asks for gradients": lambda rgb: (torch.from_numpy(rgb) / 255).requires_grad_(),
    "transparent": lambda rgb: np.dstack([rgb, np.full(rgb.shape[:2], 7, np.uint8)]),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_array_or_tensor_is_the_picture_of_its_pixels(picture: Picture, form: str) -> None:
    rgb = np.array(picture(2, 40, 30))
    np.testing.assert_array_equal(pixels(FORMS[form](rgb)), rgb)


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 1), (1, 30, 40)])
def test_one_channel_is_grey(shape: tuple[int, ...]) -> None:
    grey = np.arange(1200, dtype=np.uint8).reshape(30, 40)
    np.testing.assert_array_equal(pixels(grey.reshape(shape)), np.dstack([grey] * 3))


def test_every_level_of_a_float_comes_back(picture: Picture) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for dtype in (np.float16, np.float32, np.float64):
        found = pixels((levels / 255).astype(dtype))
        np.testing.assert_array_equal(found[..., 0], levels)
    bfloat = torch.from_numpy(levels / 255).to(torch.bfloat16)  # has 8 bits
    assert np.abs(pixels(bfloat)[..., 0].astype(int) - levels).max() <= 1


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.zeros((3, 5, 3), np.uint8), r"\(3, 5, 3\) is ambiguous"),
        (torch.zeros(4, 9, 1), r"\(4, 9, 1\) is ambiguous"),
        (np.zeros((5, 6, 7), np.uint8), r"1, 3 or 4 channels, not \(5, 6, 7\)"),
        (np.zeros((5, 6, 2), np.uint8), r"not \(5, 6, 2\)"),
        (np.zeros(5, np.uint8), r"not \(5,\)"),
        (np.zeros((2, 5, 6, 3), np.uint8), r"not \(2, 5, 6, 3\)"),
        (np.full((5, 6), 1.01), r"values 0..1, not 1.01..1.01; .*pixel_values"),
        (np.full((5, 6, 3), -0.01), r"values 0..1, not -0.01"),
        (torch.full((3, 5, 6), 255.0), r"values 0..1, not 255..255"),
        (np.full((5, 6), np.nan), r"values 0..1, not nan"),
        (np.full((5, 6), np.inf), r"values 0..1, not inf"),
        (torch.zeros(3, 5, 6, dtype=torch.int32), "not int32"),
        (np.zeros((0, 6, 3)), "0 x 6 pixels"),
    ],
)
def test_an_array_that_may_be_another_picture_is_refused(array: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        to_rgb(array)


@pytest.mark.parametrize(
    ("file", "named"),
    [
        (io.StringIO("text"), "gives bytes when it is read .*, not str"),
        (io.BytesIO(b"text"), "the file object holds is not a picture"),
        (io.BytesIO(), "the file object holds is not a picture"),
        (Pipe(None), "not NoneType"),
    ],
)
def test_a_file_object_without_a_picture_is_refused(file: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named) as refused:
        to_rgb(file)
    assert "0x" not in str(refused.value), "no address of an object"


def test_a_file_object_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codec.device.pictures.MAX_FILE_BYTES", 1000)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        to_rgb(Pipe(b"x" * 2000))


def test_a_batch_has_four_axes_and_a_stream_is_drawn_from() -> None:
    for batch in (np.zeros((2, 5, 6, 3)), torch.zeros(2, 3, 5, 6)):
        images, single = as_batch(batch)
        assert (len(images), single) == (2, False)
        np.testing.assert_array_equal(pixels(images[1]), np.zeros((5, 6, 3)))
    assert as_batch(torch.zeros(3, 5, 6))[1]
    assert is_stream(iter([]))
    assert is_stream(image for image in ())
    for one in ([], io.BytesIO(), "a.png", b"", np.zeros(3)):
        assert not is_stream(one)


def test_pictures_in_a_folder_or_of_a_pattern_are_sorted(picture: Picture, tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "deep/c.webp", ".hidden.png", "notes.txt", "[1]/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    def names(place: Path) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in pictures_in(place)]

    assert names(tmp_path) == ["a.JPG", "b.png"]
    assert names(tmp_path / "*.png") == ["b.png"]
    assert names(tmp_path / "**" / "*.webp") == ["deep/c.webp"]
    assert names(tmp_path / "[1]") == ["[1]/d.png"]
    assert names(tmp_path / "b.png") == ["b.png"]
    (tmp_path / "empty").mkdir()
    for place in ("empty", "nowhere", "*.gif"):
        with pytest.raises(FileNotFoundError, match=r"no pictures in .*"):
            pictures_in(tmp_path / place)
    with pytest.raises(FileNotFoundError, match=r"is a folder; codec\.pictures_in"):
        to_rgb(tmp_path)


REPLIES = {
    "/good.png": lambda: as_png(Image.new("RGB", (8, 8), "red")),
    "/text.png": lambda: b"not a picture",
    "/long.png": lambda: b"x" * 5000,
}


@pytest.fixture
def site() -> Iterator[str]:
    """Address of a server that has REPLIES."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in REPLIES
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(REPLIES[self.path]() if known else b"gone")

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_address_is_read_only_where_that_is_asked_for(site: str) -> None:
    assert open_url(f"{site}/good.png").getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(ValueError, match=r"is an address, and not a path: codec\.open_url"):
        to_rgb(f"{site}/good.png")
    for name, named in (
        ("text.png", r"/text\.png: what the bytes hold is not a picture"),
        ("none.png", "answered 404: gone"),
        ("long.png", "more than 1000 bytes"),
    ):
        with pytest.raises(ValueError, match=named):
            open_url(f"{site}/{name}", max_bytes=1000)
    for url in ("file:///etc/passwd", "ftp://a.b/c.png", "/etc/passwd"):
        with pytest.raises(ValueError, match="is not an http or https address"):
            open_url(url)
