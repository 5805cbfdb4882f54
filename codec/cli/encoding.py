"""`codec encode`: picture files -> blob files, the device's side. Nothing of the server's side is
loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codec.cli.common import (
    CodecName,
    Json,
    failure,
    finish,
    free_paths,
    silence_libraries,
    write_whole,
)
from codec.coding.container import inspect
from codec.device.preprocess import to_rgb
from codec.show.console import add_row, make_table, print_json, print_table, progress
from codec.show.formats import n_bytes_in

if TYPE_CHECKING:
    import torch

    from codec.pipeline import Device

BATCH = 32
"""Pictures that the encoder takes at once, where no budget is asked for."""

Quality = Annotated[
    int | None,
    typer.Option("--quality", "-q", help="Rate index, 0 = smallest. Default: the codec's."),
]


def encode(
    name: CodecName,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures.")],
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
    """Pictures -> blobs, one file <stem>.blob each. A bad picture is reported and the others go on
    (exit code 2).
    """
    silence_libraries()
    from codec.pipeline import Device

    with progress("loading"):
        device = Device.from_pretrained(name)
    quality = _chosen_quality(device, quality, max_bytes, target_drop)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    pairs = list(zip(images, free_paths(images, out, ".blob"), strict=True))
    size = BATCH if max_bytes is None else 1
    with progress("encoding", len(images)) as step:
        for start in range(0, len(pairs), size):
            some = pairs[start : start + size]
            _encode_some(device, some, quality, max_bytes, rows, failed)
            for _ in some:
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


def _chosen_quality(
    device: Device, quality: int | None, max_bytes: int | None, target_drop: float | None
) -> int | None:
    """The quality that is asked for, None for a budget or the codec's default. Refused here, it is
    refused once and not for each picture.
    """
    config = device.codec.config
    if quality is not None and quality not in device.codec.qualities:
        raise ValueError(
            f"quality {quality} is not one of {config.name}'s 0..{config.n_qualities - 1}"
        )
    if sum(value is not None for value in (quality, max_bytes, target_drop)) > 1:
        raise ValueError(
            "--quality, --max-bytes and --target-drop each set the rate: give one of them"
        )
    return quality if target_drop is None else device.codec.quality_for(target_drop)


def _encode_some(
    device: Device,
    pairs: list[tuple[Path, Path]],
    quality: int | None,
    max_bytes: int | None,
    rows: list[dict[str, Any]],
    failed: list[dict[str, Any]],
) -> None:
    """Encode pictures together and write their blobs; what became of each goes to `rows` or
    `failed`.
    """
    import torch

    read: list[tuple[Path, Path, torch.Tensor, int]] = []
    for image, path in pairs:
        try:
            read.append((image, path, *_read_picture(device, image)))
        except (ValueError, OSError) as error:
            failed.append(failure("image", image, error))
    if not read:
        return
    try:
        pixel_values = torch.cat([one for *_, one, _ in read])
        blobs = device.codec.encode(pixel_values, quality, max_bytes=max_bytes)
    except ValueError as error:  # a budget that is too small, of the one picture
        failed += [failure("image", image, error) for image, *_ in read]
        return
    for (image, path, _, png_n_bytes), blob in zip(read, blobs, strict=True):
        try:
            write_whole(path, blob)
        except OSError as error:
            failed.append(failure("image", image, error))
            continue
        n_before = image.stat().st_size
        rows.append(
            {
                "image": str(image),
                "blob": str(path),
                "quality": inspect(blob).quality,
                "n_bytes": len(blob),
                "image_n_bytes": n_before,
                "ratio": n_before / len(blob),
                "png_n_bytes": png_n_bytes,
            }
        )


def _read_picture(device: Device, image: Path) -> tuple[torch.Tensor, int]:
    """`pixel_values` (1, 3, S, S) float32 of a picture file, and its bytes as PNG at that size."""
    from PIL import Image

    picture = to_rgb(image)
    seen = Image.fromarray(device.codec.config.preprocess.pixels(picture))
    return device.preprocess([picture]), n_bytes_in(seen, "PNG")
