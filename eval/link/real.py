"""python -m eval.link.real: links, ways of working -> the latency of the real client and server
beside the simulator's, as a markdown table.

`codec serve`, a proxy and the client are processes of their own. At a fixed rate the link between
them is a token bucket between two network namespaces, and the proxy adds the delay; where
namespaces are refused, and on other traces, the proxy does the rate too. The simulator is given
what was measured in the same run: times of device and server, sizes of bodies and headers; and what
HTTP takes at both ends, measured over the link without limits. What is compared is the link.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from codec.link.policy import Way
from codec.link.replay import Setting, replay
from codec.link.traces import SYNTHETIC, Trace, fixed, trace_of
from codec.link.ways import Measured, Stages
from codec.model import checkpoint
from codec.show.console import failed
from eval.link.asking import Asked
from eval.link.namespaces import FRAME_BYTES, Namespaces
from eval.link.processes import ROUND_TRIP_MS, Processes

LONGEST_RUN_S, MOST_REQUESTS, FEWEST_REQUESTS = 30.0, 30, 3
POLICY = "policy"
HEADINGS = (
    "link",
    "way",
    "requests",
    "real: median, 95% ms",
    "simulated",
    "medians differ by",
)


class Compared(NamedTuple):
    """One way over one link: medians and 95th percentiles, real and simulated, milliseconds."""

    link: str
    way: str
    n_requests: int
    n_failed: int
    real_ms: tuple[float, float]
    simulated_ms: tuple[float, float]
    taken: str

    @property
    def off(self) -> float:
        """How far the simulated median is from the real one, as a share."""
        return self.simulated_ms[0] / self.real_ms[0] - 1


def compared(
    real: Sequence[Asked], trace: Trace, setting: Setting, base_ms: float, name: str, frame: float
) -> Compared:
    """A run beside the simulator's, of the way that it took most.

    Args:
        base_ms: what an exchange takes over a link without limits, beyond device and server.
        frame: bytes around each segment; the proxy makes one of a reply's headers and body, where
            a server sends two.

    Raises:
        ValueError: no request was answered.
    """
    done = [one for one in real if not one.failed]
    if not done:
        raise ValueError(f"{trace.name}, {name}: no request was answered")
    took = statistics.mode(one.way for one in done)
    of = [one for one in done if one.way == took]
    bodies = np.array([one.n_body_bytes for one in of], dtype=float)
    device_ms, server_ms, around, down = (
        statistics.median(values)
        for values in (
            [one.device_ms for one in of],
            [one.server_ms for one in of],
            [one.n_bytes_up - one.n_body_bytes for one in of],
            [one.n_bytes_down for one in of],
        )
    )
    stages = Stages(
        round_trip_ms=ROUND_TRIP_MS + base_ms,
        request_bytes=around,
        reply_bytes=down - frame,
        packet_bytes=frame,
    )
    way = Way(took, around + float(bodies.mean()), down - frame, device_ms, server_ms, 0.0)
    body = Measured(way, float(np.median(bodies)), float(np.percentile(bodies, 95)))
    simulated = replay(trace, [body], stages, setting).fixed[0]
    real_ms = [one.latency_ms for one in real]
    return Compared(
        trace.name,
        name,
        len(real),
        len(real) - len(done),
        (float(np.median(real_ms)), float(np.percentile(real_ms, 95))),
        (simulated.median_ms, simulated.p95_ms),
        f"{took} ({len(of)} of {len(real)})",
    )


def setting_for(trace: Trace, n_bytes: float) -> Setting:
    """Requests of so many bytes that do not overlap and take at most 30 s, or are three."""
    every_s = max(0.25, 1.3 * (n_bytes / trace.mean_rate + 0.2))
    n = int(min(max(LONGEST_RUN_S / every_s, FEWEST_REQUESTS), MOST_REQUESTS))
    return Setting(n, every_s, timeout_s=max(60.0, 4 * every_s))


def run_all(
    processes: Processes, traces: Sequence[Trace], ways: Sequence[str]
) -> Iterator[Compared]:
    """Every trace by every way, and by the client's own choice."""
    calm = Setting(12, 1.0)  # as far apart as over a link, so that the machine rests as long
    known: dict[str, tuple[float, float]] = {}
    for way in ways:
        alone = processes.ask(None, [way], calm)
        beyond_ms = [one.latency_ms - one.device_ms - one.server_ms for one in alone]
        most = max(one.n_bytes_up + one.n_bytes_down for one in alone)
        known[way] = (statistics.median(beyond_ms), most)
    for trace in traces:
        bucket = processes.spaces is not None and len(trace.rates) == 1
        frame = FRAME_BYTES if bucket else 0.0
        for name in (*ways, POLICY):
            base_ms, n_bytes = known.get(name, known[ways[0]])
            setting = setting_for(trace, n_bytes + 5 * frame)
            real = processes.ask(trace, None if name == POLICY else [name], setting)
            yield compared(real, trace, setting, base_ms, name, frame)


def row(one: Compared) -> str:
    """A line of the table."""
    failures = f", {one.n_failed} failed" if one.n_failed else ""
    cells = (
        one.link,
        one.way if one.way != POLICY else f"{POLICY}: {one.taken}",
        f"{one.n_requests}{failures}",
        f"{one.real_ms[0]:,.0f}, {one.real_ms[1]:,.0f}",
        f"{one.simulated_ms[0]:,.0f}, {one.simulated_ms[1]:,.0f}",
        f"{one.off:+.1%}",
    )
    return "| " + " | ".join(cells) + " |"


def opened(wanted: bool) -> Namespaces | None:
    """Namespaces, if they are wanted and this machine gives them; says where it does not."""
    if not wanted:
        return None
    try:
        with Namespaces() as tried:
            return tried and Namespaces()
    except OSError as error:
        print(f"no network namespaces, the proxy does the rate: {error}", file=sys.stderr)
        return None


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="eval.link.real",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--codec", default="vit-tiny-cifar10", help="default: %(default)s")
    parser.add_argument("--images", type=Path, help="a folder; default: samples that ship")
    parser.add_argument(
        "--trace", action="append", help="as codec bench-link has it; default: 12 fixed rates"
    )
    parser.add_argument(
        "--way", action="append", help="repeated; default: blob q9 and picture:webp q80"
    )
    parser.add_argument("--no-namespaces", action="store_true", help="the proxy does the rate")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))  # namespaces and processes go too
    ways = args.way or ["blob q9", "picture:webp q80"]
    samples = checkpoint.shipped_root() / "samples" / "cifar10"
    try:
        images = sorted((args.images or samples).glob("*.png"))[:4]
        if not images:
            raise ValueError("there are no pictures to ask about")
        traces = [trace_of(text) for text in args.trace or ()] or [fixed(r) for r in SYNTHETIC]
        print("| " + " | ".join(HEADINGS) + " |\n|---|---" + "|--:" * 4 + "|", flush=True)
        with contextlib.ExitStack() as stack:
            spaces = opened(not args.no_namespaces)
            if spaces is not None:
                stack.enter_context(spaces)
            processes = stack.enter_context(Processes(args.codec, images, spaces))
            for one in run_all(processes, traces, ways):
                print(row(one), flush=True)
    except (ValueError, OSError) as error:
        return failed(parser.prog, error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
