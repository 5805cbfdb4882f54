"""numbers of the server -> HTML of the status page, whole without a script; with one, its parts are
put in anew every few seconds and the charts are drawn.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from html import escape
from http import HTTPStatus
from pathlib import Path

from codec.serve.devices import Seen
from codec.serve.status import STAGES, CodecNumbers, Numbers, Pair
from codec.serve.units import duration, ms, size

STATIC = Path(__file__).parent / "static"
FILES = {
    "status.css": "text/css",
    "status.js": "text/javascript",
    "uPlot.min.css": "text/css",
    "uPlot.iife.min.js": "text/javascript",
    "uPlot.LICENSE": "text/plain",
    "grafana.json": "application/json",
}
"""What lies beside the page, and its media type."""
WAY_NAMES = {
    "blob": "blob",
    "picture": "picture, uncut model",
    "kept": "kept blob, asked again",
    "alone": "device alone, as it says",
}


def page(numbers: Numbers) -> str:
    """The whole page."""
    css = "".join(
        f'<link rel="stylesheet" href="{_address(name)}">'
        for name in ("uPlot.min.css", "status.css")
    )
    scripts = "".join(
        f'<script defer src="{_address(name)}"></script>'
        for name in ("uPlot.iife.min.js", "status.js")
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>codec serve</title>
<link rel="icon" href="data:,">
{css}
{scripts}
<noscript><meta http-equiv="refresh" content="10"></noscript>
</head>
<body>
<header><h1>codec serve</h1><p id="live" role="status"></p></header>
<div id="summary">{summary(numbers)}</div>
<section class="charts" hidden>
<figure><figcaption>Answers a second</figcaption><div id="rates"></div></figure>
<figure><figcaption>Milliseconds a request</figcaption><div id="times"></div></figure>
</section>
<main id="details">{details(numbers)}</main>
<footer><a href="openapi.json">API</a> <a href="metrics">Prometheus</a>
<a href="{_address("grafana.json")}" download>Grafana dashboard</a></footer>
</body>
</html>
"""


def summary(numbers: Numbers) -> str:
    """The figures at the top."""
    codecs = numbers.codecs
    n_answers = sum(one.n_answers for one in codecs)
    n_failed = sum(n for status, n in numbers.statuses.items() if status >= "500")
    n_refused = sum(numbers.statuses.values()) - n_failed
    median, p95, _ = numbers.whole_ms
    tiles = [
        ("Answers", f"{n_answers:,}", f"{numbers.recent_per_s:.3g} a second"),
        ("Failed", f"{n_failed:,}", f"{n_refused:,} refused"),
        ("Median request", ms(median), f"95% under {ms(p95)}"),
        ("Waiting", f"{numbers.n_waiting:,}", f"oldest {duration(numbers.oldest_s)}"),
    ]
    up = sum(sum(one.up.values()) for one in codecs)
    as_pictures = sum(one.as_pictures for one in codecs)
    if as_pictures > up:
        less = f"{1 - up / as_pictures:.0%} less"
        tiles.append(("Bytes up", size(up), f"{less} than with pictures"))
    elif up:
        tiles.append(("Bytes up", size(up), "no sweep to compare with"))
    if agreement := _agreement(codecs):
        tiles.append(agreement)
    return '<dl class="tiles">' + "".join(_tile(*one) for one in tiles) + "</dl>"


def details(numbers: Numbers) -> str:
    """Everything else: a section for each codec, the errors, the devices."""
    window = duration(numbers.window_s)
    parts = [_codec(one, window) for one in numbers.codecs]
    last = []
    if numbers.statuses:
        rows = [(f"{s} {HTTPStatus(int(s)).phrase}", f"{n:,}") for s, n in numbers.statuses.items()]
        last.append(_section("Errors", _table(("status", "replies"), rows)))
    if numbers.devices:
        last.append(_section("Devices", _devices(numbers)))
    parts.append(f'<div class="last">{"".join(last)}</div>')
    up = f"Up {duration(numbers.up_s)}. Counts are since the start, times of the last {window}."
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(numbers.at_s))
    return f'<p class="note">{up} {at}</p>' + "".join(parts)


