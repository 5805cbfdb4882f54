"""`codec bench-link`: a bandwidth trace and a codec's sweep -> how long answers take by each way of
working.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from codec.cli.common import DeadlineMs, Json, MsPerByte, Tolerance
from codec.link.policy import TOLERANCE
from codec.link.replay import Outcome, Replay, Setting, replay
from codec.link.traces import trace_of
from codec.link.ways import Stages, kind_of, read_stages, read_sweep, ways_of
from codec.show.console import add_row, make_table, print_json, print_table, progress

SWEEP = "sweep.jsonl"


def bench_link(
    codec: Annotated[str, typer.Option(help="A codec's name, or ./FOLDER, with its sweep.")],
    trace: Annotated[
        list[str],
        typer.Option(
            help="CSV file of time_s,kbytes_per_s; fixed:BYTES_PER_S; or outages:BYTES_PER_S. "
            "May be repeated."
        ),
    ],
    stages: Annotated[
        Path | None, typer.Option(help="JSON file with your own times of device and server.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Of the sweep's; default: all.")] = None,
    deadline_ms: DeadlineMs = None,
    tolerance: Tolerance = TOLERANCE,
    ms_per_byte: MsPerByte = 0.0,
    requests: Annotated[int, typer.Option(min=1, max=20_000, help="Pictures to answer.")] = 300,
    every_s: Annotated[float, typer.Option(help="Seconds between two pictures.")] = 1.0,
    with_alone: Annotated[
        bool, typer.Option("--alone/--no-alone", help="Whether the device has its own model.")
    ] = True,
    every_way: Annotated[bool, typer.Option("--all", help="List every way.")] = False,
    out: Annotated[Path | None, typer.Option(help="Picture file for a plot.")] = None,
    as_json: Json = False,
) -> None:
    """Replay a bandwidth trace: latency, score and bytes of sending pictures, sending blobs, the
    device alone, and the policy that chooses among them, with its regret to an oracle.

    Nothing is sent. Without --deadline-ms, ways are judged by latency, among those whose score is
    within --tolerance of the best.
    """
    if out is not None:
        from codec.show.plot import check_installed

        check_installed()
    setting = Setting(
        requests, every_s, deadline_ms=deadline_ms, tolerance=tolerance, ms_per_byte=ms_per_byte
    )
    times = Stages() if stages is None else read_stages(stages)
    folder = folder_of(codec)
    tasks = read_sweep(folder / SWEEP)
    if task is not None and task not in tasks:
        raise ValueError(f"the sweep of {codec} has no task {task!r}, but {', '.join(tasks)}")
    traces = [trace_of(one) for one in trace]
    found = []
    with progress("replaying", len(traces) * len(tasks)) as step:
        for name, rows in tasks.items():
            if task in (None, name):
                ways = ways_of(rows, folder.name, times, with_alone)
                for one in traces:
                    found.append((name, replay(one, ways, times, setting)))
                    step()
    if out is not None:
        from codec.show.links import save_latencies

        drawn = [(f"{name}, {one.trace.name}", one, shown_of(one)) for name, one in found]
        save_latencies(drawn, out)
    if as_json:
        print_json([_facts(name, one) for name, one in found])
        return
    for name, done in found:
        _print(name, done, done.fixed if every_way else shown_of(done))


def shown_of(found: Replay) -> list[Outcome]:
    """Of each kind of fixed way the best one: the least median among those close to the best
    score, or where none is close the best score.
    """
    kinds: dict[str, list[Outcome]] = {}
    for one in found.fixed:
        kinds.setdefault(kind_of(one.name), []).append(one)
    best = []
    for ways in kinds.values():
        close = [one for one in ways if one.name in found.close]
        best.append(
            min(close, key=lambda one: one.median_ms)
            if close
            else max(ways, key=lambda one: (one.mean_score, -one.median_ms))
        )
    return best


def folder_of(codec: str) -> Path:
    """The folder of a codec that has a sweep.

    Raises:
        ValueError: there is none.
    """
    from codec.model import checkpoint

    folder = Path(codec) if checkpoint.is_path(codec) else checkpoint.shipped_root() / codec
    if not (folder / SWEEP).is_file():
        raise ValueError(f"no sweep of {codec}: there is no {folder / SWEEP}")
    return folder


def _print(task: str, found: Replay, ways: list[Outcome] | tuple[Outcome, ...]) -> None:
    deadline_ms = found.setting.deadline_ms
    late = [] if deadline_ms is None else [">in time", ">score by then"]
    print(f"{task}, {found.trace.name}")
    columns = (
        "way",
        ">median ms",
        ">95% ms",
        ">score",
        ">bytes",
        *late,
        ">to the oracle",
        ">failed",
    )
    table = make_table(*columns)
    for one in (found.policy, *ways, found.oracle):
        by = []
        if deadline_ms is not None:
            in_time = (one.latency_ms <= deadline_ms).mean()
            by = [f"{in_time:.1%}", f"{one.score_by(deadline_ms):.2f}"]
        far = "" if one.name == found.oracle.name else f"{one.regret(found.oracle):+.1%}"
        times = f"{one.median_ms:,.1f}", f"{one.p95_ms:,.1f}"
        score, n_bytes = f"{one.mean_score:.2f}", f"{one.n_bytes.mean():,.0f}"
        add_row(table, one.name, *times, score, n_bytes, *by, far, int(one.failed.sum()))
    print_table(table)
    taken = sorted(found.policy.ways.items(), key=lambda item: -item[1])
    print("the policy took " + ", ".join(f"{name} ({n})" for name, n in taken[:5]) + "\n")


def _facts(task: str, found: Replay) -> dict[str, Any]:
    outcomes = (found.policy, found.oracle, *found.fixed)
    ways = [_outcome_facts(one, found) for one in outcomes]
    trace = {"name": found.trace.name, "mean_bytes_per_s": found.trace.mean_rate}
    return {"task": task, "trace": trace, "ways": ways}


def _outcome_facts(one: Outcome, found: Replay) -> dict[str, Any]:
    regret = one.regret(found.oracle)
    facts: dict[str, Any] = {
        "way": one.name,
        "median_ms": one.median_ms,
        "p95_ms": one.p95_ms,
        "score": one.mean_score,
        "bytes_mean": float(one.n_bytes.mean()),
        "regret": regret if math.isfinite(regret) else None,
        "failed": int(one.failed.sum()),
        "close": one.name in found.close,
        "taken": one.ways,
    }
    if (deadline_ms := found.setting.deadline_ms) is not None:
        facts["in_time"] = float((one.latency_ms <= deadline_ms).mean())
        facts["score_by_deadline"] = one.score_by(deadline_ms)
    return facts
