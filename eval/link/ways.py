"""python -m eval.link.ways: the sweeps that ship, stage times, traces -> how near the policy comes
to the best fixed way of working and to an oracle, as markdown tables.

A table for each codec and task, a row for each link: fixed rates from 30 B/s to 10 MB/s, then the
traces that are given. Ways are judged by latency among those whose score is within `--tolerance`
points of the best one's. What a row says of the aims:

    median   the policy's, at most 5% and 2 ms above the best fixed way's
    95%      the policy's, not above that of any fixed way; by 1% at most
    regret   the time of all requests together, at most 5% above the oracle's
    score    the policy's mean, at most `--tolerance` points below the best
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from codec.link.policy import TOLERANCE
from codec.link.replay import Outcome, Replay, Setting, replay
from codec.link.traces import SYNTHETIC, Trace, fixed, trace_of, with_outages
from codec.link.ways import Stages, read_stages, read_sweep, ways_of
from codec.model import checkpoint
from codec.show.console import failed

HEADINGS = (
    "link",
    "policy: median, 95% ms",
    "best fixed way",
    "its median, 95% ms",
    "least 95% of any",
    "oracle: median, 95% ms",
    "regret: policy, best fixed",
    "score, below the best",
    "aims",
)
MEDIAN_SHARE, MEDIAN_MS, P95_SHARE, REGRET = 0.05, 2.0, 0.01, 0.05
LEAST_EVERY_S, BODY_BYTES = 1.0, 2_000


def missed(found: Replay) -> list[str]:
    """The aims that a replay does not reach, by their names above."""
    policy, best = found.policy, found.best_fixed
    score = max(one.mean_score for one in found.fixed)
    reached = {
        "median": policy.median_ms <= best.median_ms * (1 + MEDIAN_SHARE) + MEDIAN_MS,
        "95%": policy.p95_ms <= least_p95(found) * (1 + P95_SHARE),
        "regret": policy.regret(found.oracle) <= REGRET,
        "score": policy.failed.all() or policy.mean_score >= score - found.setting.tolerance - 1e-9,
    }
    return [name for name, is_so in reached.items() if not is_so]


def least_p95(found: Replay) -> float:
    """The least 95th percentile of any fixed way close to the best score, milliseconds."""
    return min(one.p95_ms for one in found.fixed if one.name in found.close)


def replays(
    codec: str, traces: Sequence[Trace], stages: Stages, tolerance: float, alone: bool, n: int
) -> dict[str, list[Replay]]:
    """Every trace replayed with a shipped codec's ways, by task. Pictures come a second apart, or
    so far apart that a picture of 2,000 bytes is through.

    Raises:
        OSError, ValueError: its sweep cannot be read.
    """
    tasks = read_sweep(checkpoint.shipped_root() / codec / "sweep.jsonl")
    found: dict[str, list[Replay]] = {}
    for task, rows in tasks.items():
        ways = ways_of(rows, codec, stages, alone)
        for trace in traces:
            every_s = max(LEAST_EVERY_S, BODY_BYTES / max(trace.mean_rate, 1.0))
            setting = Setting(n, every_s, tolerance=tolerance)
            found.setdefault(task, []).append(replay(trace, ways, stages, setting))
    return found


def table(found: Sequence[Replay]) -> str:
    """The replays of one task, as markdown."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---" + "|--:" * (len(HEADINGS) - 1) + "|"]
    for one in found:
        policy, best = one.policy, one.best_fixed
        score = max(way.mean_score for way in one.fixed)
        cells = [
            one.trace.name,
            _ms(policy),
            best.name,
            _ms(best),
            f"{least_p95(one):,.1f}",
            _ms(one.oracle),
            f"{policy.regret(one.oracle):.1%}, {best.regret(one.oracle):.1%}",
            f"{policy.mean_score:.2f}, {score - policy.mean_score:.2f}",
            ", ".join(missed(one)) or "reached",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ms(outcome: Outcome) -> str:
    return f"{outcome.median_ms:,.1f}, {outcome.p95_ms:,.1f}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="eval.link.ways",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--codec", action="append", help="a shipped codec; repeated; default: all")
    parser.add_argument("--trace", action="append", default=[], help="as codec bench-link has it")
    parser.add_argument("--stages", type=Path, help="JSON file with times of device and server")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="default: %(default)g")
    parser.add_argument("--no-alone", action="store_true", help="the device has no own model")
    parser.add_argument("--requests", type=int, default=300, help="default: %(default)d")
    args = parser.parse_args(argv)
    try:
        stages = Stages() if args.stages is None else read_stages(args.stages)
        traces = [fixed(rate) for rate in SYNTHETIC]
        traces += [with_outages(rate) for rate in (1e3, 100e3)]
        traces += [trace_of(text) for text in args.trace]
        n_missed = n_replays = 0
        for name in args.codec or checkpoint.shipped_names():
            by_task = replays(
                name, traces, stages, args.tolerance, not args.no_alone, args.requests
            )
            for task, found in by_task.items():
                print(f"### {name}, {task}\n\n{table(found)}\n", flush=True)
                n_missed += sum(bool(missed(one)) for one in found)
                n_replays += len(found)
        print(f"{n_replays - n_missed} of {n_replays} links reach all aims.")
    except (ValueError, OSError) as error:
        return failed(parser.prog, error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
