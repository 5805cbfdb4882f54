"""python -m eval.link.soak: a server at 80% of the most that it can do, for half an hour: its
memory, its errors, its latency, a line a minute.

Requests come evenly in time, whatever is not answered yet. The first minutes of a run are its
warm-up; the memory of each later minute is held against the first one after it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import psutil

from codec.pipeline import Server
from codec.serve.models import TASKS
from codec.show.console import failed
from eval.link.load import load
from eval.link.sample_requests import blobs_of, requests_to_ours
from eval.link.servers import running

SHARE = 0.8
FLAT = 0.05
"""Memory may grow by so much."""
CONNECTIONS = 64


class Minute(NamedTuple):
    """What one minute was like.

    Attributes:
        n, n_failed: requests that were answered, and that were refused.
        latency_ms, p99_ms: the median, and what one in a hundred exceeds.
        rss_mib: the server's memory at its end.
    """

    n: int
    n_failed: int
    latency_ms: float
    p99_ms: float
    rss_mib: float


def growth(minutes: Sequence[Minute], n_warm: int) -> float:
    """By what share the most memory after the warm-up exceeds that at its end."""
    return max(one.rss_mib for one in minutes[n_warm:]) / minutes[n_warm].rss_mib - 1


def run(args: argparse.Namespace) -> bool:
    """The command's work; whether the server held.

    Raises:
        ValueError, OSError: no such codec, or the server fails.
    """
    blobs = blobs_of(args.codec)
    config = Server.from_pretrained(args.codec).codec.config
    verbs = [verb for verb, task in TASKS.items() if task in config.tasks]
    requests = requests_to_ours(config.name, verbs, blobs)
    minutes: list[Minute] = []
    with running("ours", args.codec, args.batch, args.threads) as server:
        load(server.port, requests, CONNECTIONS, 2.0)
        most = statistics.median(
            load(server.port, requests, CONNECTIONS, args.measure_s).per_s for _ in range(3)
        )
        rate = SHARE * most
        print(f"{args.codec}: at most {most:.1f} requests a second; now {rate:.1f} come.\n")
        print("| minute | answered | refused | median, ms | p99, ms | memory, MiB |")
        print("|--:|--:|--:|--:|--:|--:|", flush=True)
        end = time.monotonic() + 60 * args.minutes
        while (left := end - time.monotonic()) > 1:
            found = load(server.port, requests, CONNECTIONS, min(60.0, left), rate)
            p99 = statistics.quantiles(found.latencies_ms, n=100)[98]
            rss = psutil.Process(server.pid).memory_info().rss / (1 << 20)
            one = Minute(found.n, found.n_failed, found.latency_ms, p99, rss)
            minutes.append(one)
            print(
                f"| {len(minutes)} | {one.n} | {one.n_failed} | {one.latency_ms:.1f} "
                f"| {one.p99_ms:.1f} | {one.rss_mib:.1f} |",
                flush=True,
            )
    n_warm = min(args.warm_up, len(minutes) - 1)
    grown, n_failed = growth(minutes, n_warm), sum(one.n_failed for one in minutes)
    n = sum(one.n for one in minutes)
    print(
        f"\n{n:,} requests were answered and {n_failed} refused in {len(minutes)} minutes. After "
        f"{n_warm} minutes the memory grew by at most {100 * grown:.1f}%."
    )
    return grown <= FLAT and n_failed == 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="eval.link.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--codec", default="vit-tiny-cifar10", help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=30.0, help="default: %(default)g")
    parser.add_argument("--warm-up", type=int, default=2, help="minutes; default: %(default)d")
    parser.add_argument("--batch", type=int, default=32, help="default: %(default)d")
    parser.add_argument("--threads", type=int, default=2, help="of torch; default: %(default)d")
    parser.add_argument(
        "--measure-s", type=float, default=10.0, help="a third of what measures the maximum"
    )
    args = parser.parse_args(argv)
    try:
        held = run(args)
    except (ValueError, OSError) as error:
        return failed(parser.prog, error)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
