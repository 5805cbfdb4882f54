"""`codec encode`: picture files -> blob files, the device's side. Nothing of the server's side is
loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codec.cli.common import (
    CodecName,
    Json,
    failure,
    finish,
    free_paths,
    listed,
    silence_libraries,
    write_whole,
)
from codec.coding.container import inspect
from codec.device.preprocess import to_rgb
from codec.show.console import add_row, make_table, print_json, print_table, progress
from codec.show.formats import n_bytes_in

if TYPE_CHECKING:
    from PIL import Image

    from codec.pipeline import Device

Quality = Annotated[
    int | None,
    typer.Option("--quality", "-q", help="Rate index, 0 = smallest. Default: the codec's."),
]


def encode(
    name: CodecName,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, and folders of pictures.")
    ],
    out: Annotated[Path, typer.Option(help="Folder the blobs are written to.")] = Path(),
    quality: Quality = None,
    max_bytes: Annotated[
        int | None,
        typer.Option(min=1, help="Instead of a quality: the best one whose blob fits, by picture."),
    ] = None,
    target_drop: Annotated[
        float | None, typer.Option(help="Instead of a quality: points of score that may be lost.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Pictures -> blobs, one file <stem>.blob each; of a folder, the pictures in it. A bad
    picture is reported and the others go on (exit code 2).
    """
    silence_libraries()
    images, failed = listed(images)
    from codec.pipeline import Device

    with progress("loading"):
        device = Device.from_pretrained(name)
    device.chosen_rate(quality, max_bytes, target_drop)  # refused once, before anything is made
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    paths, sizes = free_paths(images, out, ".blob"), dict[int, int]()
    found = device.each(
        _pictures(device, images, sizes), quality, max_bytes=max_bytes, target_drop=target_drop
    )
    with progress("encoding", len(images)) as step:
        for place, blob, error in found:
            try:
                if error is not None:
                    raise error
                write_whole(paths[place], blob)
                rows.append(_row(images[place], paths[place], blob, sizes[place]))
            except (ValueError, OSError) as reason:
                failed.append(failure("image", images[place], reason))
            step()
    if as_json:
        print_json({"codec": device.codec.config.name, "blobs": rows, "failed": failed})
    elif rows:
        side = device.codec.config.preprocess.size
        png = f"PNG, {side} x {side}"
        table = make_table("image", "blob", ">quality", ">bytes", f">{png}", ">ratio to it")
        for row in rows:
            ratio = f"{row['png_n_bytes'] / row['n_bytes']:.1f}"
            cells = (row[key] for key in ("image", "blob", "quality", "n_bytes"))
            add_row(table, *cells, f"{row['png_n_bytes']:,}", ratio)
        print_table(table)
    finish(failed)


def _pictures(
    device: Device, images: list[Path], sizes: dict[int, int]
) -> Iterator[Image.Image | Path]:
    """The pictures in files, one after another; `sizes` gets, by place, the bytes of each as PNG at
    the size that the model sees.
    """
    from PIL import Image

    for place, path in enumerate(images):
        try:
            picture = to_rgb(path)
            seen = Image.fromarray(device.codec.config.preprocess.pixels(picture))
            sizes[place] = n_bytes_in(seen, "PNG")
        except (ValueError, OSError):
            yield path  # the device says what is wrong with it
        else:
            yield picture


def _row(image: Path, path: Path, blob: bytes, png_n_bytes: int) -> dict[str, Any]:
    """What the JSON says of a picture that was encoded."""
    n_before = image.stat().st_size
    return {
        "image": str(image),
        "blob": str(path),
        "quality": inspect(blob).quality,
        "n_bytes": len(blob),
        "image_n_bytes": n_before,
        "ratio": n_before / len(blob),
        "png_n_bytes": png_n_bytes,
    }
