"""`codec list` and `codec info`: what there is to know about codecs and blobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codec.cli.common import Json, codec_of, read_blob, silence_libraries
from codec.coding.container import HEADER_BYTES, BitstreamError, inspect, is_of
from codec.model import checkpoint
from codec.model.facts import details, summary
from codec.show.console import (
    add_row,
    make_table,
    megabytes,
    print_json,
    print_table,
    progress,
    shown,
    words,
)
from codec.tasks import CAPTIONS, LABELS, QUESTIONS

if TYPE_CHECKING:
    from rich.table import Table

SERVES = {LABELS: "labels", CAPTIONS: "captions", QUESTIONS: "answers"}


def list_codecs(as_json: Json = False) -> None:
    """The codecs that ship with the library."""
    rows = [summary(checkpoint.shipped_root() / name) for name in checkpoint.shipped_names()]
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo("no codec ships with this installation")
        return
    table = make_table("codec", "serves", ">cut", ">qualities", ">device", ">disk")
    for row in rows:
        params = row["device_params"]
        add_row(
            table,
            row["name"],
            ", ".join(SERVES[task] for task in row["task"].split(", ")),
            row["k"],
            row["n_qualities"],
            "?" if params is None else f"{params / 1e6:.2f} M",
            megabytes(row["n_bytes"]),
        )
    print_table(table)


def info(
    what: Annotated[
        str,
        typer.Argument(metavar="NAME|BLOB", help="A codec's name, ./FOLDER, or a blob file."),
    ],
    as_json: Json = False,
) -> None:
    """What there is to know about a codec or about a blob."""
    file = Path(what)
    facts = _blob_facts(file) if file.is_file() or file.suffix == ".blob" else _codec_facts(what)
    if as_json:
        print_json(facts)
    else:
        _print_facts(facts)
    if facts.get("whole") is False:
        raise BitstreamError(
            f"{what}: the blob is damaged: its checksum does not match, or it is of another codec"
        )


def _print_facts(facts: dict[str, Any]) -> None:
    """One fact a line, and below those that come in rows as tables of their own."""
    in_rows = {key: value for key, value in facts.items() if _has_rows(value)}
    table = make_table("", "", show_header=False)
    _add_facts(table, {key: value for key, value in facts.items() if key not in in_rows})
    print_table(table)
    for key, rows in in_rows.items():
        typer.echo(f"\n {words(key)}")
        table = make_table(*(f">{words(name)}" for name in rows[0]))
        for row in rows:
            add_row(table, *(_number(value) for value in row.values()))
        print_table(table)


def _add_facts(table: Table, facts: dict[str, Any], indent: str = "") -> None:
    """A line for each fact; the parts of one that has parts are indented below it, without those
    that are facts already.
    """
    for key, value in facts.items():
        if isinstance(value, dict):
            add_row(table, indent + words(key), "")
            parts = {name: part for name, part in value.items() if name not in facts}
            _add_facts(table, parts, indent + "  ")
        else:
            add_row(table, indent + words(key), _number(value))


def _has_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _number(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
    return shown(value) or "none"


def _blob_facts(file: Path) -> dict[str, Any]:
    blob = read_blob(file)
    read = inspect(blob)
    facts: dict[str, Any] = {
        "blob": str(file),
        "version": read.version,
        "quality": read.quality,
        "fingerprint": read.fingerprint,
        "payload_n_bytes": len(read.payload),
        "header_n_bytes": HEADER_BYTES,
        "n_bytes": len(blob),
    }
    try:
        name = codec_of(blob)
    except BitstreamError:
        return facts | {"codec": None, "whole": None}
    whole = is_of(blob, checkpoint.shipped_fingerprints()[name])
    facts |= {"codec": name, "whole": whole}
    if whole and details(checkpoint.shipped_root() / name)["config"]["layers"]:
        with progress("loading"):
            codec = _load(name)
        facts["can_be_cut_to"] = [{"quality": q, "n_bytes": n} for q, n in codec.cuts(blob).items()]
    return facts


def _codec_facts(name: str) -> dict[str, Any]:
    folder = checkpoint.find_checkpoint(name)
    with progress("loading"):
        fingerprint = _load(name).fingerprint.hex()
    return summary(folder) | {"fingerprint": fingerprint} | details(folder)


def _load(name: str) -> Any:
    silence_libraries()
    from codec.model import FeatureCodec

    return FeatureCodec.from_pretrained(name)
