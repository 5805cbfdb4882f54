"""python -m eval.coding_speed: how long symbols <-> payload takes here and in compressai, on one thread.

An image has 197 x 32 symbols of about 1.3 bits (tokens of a ViT-B/16 with 32 channels), Laplacian with another scale in each
channel. Both coders have tables fitted to such symbols, and code one image at a time. They take turns, a turn being 16 images one
after another, as they come from a camera or a batch; medians over the turns are compared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from codec.prior import Histogram, freeze
from codec.rangecoder import Tables, decode, decode_portable, encode, encode_portable
from eval.baselines import fit_bottleneck

N_POSITIONS, N_CHANNELS = 197, 32
FIT_IMAGES = 200
TURN = 16
"""Images that a coder codes before it is another's turn."""


class Workload(NamedTuple):
    """Symbols of some images (n, C, M) int32, and two coders' tables for such symbols."""

    symbols: NDArray[np.int32]
    tables: Tables
    bottleneck: Any


def workload(seed: int = 0) -> Workload:
    """Symbols of 16 images, and tables fitted to those of 200 others."""
    rng = np.random.default_rng(seed)
    scales = np.geomspace(0.1, 1.45, N_CHANNELS)[:, None]
    draws = np.rint(rng.laplace(scale=scales, size=(TURN + FIT_IMAGES, N_CHANNELS, N_POSITIONS))).astype(np.int32)
    histogram = Histogram(N_CHANNELS)
    histogram.add(draws[TURN:].transpose(0, 2, 1))
    return Workload(draws[:TURN], freeze(histogram), fit_bottleneck(draws[TURN:]))


def coders(load: Workload) -> dict[str, tuple[Callable[[], list[Any]], Callable[[], list[Any]]]]:
    """(encode, decode) of the workload's images, one at a time, without arguments, by name; each decodes what it encodes.

    Raises:
        RuntimeError: one does not give the symbols back.
    """
    symbols, tables, bottleneck = load
    images, floats = list(symbols), [torch.from_numpy(image)[None].float() for image in symbols]
    payloads, strings = [encode(image, tables) for image in images], [bottleneck.compress(image) for image in floats]
    pairs: dict[str, tuple[Callable[[], list[Any]], Callable[[], list[Any]]]] = {
        "ours": (
            lambda: [encode(image, tables) for image in images],
            lambda: [decode(payload, tables, N_POSITIONS) for payload in payloads],
        ),
        "portable": (
            lambda: [encode_portable(image, tables) for image in images],
            lambda: [decode_portable(payload, tables, N_POSITIONS) for payload in payloads],
        ),
        "compressai": (
            lambda: [bottleneck.compress(image) for image in floats],
            lambda: [bottleneck.decompress(string, (N_POSITIONS,)) for string in strings],
        ),
    }
    for name, (_, back) in pairs.items():
        if not np.array_equal(np.stack([np.asarray(image).reshape(symbols.shape[1:]) for image in back()]), symbols):
            raise RuntimeError(f"{name} does not give the symbols back")
    return pairs


def measure(pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]], n_repetitions: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds of (encode, decode) of one image by name; within a repetition the coders take turns."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in pairs}
    for _ in track(range(n_repetitions), description="coding"):
        for direction in (0, 1):
            for name, pair in pairs.items():
                start = time.perf_counter()
                pair[direction]()
                times[name][direction].append(1000 * (time.perf_counter() - start) / TURN)
    return {name: (statistics.median(both[0]), statistics.median(both[1])) for name, both in times.items()}


def _coded(load: Workload) -> tuple[list[bytes], list[bytes]]:
    """What our coder and compressai's make of the images."""
    return [encode(image, load.tables) for image in load.symbols], load.bottleneck.compress(torch.from_numpy(load.symbols).float())


@torch.inference_mode()
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="eval.coding_speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=100, help="default: %(default)s")
    args = parser.parse_args(argv)
    if args.repetitions < 1:
        parser.error("--repetitions is at least 1")
    torch.set_num_threads(1)
    load = workload()
    ideal = sum(load.tables.bits(image) for image in load.symbols) / 8 / TURN
    ours, theirs = (sum(map(len, strings)) / TURN for strings in _coded(load))
    print(f"{N_POSITIONS} x {N_CHANNELS} symbols, {8 * ideal / load.symbols[0].size:.2f} bits a symbol; bytes an image under our tables:")
    print(f"ideally {ideal:.1f}, ours {ours:.1f}; compressai under its own {theirs:.1f}")
    pairs = coders(load)
    portable_pair = {"portable": pairs.pop("portable")}
    medians = measure(pairs, args.repetitions) | measure(portable_pair, args.repetitions)
    for direction, place in (("encode", 0), ("decode", 1)):
        ours, portable, theirs = (medians[name][place] for name in ("ours", "portable", "compressai"))
        ratio = f"{theirs / ours:.1f} times as fast" if ours <= theirs else f"{ours / theirs:.1f} times as slow"
        print(f"{direction}: ours {ours:.3f} ms, compressai {theirs:.3f} ms: {ratio}; portable {portable:.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