def _codec(one: CodecNumbers, window: str) -> str:
    tasks = [(task or "other", *(f"{n:,}" for n in counts)) for task, counts in one.tasks.items()]
    n_ways = max(sum(one.ways.values()), 1)
    ways = [(WAY_NAMES[way], f"{n:,}", f"{n / n_ways:.0%}") for way, n in one.ways.items() if n]
    stages = [(stage, *(ms(value) for value in one.stages_ms[stage])) for stage in STAGES]
    tables = [
        _titled("Requests", _table(("asked", "answered", "refused", "failed"), tasks)),
        _titled("Ways", _table(("way", "answers", "share"), ways)),
        _titled("Bytes", _table(("what", "bytes"), _byte_rows(one))),
        _titled(f"Time, last {window}", _table(("stage", "50%", "95%", "99%"), stages)),
    ]
    if one.shadow:
        tables.append(
            _titled("Shadow check", _table(("asked", "the same", "expected"), _shadow_rows(one)))
        )
    name, fingerprint, _ = one.facts
    head = f'<p class="note">fingerprint <code>{escape(fingerprint)}</code></p>'
    return _section(name, head + '<div class="tables">' + "".join(tables) + "</div>")


def _byte_rows(one: CodecNumbers) -> Iterable[tuple[str, str]]:
    if one.body.blob:
        yield "a blob, mean", size(one.body.blob)
    if one.body.picture:
        yield "a picture that came, mean", size(one.body.picture)
    if one.compared.picture:
        share = one.compared.blob / one.compared.picture
        yield "blob / picture of the same score", f"{share:.1%}"
    for link, n_bytes in one.up.items():
        yield f"{link} up", size(n_bytes)
    if one.compared.picture:
        yield "all up with such pictures", size(one.as_pictures)
    for link, n_bytes in one.down.items():
        yield f"{link} down", size(n_bytes)


def _shadow_rows(one: CodecNumbers) -> Iterable[tuple[str, str, str]]:
    for task in one.shadow:
        agreed, checked = one.checked(task)
        wanted = one.facts.agreement.get(task)
        shown = f"{agreed / checked:.1%} of {checked:,}" if checked else "-"
        yield task, shown, "-" if wanted is None else f"{wanted:.1f}%"
    for outcome, name in (("left_out", "left out: busy"), ("failed", "failed")):
        if n := sum(found.get(outcome, 0) for found in one.shadow.values()):
            yield name, f"{n:,}", ""
    if one.shadow_bytes != Pair(0, 0):
        share = one.shadow_bytes.blob / one.shadow_bytes.picture
        yield "blob / picture that came", f"{share:.1%}", ""


def _agreement(codecs: Sequence[CodecNumbers]) -> tuple[str, str, str] | None:
    """The figure at the top: the agreement of all checked answers, and what the sweeps expect of
    the same mixture; a caption agrees far more rarely than a label.
    """
    checks = [(one, task, *one.checked(task)) for one in codecs for task in one.shadow]
    n_checked = sum(n for *_, n in checks)
    if not n_checked:
        return None
    known = all(task in one.facts.agreement for one, task, _, n in checks if n)
    wanted = sum(n * one.facts.agreement.get(task, 0) for one, task, _, n in checks) / n_checked
    more = f"{wanted:.1f}% expected, " if known else ""
    share = sum(agreed for *_, agreed, _ in checks) / n_checked
    return "Agreement", f"{share:.1%}", f"{more}{n_checked:,} checked"


def _devices(numbers: Numbers) -> str:
    rows, airtime = [], any(seen.budget_s is not None for _, seen in numbers.devices)
    for name, seen in numbers.devices:
        ago = duration(int(max(numbers.at_s - seen.last_s, 0.0)))
        left = (_airtime(seen, numbers.at_s),) if airtime else ()
        rows.append((name, f"{ago} ago", f"{seen.n_requests:,}", *left))
    head = ("device", "last seen", "requests", *(("airtime left today",) if airtime else ()))
    dropped = numbers.n_devices_dropped
    note = f'<p class="note">{dropped:,} times a device left this list.</p>' if dropped else ""
    return _table(head, rows) + note


def _airtime(seen: Seen, at_s: float) -> str:
    left_s = seen.airtime_left_s(at_s)
    return "no limit" if left_s is None else f"{left_s:.1f} s"


def _section(title: str, inner: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{inner}</section>"


def _titled(title: str, inner: str) -> str:
    return f"<div><h3>{escape(title)}</h3>{inner}</div>"


def _tile(name: str, value: str, more: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><dd>{escape(more)}</dd></div>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    named = "".join(f'<th scope="col">{escape(one)}</th>' for one in head)
    lines = [
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    ]
    if not lines:
        return '<p class="note">nothing yet</p>'
    return f"<table><thead><tr>{named}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


@cache
def _address(name: str) -> str:
    """Where a file beside the page is; it changes with its bytes, so browsers may keep it."""
    return f"static/{name}?{sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"
