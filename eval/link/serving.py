"""python -m eval.link.serving: requests a second that a server answers, with batches and one
by one, and LitServe beside them; and what HTTP, queue and coding add to the model's own time.

Servers are processes of this machine, on the loopback interface; this process asks them. They take
turns, so that each has the same machine.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psutil
import torch

from codec.pipeline import Server
from codec.serve.models import TASKS
from codec.show.console import failed
from eval.link.load import Load, load
from eval.link.sample_requests import blobs_of, requests_to_litserve, requests_to_ours
from eval.link.servers import running

TURNS = 3


class Turn(NamedTuple):
    """One server's turn: what it did, and the processor time that it took, in seconds."""

    load: Load
    server_s: float


def coding_ms(name: str, blobs: Sequence[bytes], n: int = 200) -> float:
    """Milliseconds of a blob that go into its payload, blob -> symbols: the median of `n`."""
    server, found = Server.from_pretrained(name), []
    for i in range(n):
        start = time.perf_counter()
        server.codec.read([blobs[i % len(blobs)]])
        found.append(1000 * (time.perf_counter() - start))
    return statistics.median(found)


def processor_s(pid: int) -> float:
    """Processor time so far of a process and those that it started."""
    first = psutil.Process(pid)
    times = [one.cpu_times() for one in (first, *first.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def hold(pid: int, held: bool) -> None:
    """Stop a process and those that it started, or let them go on: who has no turn takes nothing,
    also where it looks for work all the time.
    """
    first = psutil.Process(pid)
    for one in (first, *first.children(recursive=True)):
        if held:
            one.suspend()
        else:
            one.resume()


def run(args: argparse.Namespace) -> None:
    """The command's work.

    Raises:
        ValueError, OSError: no such codec, or a server fails.
    """
    blobs = blobs_of(args.codec)
    served = Server.from_pretrained(args.codec).codec.config
    verbs = [verb for verb, task in TASKS.items() if task in served.tasks]
    own, other = requests_to_ours(served.name, verbs, blobs), requests_to_litserve(blobs)
    kinds: list[tuple[str, str, int, list[bytes], str]] = [
        ("one by one", "ours", 1, own, sys.executable),
        (f"batches up to {args.batch}", "ours", args.batch, own, sys.executable),
    ]
    if args.litserve:
        kinds += [
            ("LitServe, one by one", "litserve", 1, other, args.litserve),
            (f"LitServe, batches up to {args.batch}", "litserve", args.batch, other, args.litserve),
        ]
    turns: dict[str, list[Turn]] = {title: [] for title, *_ in kinds}
    alone: list[Load] = []
    with contextlib.ExitStack() as stack:
        servers = {
            title: stack.enter_context(running(kind, args.codec, batch, args.threads, python))
            for title, kind, batch, _, python in kinds
        }
        for title, _, _, requests, _ in kinds:  # what is made at the first request
            load(servers[title].port, requests, 4, 1.0)
            hold(servers[title].pid, True)
        for _ in range(TURNS):
            for title, _, _, requests, _ in kinds:
                server = servers[title]
                hold(server.pid, False)
                before = processor_s(server.pid)
                found = load(server.port, requests, args.clients, args.seconds)
                turns[title].append(Turn(found, processor_s(server.pid) - before))
                if title == kinds[1][0]:
                    alone.append(load(server.port, own, 1, args.seconds))
                hold(server.pid, True)
        for server in servers.values():
            hold(server.pid, False)
    said(args, turns, alone, coding_ms(args.codec, blobs))


def said(
    args: argparse.Namespace, turns: dict[str, list[Turn]], alone: list[Load], coding: float
) -> None:
    """Print what was measured."""
    print(
        f"{args.codec}: {args.clients} connections, {args.threads} threads of torch, medians of "
        f"{TURNS} turns of {args.seconds:g} s.\n"
    )
    print(
        "| server | requests a second | latency, ms | processor, ms a request | client's, ms |\n"
        "|---|--:|--:|--:|--:|"
    )

    def middle(some: list[Turn], what: Any) -> float:
        return statistics.median(what(one) for one in some)

    per_s = {}
    for title, some in turns.items():
        per_s[title] = middle(some, lambda one: one.load.per_s)
        latency = middle(some, lambda one: one.load.latency_ms)
        server = 1000 * middle(some, lambda one: one.server_s / one.load.n)
        client = 1000 * middle(some, lambda one: one.load.client_s / one.load.n)
        print(f"| {title} | {per_s[title]:.1f} | {latency:.1f} | {server:.2f} | {client:.2f} |")
    single, batched, *others = per_s
    print(f"\nBatches answer {per_s[batched] / per_s[single]:.2f} times as many as one by one,")
    for title in others:
        print(f"and {per_s[batched] / per_s[title]:.2f} times as many as {title}.")
    around = statistics.median(one for some in alone for one in some.around_ms)
    latency = statistics.median(one for some in alone for one in some.latencies_ms)
    print(
        f"A lone client waits {latency:.2f} ms: {around:.2f} ms of it for neither queue nor model, "
        f"and {coding:.2f} ms for the blob's payload; {around + coding:.2f} ms together."
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="eval.link.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--codec", default="vit-tiny-cifar10", help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=32, help="default: %(default)d")
    parser.add_argument("--clients", type=int, default=64, help="default: %(default)d")
    parser.add_argument("--threads", type=int, default=2, help="of torch; default: %(default)d")
    parser.add_argument("--litserve", metavar="PYTHON", help="an interpreter that has it")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of a turn; default: %(default)g"
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        run(args)
    except (ValueError, OSError) as error:
        return failed(parser.prog, error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
