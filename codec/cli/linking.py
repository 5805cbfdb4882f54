"""`codec link`: a picture -> the frame that a small radio link carries, and what it costs there."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codec.cli.common import Json, silence_libraries, write_whole
from codec.cli.encoding import Quality
from codec.coding.container import inspect
from codec.device.preprocess import to_rgb
from codec.link.frames import SPARED_BYTES, to_frame
from codec.link.profiles import PROFILES, Profile, Sending, profile, sending
from codec.show.console import add_row, make_table, print_json, print_table, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEBP_QUALITY = 50


def link(
    name: Annotated[str | None, typer.Argument(help="A codec's name, or ./FOLDER.")] = None,
    image: Annotated[Path | None, typer.Argument(metavar="IMAGE", help="A picture.")] = None,
    profile_name: Annotated[
        str, typer.Option("--profile", "-p", help="The link; --list names them.")
    ] = "lorawan-eu868-sf12",
    quality: Quality = None,
    loss: Annotated[
        float | None, typer.Option(min=0.0, help="The share of messages that get lost there.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File the frame is written to.")] = None,
    list_profiles: Annotated[bool, typer.Option("--list", help="List the links.")] = False,
    as_json: Json = False,
) -> None:
    """What an answer costs on a small radio link: bytes, frames, seconds on the air, answers a day;
    beside it what the picture would take.

    Without --quality, the picture gets the best one whose frame fits into one message.
    """
    if list_profiles:
        _list(as_json)
        return
    if name is None or image is None:
        raise ValueError("name a codec and a picture, or ask for --list")
    chosen = profile(profile_name)
    if loss is not None:
        chosen = replace(chosen, loss=loss)
    silence_libraries()
    from codec.pipeline import Device

    with progress("encoding"):
        picture = to_rgb(image)
        device = Device.from_pretrained(name)
        budget = None if quality is not None else chosen.max_payload_bytes + SPARED_BYTES
        blob = device(picture, quality, max_bytes=budget)
    frame = to_frame(blob, device.fingerprint)
    preprocess = device.codec.config.preprocess
    webp = _webp(preprocess.pixels(picture))
    ways = {
        f"frame, quality {inspect(blob).quality}": len(frame),
        f"WebP {WEBP_QUALITY}, {preprocess.size} x {preprocess.size}": webp,
        "image file": image.stat().st_size,
    }
    if out is not None:
        write_whole(out, frame)
    found = {way: sending(chosen, n_bytes) for way, n_bytes in ways.items()}
    if as_json:
        facts = {"codec": device.codec.config.name, "profile": asdict(chosen), "frame": frame.hex()}
        print_json(facts | {"ways": [{"way": way} | asdict(one) for way, one in found.items()]})
        return
    columns = ("what is sent", ">bytes", ">messages", ">on the air", ">answers a day")
    table = make_table(*columns, *([] if chosen.loss is None else [">arrives at once"]))
    for way, one in found.items():
        cells = (way, f"{one.n_bytes:,}", _messages(one), _airtime(one), _a_day(one))
        at_once = one.arrives_at_once
        add_row(table, *cells, *([] if at_once is None else [f"{at_once:.1%}"]))
    print_table(table)
    print(f"{chosen.title}: {chosen.max_payload_bytes} bytes a message; {chosen.source}.")
    print(_loss(chosen))


def _webp(pixels: NDArray[np.uint8]) -> int:
    """Bytes of what the model sees, (S, S, 3) uint8, as WebP."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=WEBP_QUALITY, method=6)
    return file.tell()


def _messages(one: Sending) -> str:
    if one.arrives_at_once is None:
        return f"{one.n_frames:,}"
    return f"{one.n_frames:,}, sent {one.n_sent:,.1f}"


def _loss(link: Profile) -> str:
    """What is counted of messages that get lost."""
    if link.loss is None:
        return "No loss is counted: no figure is known. --loss takes what you count there."
    return f"{link.loss:.1%} of the messages get lost; each is sent until it arrives, in the mean."


def _airtime(one: Sending) -> str:
    if one.airtime_s is not None:
        return f"{one.airtime_s:,.2f} s"
    return "" if one.n_billed_bytes is None else f"{one.n_billed_bytes:,.0f} bytes billed"


def _a_day(one: Sending) -> str:
    if one.answers_a_day is None:
        return "no limit"
    return f"{int(one.answers_a_day):,}" if one.answers_a_day >= 1 else f"{one.answers_a_day:.2f}"


def _list(as_json: bool) -> None:
    if as_json:
        print_json([asdict(one) for one in PROFILES.values()])
        return
    table = make_table("profile", "link", ">bytes a message", ">on the air, full", ">a day, full")
    for one in PROFILES.values():
        add_row(table, one.name, one.title, one.max_payload_bytes, *_full(one))
    print_table(table)
    print("How many messages get lost is known of none of them: --loss takes what you count.")


def _full(one: Profile) -> tuple[str, str]:
    full = sending(one, one.max_payload_bytes)
    return _airtime(full), _a_day(full)
