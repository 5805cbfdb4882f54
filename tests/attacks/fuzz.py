"""python -m tests.attacks.fuzz: tries inputs that an adversary could make, for as long as you like.

Each kind of inputs is tried in a process of its own, with bounds on time and memory. It prints a
line each 10 s and a summary. An input that is a fault is written to a file; `--replay FILE` tries
it again. Exit code 1 where there was a fault.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import importlib
import json
import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.attacks.trial import limit_memory, peak_bytes, tried

TARGETS = {
    "blobs": "tests.attacks.fuzz_blobs:Blobs",
    "updates": "tests.attacks.fuzz_updates:Updates",
    "checkpoints": "tests.attacks.fuzz_checkpoints:Checkpoints",
    "bundles": "tests.attacks.fuzz_bundles:Bundles",
    "pictures": "tests.attacks.fuzz_pictures:Pictures",
}
SILENT, STARTING = 60.0, 600.0
"""Seconds without a word after which a process counts as stuck: at work, and before its start."""
MOST_FAULTS = 20


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="in total (default: 600)")
    parser.add_argument("--target", choices=(*TARGETS, "all"), default="all")
    parser.add_argument("--seed", type=int, default=None, help="default: another each time")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="where faults go")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="try one input again")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.replay:
        outcome = tried(_target(options.replay.name.split("-")[0]), options.replay.read_bytes())
        print(outcome.fault or outcome.refused or "accepted", f"({outcome.seconds:.2f} s)")
        return int(bool(outcome.fault))
    if options.child:
        _try_many(options.child, options.seconds, options.seed, options.out)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(os.urandom(4), "big") if options.seed is None else options.seed
    names = list(TARGETS) if options.target == "all" else [options.target]
    print(f"seed {seed}, {options.seconds / len(names):.0f} s for each of {', '.join(names)}")
    faults = [_supervised(n, options.seconds / len(names), seed, options.out) for n in names]
    return int(any(faults))


def _target(name: str) -> Any:
    module, _, made = TARGETS[name].partition(":")
    return getattr(importlib.import_module(module), made)()


def _try_many(name: str, seconds: float, seed: int, out: Path) -> None:
    """The process that tries inputs. It says on stdout what it found, a line of JSON each second;
    the file `current` holds the input that is tried.
    """
    # what libraries print goes elsewhere
    say = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    target, rng = _target(name), random.Random(seed)
    print(json.dumps({"note": target.note}), file=say, flush=True)
    limit_memory()
    current = os.open(out / "current", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    refused, counts = collections.Counter[str](), collections.Counter[str]()
    slowest, start, said, known = 0.0, time.monotonic(), 0.0, set[str]()
    while (now := time.monotonic() - start) < seconds or said < now:
        if now - said >= 1 or now >= seconds:
            said = now if now < seconds else float("inf")
            news = {**counts, "refused": refused, "slowest": slowest, "peak": peak_bytes()}
            print(json.dumps(news), file=say, flush=True)
            continue
        data = target.make(rng)
        os.pwrite(current, data, 0)
        os.ftruncate(current, len(data))
        outcome = tried(target, data)
        counts["inputs"] += 1
        counts["accepted"] += not outcome.refused and not outcome.fault
        slowest = max(slowest, outcome.seconds)
        if outcome.refused:
            refused[outcome.refused] += 1
        if outcome.fault:
            counts["faults"] += 1
            kind = outcome.fault[:40] + outcome.fault[-40:]
            if kind not in known and len(known) < MOST_FAULTS:
                known.add(kind)
                found = {"fault": outcome.fault, "file": _kept(name, data, out)}
                print(json.dumps(found), file=say, flush=True)


def _kept(name: str, data: bytes, out: Path) -> str:
    """Write an input that is a fault; returns the file."""
    file = out / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    file.write_bytes(data)
    return str(file)


def _supervised(name: str, seconds: float, seed: int, out: Path) -> int:
    """Try inputs of one kind for so long; returns the number of faults. A process that dies or
    is stuck is a fault, and another one goes on.
    """
    print(f"{name}:", flush=True)
    total, faults, refused = collections.Counter[str](), 0, collections.Counter[str]()
    slowest, peak, left, died = 0.0, 0, seconds, 0
    while left > 0 and died < MOST_FAULTS:
        command = [sys.executable, "-m", "tests.attacks.fuzz", "--child", name]
        command += ["--seconds", str(left), "--seed", str(seed + died), "--out", str(out)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        error = out / "stderr"
        with error.open("wb") as said_wrong:
            child = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=said_wrong, env=environment
            )
        news: dict[str, Any] = {}
        begun, printed = None, time.monotonic()
        for line in _lines(child):
            if "note" in line:
                print(f"  {line['note']}", flush=True)
                begun = time.monotonic()
            elif "fault" in line:
                print(f"  FAULT: {line['fault']}\n    {_how(line['file'])}", flush=True)
            else:
                news = line
                if time.monotonic() - printed >= 10:
                    printed = time.monotonic()
                    print(f"  {_summary(news, printed - (begun or printed))}", flush=True)
        for key in ("inputs", "accepted", "faults"):
            total[key] += news.get(key, 0)
        refused.update(news.get("refused", {}))
        slowest, peak = max(slowest, news.get("slowest", 0)), max(peak, news.get("peak", 0))
        if child.wait() == 0:
            break
        died += 1
        left -= time.monotonic() - (begun or time.monotonic())
        current = out / "current"
        where = _kept(name, current.read_bytes(), out) if current.is_file() else "?"
        last = error.read_text(errors="replace").strip()[-300:]
        print(f"  FAULT: the process ended with {child.returncode}: {last}\n    {_how(where)}")
        if begun is None:
            break
    faults = total["faults"] + died
    print(f"  {total['inputs']} inputs, {total['accepted']} accepted, {faults} faults; slowest "
          f"{slowest:.2f} s, peak {peak / 1e6:.0f} MB; refused:")  # fmt: skip
    for reason, n in refused.most_common(12):
        print(f"  {n:9} {reason}")
    return faults


def _lines(child: Any) -> Any:
    """What a process says, until it ends; one that is silent for too long is ended."""
    patience = STARTING
    while True:
        if not select.select([child.stdout], [], [], patience)[0]:
            child.kill()
        line, patience = child.stdout.readline(), SILENT
        if not line:
            return
        with contextlib.suppress(ValueError):
            yield json.loads(line)


def _how(file: str) -> str:
    return f"again: python -m tests.attacks.fuzz --replay {file}"


def _summary(news: dict[str, Any], seconds: float) -> str:
    n, peak = news.get("inputs", 0), news["peak"] / 1e6
    return (
        f"{seconds:5.0f} s: {n} inputs, {news.get('accepted', 0)} accepted, "
        f"{news.get('faults', 0)} faults, slowest {news['slowest']:.2f} s, peak {peak:.0f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
