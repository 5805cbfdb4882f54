"""`codec cell`: a codec's sweep and a LoRaWAN profile -> how many cameras one gateway carries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import typer

from codec.cli.benching import SWEEP, folder_of
from codec.cli.common import Json
from codec.link.capacity import cameras, simulate
from codec.link.cell import Cell, mix_by_distance
from codec.link.collisions import CAPTURE, IMPERFECT
from codec.link.frames import SPARED_BYTES
from codec.link.policy import ALONE
from codec.link.profiles import profile
from codec.link.ways import FORMATS, read_sweep
from codec.show.console import add_row, make_table, print_json, print_table, progress

Rows = Sequence[Mapping[str, Any]]


class Sent(NamedTuple):
    """Something that a camera can send, and its bytes."""

    what: str
    n_bytes: int


def cell(
    name: Annotated[str, typer.Argument(help="A codec's name, or ./FOLDER, with its sweep.")],
    profile_name: Annotated[
        str, typer.Option("--profile", "-p", help="A LoRaWAN link.")
    ] = "lorawan-eu868-sf12",
    per_hour: Annotated[float, typer.Option(help="Answers an hour, each camera.")] = 1.0,
    delivered: Annotated[float, typer.Option(help="Share of answers that has to arrive.")] = 0.95,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Say what so many cameras get through instead.")
    ] = None,
    drop: Annotated[float, typer.Option(help="Points of score that may be lost.")] = 0.5,
    by_distance: Annotated[
        bool, typer.Option(help="Each camera has the quickest spreading factor that reaches.")
    ] = False,
    repeats: Annotated[int, typer.Option(min=1, max=15, help="Times each frame is sent.")] = 1,
    imperfect: Annotated[bool, typer.Option(help="Spreading factors disturb each other.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of times, channels and places.")] = 0,
    as_json: Json = False,
) -> None:
    """How many cameras one LoRaWAN gateway carries, with the codec's blobs and with image files of
    no lower score. Simulated: collisions, duty cycle, the stronger of two frames, 8 at a time.
    """
    folder = folder_of(name)
    sent = sent_by(read_sweep(folder / SWEEP), folder.name, drop)
    one = Cell(
        devices or 1,
        per_hour,
        1,
        profile(profile_name),
        mix_by_distance() if by_distance else None,
        repeats,
        IMPERFECT if imperfect else CAPTURE,
        seed=seed,
    )
    facts = []
    with progress("simulating", len(sent)) as step:
        for what, n_bytes in sent:
            cell = replace(one, n_bytes=n_bytes)
            found: dict[str, Any] = {"what": what, "bytes": n_bytes}
            found["frames"] = max(len(cell.airtimes_s(factor)) for factor in cell.links)
            if devices is None:
                found["cameras"] = cameras(cell, delivered)
            else:
                found |= simulate(cell)._asdict()
            facts.append(found)
            step()
    if as_json:
        print_json({"profile": profile_name, "per_hour": per_hour, "sent": facts})
        return
    last = ">cameras" if devices is None else ">delivered"
    table = make_table("what is sent", ">bytes", ">frames", last)
    for found in facts:
        share = f"{found['cameras']:,}" if devices is None else f"{found['delivered']:.1%}"
        add_row(table, found["what"], f"{found['bytes']:,}", f"{found['frames']}", share)
    print_table(table)
    asked = f"{delivered:.0%} delivered" if devices is None else f"{devices:,} cameras"
    factors = "by distance" if by_distance else one.link.title
    print(f"{factors}: {per_hour:g} answers an hour each, {asked}, one gateway; simulated.")


def sent_by(tasks: Mapping[str, Rows], codec: str, drop: float) -> list[Sent]:
    """What loses at most `drop` points in every task with the fewest bytes: the codec's frame that
    95% of its blobs keep to, the device alone, and each picture format in the mean.

    Raises:
        ValueError: no quality of the codec keeps to the drop.
    """
    ways: dict[tuple[str, Any], list[Mapping[str, Any]]] = {}
    for rows in tasks.values():
        for row in rows:
            ways.setdefault((row["codec"], row.get("quality")), []).append(row)
    kept = [
        rows[0]
        for rows in ways.values()
        if len(rows) == len(tasks) and all(row["drop"] <= drop for row in rows)
    ]
    blobs = [row for row in kept if row["codec"] == codec]
    if not blobs:
        raise ValueError(f"no quality of {codec} loses at most {drop:g} points")
    least = min(blobs, key=lambda row: float(row["bytes_p95"]))
    n_bytes = math.ceil(least["bytes_p95"]) - SPARED_BYTES
    found = [Sent(f"{codec}, quality {least['quality']}", n_bytes)]
    found += [Sent(ALONE, round(r["bytes_mean"])) for r in kept if r["codec"] == "device-alone"]
    for form in FORMATS:
        # lossless too: for drawings that is the smallest WebP
        names = (form, f"{form}-lossless")
        files = [row for row in kept if row["codec"].partition("@")[0] in names]
        if files:
            best = min(files, key=lambda row: float(row["bytes_mean"]))
            quality = "" if best.get("quality") is None else f" q{best['quality']}"
            found.append(Sent(f"{best['codec']}{quality}", math.ceil(best["bytes_mean"])))
    return found
