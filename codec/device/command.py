"""the commands of the one file for devices: encode a picture, measure, send. Errors are one line on
stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import sys
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np

from codec.coding.blobs import write_blobs
from codec.coding.container import inspect
from codec.coding.opening import CODERS, open_prior
from codec.device.bundle import SAMPLES_FILE
from codec.device.encoder import DeviceEncoder
from codec.device.npz import read_arrays
from codec.device.post import post
from codec.files import whole_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

RUNS = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    warnings.simplefilter("ignore")  # Pillow's, of pictures that it cannot read: the error says it
    try:
        options.command(options)
    except (ValueError, OSError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"taskcodec: error: {reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="taskcodec_device.py", description="Pictures -> blobs, on a device without torch."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands.required = True
    for name, command, words in (
        ("encode", _encode, "a picture -> a blob file"),
        ("send", _send, "a picture -> a blob, posted to a server; its reply is printed"),
        ("bench", _bench, "milliseconds, bytes and memory, on the bundle's samples or a picture"),
    ):
        sub = commands.add_parser(name, help=words, description=words)
        sub.set_defaults(command=command)
        sub.add_argument("bundle", help="folder that `codec export` wrote")
        sub.add_argument("picture", nargs="?" if name == "bench" else None, help="picture file")
        sub.add_argument(
            "--coder",
            choices=CODERS,
            help="who writes the payload, always to the same bytes; default: the first there is",
        )
        if name == "bench":
            continue
        rate = sub.add_mutually_exclusive_group()
        rate.add_argument(
            "--quality", "-q", type=int, help="rate index, 0 = smallest; default: the codec's"
        )
        rate.add_argument(
            "--max-bytes", type=_positive, help="instead of a quality: the best one whose blob fits"
        )
        rate.add_argument(
            "--target-drop",
            type=float,
            metavar="POINTS",
            help="instead of a quality: the smallest that loses at most so many points of score",
        )
        if name == "encode":
            sub.add_argument("--out", "-o", required=True, help="blob file to write")
        else:
            sub.add_argument("url", help="where the blob is posted to")
            sub.add_argument(
                "--timeout",
                type=float,
                default=10.0,
                help="seconds until the whole reply must be there",
            )
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of bytes")
    return int(text)


def _blob(options: argparse.Namespace) -> bytes:
    """The picture's blob at the rate that the options ask for."""
    encoder = DeviceEncoder(options.bundle, options.coder)
    blob: bytes = encoder(
        options.picture,
        options.quality,
        max_bytes=options.max_bytes,
        target_drop=options.target_drop,
    )
    return blob


def _encode(options: argparse.Namespace) -> None:
    blob = _blob(options)
    with whole_file(options.out) as path:
        path.write_bytes(blob)
    print(f"{options.out}: {len(blob)} bytes, quality {inspect(blob).quality}")


def _send(options: argparse.Namespace) -> None:
    if not options.url.startswith(("http://", "https://")):
        raise ValueError(f"{options.url} is not an http address")
    print(post(options.url, _blob(options), options.timeout).decode("utf-8", "replace"))


def _bench(options: argparse.Namespace) -> None:
    start = time.time()
    encoder = DeviceEncoder(options.bundle, options.coder)
    rows = [("loading, once", f"{1000 * (time.time() - start):.1f} ms")]
    picture = (
        options.picture or read_arrays(os.path.join(options.bundle, SAMPLES_FILE))["pixels"][0]
    )
    pixel_values = encoder.preprocess([picture])
    symbols = encoder.symbols(pixel_values)
    steps: dict[str, Callable[[], Any]] = {
        "preprocess": lambda: encoder.preprocess([picture]),
        f"encoder, {encoder.engine.name}": lambda: encoder.symbols(pixel_values),
        "picture to blob": lambda: encoder(picture),
    }
    rows += [(name, f"{_medians_ms(step)[0]:.2f} ms") for name, step in steps.items()]
    for q in sorted({encoder.default_quality, encoder.qualities[-1]}):
        rows.append((f"quality {q}", f"{len(encoder.code(symbols, q)[0])} bytes"))
        rows += _coding(encoder, symbols[:, q], q)
    rows.append(("most memory so far", f"{peak_mb():.0f} MB"))
    for name, value in rows:
        print(f"{name:24} {value}")


def _coding(
    encoder: DeviceEncoder, symbols: NDArray[np.int32], quality: int
) -> list[tuple[str, str]]:
    """Milliseconds of every coder there is, in turn, and why another is not there."""
    coders, missing = {}, []
    for name in CODERS:
        try:
            coders[name] = open_prior(encoder.prior.network, encoder.prior.tables, name)
        except ValueError as error:
            missing.append((f"  coding, {name}", f"not here: {' '.join(str(error).split())}"))
    steps = [
        functools.partial(write_blobs, prior, encoder.fingerprint, symbols, quality)
        for prior in coders.values()
    ]
    times = _medians_ms(*steps)
    rows = []
    for name, ms in zip(coders, times, strict=True):
        ratio = "" if name == "numpy" else f", {times[-1] / ms:.1f} times as fast as numpy"
        rows.append(
            (
                f"  coding, {name}{'' if name != encoder.prior.coder_name else ', used'}",
                f"{ms:.3f} ms{ratio}",
            )
        )
    return rows + missing


def _medians_ms(*steps: Callable[[], Any]) -> list[float]:
    """Median milliseconds of steps that take turns."""
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(RUNS):
        for step, mine in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            mine.append(1000 * (time.perf_counter() - start))
    return [float(np.median(mine)) for mine in times]


def peak_mb() -> float:
    """The most memory this process has held, in MB. Linux's `ru_maxrss` begins with what the parent
    held when it started this process (getrusage(2) keeps it through exec), hence `VmHWM` first.
    """
    import resource

    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1]) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


if __name__ == "__main__":
    sys.exit(main())
