"""Pictures made by an adversary: a picture of the wanted size, or refused with a reason; quickly,
with little memory, and no program is run.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from codec.device.pictures import to_rgb
from tests.attacks.fuzz_pictures import some_picture
from tests.attacks.mutate import png_chunks, png_file

Open = Callable[[str, Path], Any]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png(
    width: int, height: int, color: int = 2, depth: int = 8, *extra: tuple[bytes, bytes]
) -> bytes:
    """A PNG file of zeros, whatever its size: it has at most 1 GB of them."""
    n_bytes = height * (1 + (width * CHANNELS[color] * depth + 7) // 8)
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    packed = zeros_packed(min(n_bytes, 1 << 30))
    return png_file([(b"IHDR", head), *extra, (b"IDAT", packed), (b"IEND", b"")])


def zeros_packed(n_bytes: int) -> bytes:
    """What zlib makes of zeros, without packing them one by one."""
    packer, part = zlib.compressobj(9, zlib.DEFLATED, -15), 1 << 20
    first = packer.compress(bytes(part)) + packer.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    rest = last.compress(bytes(n_bytes % part)) + last.flush()
    check = struct.pack(">HH", n_bytes % 65521, 1)
    return b"\x78\xda" + first * (n_bytes // part) + rest + check


def saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    some_picture(mode).save(stream, kind, **options)
    return stream.getvalue()


def exif(body: bytes) -> bytes:
    """A JPEG file with these bytes as EXIF."""
    return saved("JPEG", exif=b"Exif\0\0" + body)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    made = bytearray(data)
    for at in range(len(data) // 3, len(data), 7):
        made[at] ^= 0x55
    return bytes(made)


def with_text(n_bytes: int) -> bytes:
    """A text chunk that is packed to a thousandth."""
    packed = b"key\0\0" + zlib.compress(bytes(n_bytes), 9)
    return png_file(
        [*png_chunks(saved("PNG"))[:1], (b"zTXt", packed), *png_chunks(saved("PNG"))[1:]]
    )


def bmp(width: int, height: int) -> bytes:
    """The header of a BMP file, and nothing else."""
    return struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0
    )


def gif(width: int, height: int) -> bytes:
    """A GIF file of one small frame on a canvas of any size."""
    data = bytearray(saved("GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n"
CIRCLE = b"II*\0\x08\0\0\0\x01\0\x11\x01\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"
ROTATED = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"

REFUSED = {
    "nothing": b"",
    "text": b"no picture",
    "a bomb": png(13_000, 13_000),
    "a bomb of bits": png(29_000, 29_000, 0, 1),
    "more pixels than there are": png(2**31 - 1, 2**31 - 1),
    "no columns": png(0, 5),
    "no rows": png(5, 0),
    "a bitmap of 2**62 pixels": bmp(2**31 - 1, 2**31 - 1),
    "a bitmap of a negative width": bmp(-5, 5),
    "a canvas of 65535 x 65535": gif(65535, 65535),
    "a JPEG 2000 with a box of 3.5 GB, it says": bytes.fromhex(
        "0000000c6a5020200d0a870a00000014667479706a703220000000006a703220d000002d6a70326800000016"
        "6968647200000011000000180001070700000000000f636f6c72010000000000110000"
        "02686a703263ff4fff51002900"
    ),
    "a cut AVIF": cut(saved("AVIF")),
    "a damaged AVIF": flipped(saved("AVIF")),
    "a cut WebP": cut(saved("WEBP")),
    "a cut DDS": cut(saved("DDS")),
    "a DDS header": b"DDS " + bytes(120),
    "a BLP header": b"BLP2" + struct.pack("<i", 1) + bytes(150),
    "a BLP of other numbers": b"BLP1" + b"\xff" * 156,
    "a cut JPEG 2000": cut(saved("JPEG2000")),
    "a cut TIFF": cut(saved("TIFF", compression="tiff_lzw")),
    "a TIFF that points to itself": CIRCLE,
    "an ICO of 65535 pictures": struct.pack("<HHH", 0, 1, 65535) + bytes(64),
    "a PostScript program": EPS,
}  # fmt: skip
ACCEPTED = {
    "16 bits of grey": saved("PNG", "I;16"),
    "CMYK": saved("JPEG", "CMYK"),
    "a palette": saved("PNG", "P"),
    "a palette without its colours": png_file(
        [c for c in png_chunks(saved("PNG", "P")) if c[0] != b"PLTE"]
    ),
    "32-bit floats": saved("TIFF", "F"),
    "an animated GIF": saved("GIF", save_all=True, append_images=[some_picture("L")] * 5),
    "an animated WebP": saved("WEBP", save_all=True, append_images=[some_picture("L")] * 5),
    "an ICC profile of zeros": saved("PNG", icc_profile=bytes(300)),
    "EXIF of ones": exif(b"\xff" * 40),
    "EXIF that is cut": exif(ROTATED[:14]),
    "EXIF that points beyond": exif(ROTATED[:4] + b"\xff\xff\xff\x7f" + ROTATED[8:]),
    "an orientation of 77": exif(ROTATED.replace(b"\x06\0\0\0\0", b"\x4d\0\0\0\0")),
    "a turned picture of 50 megapixels": png(7071, 7071, 0, 1, (b"eXIf", ROTATED)),
}
EITHER = {
    "a text of 100 MB": with_text(100_000_000),
    "a damaged WebP": flipped(saved("WEBP", lossless=True)),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "picture"


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_a_reason(limited: Open, file: Path, name: str) -> None:
    file.write_bytes(REFUSED[name])
    found = limited("resized", file)
    assert found["outcome"] == "refused"
    assert "ValueError" in found["said"]
    assert "picture" in found["said"]


@pytest.mark.parametrize("size", [(30_000, 1), (1, 30_000)])
def test_one_that_resizing_would_blow_up_is_refused(
    limited: Open, file: Path, size: tuple[int, int]
) -> None:
    """Its short edge would become 256 pixels, its long one 7.7 million."""
    file.write_bytes(png(*size))
    assert limited("cropped", file)["outcome"] == "refused"
    assert limited("resized", file)["outcome"] == "accepted"


@pytest.mark.parametrize("name", ACCEPTED)
def test_it_is_a_picture(limited: Open, file: Path, name: str) -> None:
    file.write_bytes(ACCEPTED[name])
    for kind in ("resized", "cropped"):
        assert limited(kind, file)["outcome"] == "accepted"


@pytest.mark.parametrize("name", EITHER)
def test_it_takes_neither_time_nor_memory(limited: Open, file: Path, name: str) -> None:
    file.write_bytes(EITHER[name])
    limited("resized", file)


@pytest.mark.parametrize("how", [str, Image.open])
def test_no_picture_is_run_by_another_program(
    file: Path, how: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow hands PostScript to Ghostscript, where that is installed."""
    from PIL import EpsImagePlugin

    def ran(*_: Any, **__: Any) -> None:
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ran)
    file.write_bytes(EPS)
    with pytest.raises(ValueError, match="another program would run"):
        to_rgb(how(file))
