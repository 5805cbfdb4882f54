"""python -m eval.studies.coding_speed: how long symbols <-> payload takes here and in compressai,
on one thread.

Three workloads. `one image` and `batches of 64` are a shipped codec's symbols of its bundled
pictures, coded by its own prior, contexts included; compressai's factorised prior is fitted to the
same symbols. `197 x 32 synthetic` is the range coder alone: Laplacian symbols of about 1.3 bits,
the size of a ViT-B/16's tokens with 32 channels, with one static table a channel on both sides.
Ours are those of `codec.coding.opening.CODERS` that can be had here; which codes, where nobody
says, is the first of them. The coders take turns; a turn is `--turn` images one after another, or
one batch. Medians over the turns are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from codec.coding.coders import PORTABLE, Coder, usual
from codec.coding.integer_prior import IntegerPrior
from codec.coding.opening import CODERS, open_prior
from codec.coding.tables import Tables
from codec.model import FeatureCodec
from codec.model.checkpoint import shipped_root
from codec.pipeline import Device
from eval.methods.factorised import fit_factorised_prior

N_POSITIONS, N_CHANNELS = 197, 32
FIT_IMAGES = 200
BATCH = 64


class Pair(NamedTuple):
    """Coding of all images of a turn, and back."""

    encode: Callable[[], list[bytes]]
    decode: Callable[[], Any]


class Workload(NamedTuple):
    """Symbols (n, C, M) of a turn, and the coders by name: compressai's, then ours, the one that is
    taken first.
    """

    symbols: NDArray[np.int32]
    pairs: dict[str, Pair]
    ideal_bytes: float


def coded_pictures(codec: FeatureCodec, quality: int, n_images: int, batch: int) -> Workload:
    """A codec's symbols of `n_images` bundled pictures, in batches of `batch`."""
    pictures = sorted((shipped_root() / "samples" / "cifar10").glob("*.png"))
    symbols = codec.symbols(Device(codec).preprocess(pictures), quality)
    factorised = fit_factorised_prior(symbols.transpose(0, 2, 1))
    chosen = np.ascontiguousarray(symbols[np.arange(n_images) % len(symbols)])
    ours, theirs = (
        np.array_split(chosen, n_images // batch),
        torch.from_numpy(chosen.transpose(0, 2, 1).copy()).float().split(batch),
    )

    def pair(prior: IntegerPrior) -> Pair:
        payloads = [prior.encode(some, quality) for some in ours]
        return Pair(
            lambda: [payload for some in ours for payload in prior.encode(some, quality)],
            lambda: np.concatenate([prior.decode(some, quality) for some in payloads]).transpose(
                0, 2, 1
            ),
        )

    pairs = {"compressai": _compressai(factorised, theirs, chosen.shape[1])}
    for name in CODERS:
        with contextlib.suppress(ValueError):  # it is not to be had here
            pairs[name] = pair(open_prior(codec.prior.network, codec.prior.tables, name))
    return _checked(
        chosen.transpose(0, 2, 1), pairs, float(codec.prior.bits(chosen, quality).mean()) / 8
    )


def synthetic(n_images: int, seed: int = 0) -> Workload:
    """Laplacian symbols of `n_images` images, with static tables fitted to those of 200 others."""
    rng = np.random.default_rng(seed)
    scales = np.geomspace(0.1, 1.45, N_CHANNELS)[:, None]
    draws = np.rint(
        rng.laplace(scale=scales, size=(n_images + FIT_IMAGES, N_CHANNELS, N_POSITIONS))
    ).astype(np.int32)
    images, reach = draws[:n_images], int(np.abs(draws).max())
    # nearest to 0 first
    values = np.array(
        [0] + [value for n in range(1, reach + 1) for value in (-n, n)], dtype=np.int32
    )
    places = np.argsort(values).astype(np.int32)  # of value + reach
    tables = _static_tables(places[draws[n_images:] + reach], len(values))

    def pair(coder: Coder) -> Pair:
        _, make, back = coder

        def encode_one(image: NDArray[np.int32]) -> bytes:
            coder = make(tables)
            for channel, row in enumerate(places.take(image + reach)):
                coder.write(row, channel)
            return coder.finish()

        def decode_one(payload: bytes) -> NDArray[np.int32]:
            coder = back(payload, tables)
            return values.take(
                np.stack([coder.read(channel, N_POSITIONS) for channel in range(N_CHANNELS)])
            )

        payloads = [encode_one(image) for image in images]
        return Pair(
            lambda: [encode_one(image) for image in images],
            lambda: np.stack([decode_one(payload) for payload in payloads]),
        )

    theirs = torch.from_numpy(images).float().split(1)
    pairs = {"compressai": _compressai(fit_factorised_prior(draws[n_images:]), theirs, N_POSITIONS)}
    pairs |= {coder.name: pair(coder) for coder in (usual(), PORTABLE)}
    ideal = (
        sum(
            tables.cost[np.arange(N_CHANNELS)[:, None], places[image + reach]].sum()
            for image in images
        )
        / 8
        / n_images
    )
    return _checked(images, pairs, float(ideal))


def _compressai(prior: Any, batches: Sequence[torch.Tensor], n_positions: int) -> Pair:
    strings = [prior.compress(some) for some in batches]
    return Pair(
        lambda: [string for some in batches for string in prior.compress(some)],
        lambda: torch.cat([prior.decompress(some, (n_positions,)) for some in strings]).numpy(),
    )


def _static_tables(symbols: NDArray[np.int32], n_symbols: int) -> Tables:
    """Counted tables, one a channel, of symbols (n, C, M) in 0 ... n_symbols - 1."""
    counts = np.stack(
        [np.bincount(symbols[:, c].ravel(), minlength=n_symbols) for c in range(symbols.shape[1])]
    )
    return Tables.from_mass(counts + 0.5)


def _checked(symbols: NDArray[np.int32], pairs: dict[str, Pair], ideal_bytes: float) -> Workload:
    """
    Raises:
        RuntimeError: a coder does not give the symbols back.
    """
    for name, pair in pairs.items():
        if not np.array_equal(pair.decode(), symbols):
            raise RuntimeError(f"{name} does not give the symbols back")
    return Workload(symbols, pairs, ideal_bytes)


def measure(load: Workload, n_repetitions: int, name: str) -> dict[str, tuple[float, float]]:
    """Median milliseconds an image of (encode, decode) by coder; they take turns."""
    times: dict[str, tuple[list[float], list[float]]] = {coder: ([], []) for coder in load.pairs}
    for _ in track(range(n_repetitions), description=name):
        for direction in (0, 1):
            for coder, pair in load.pairs.items():
                start = time.perf_counter()
                pair[direction]()
                times[coder][direction].append(
                    1000 * (time.perf_counter() - start) / len(load.symbols)
                )
    return {
        coder: (statistics.median(both[0]), statistics.median(both[1]))
        for coder, both in times.items()
    }


def workloads(codec: FeatureCodec, quality: int, turn: int) -> dict[str, Workload]:
    """Every workload by name."""
    return {
        "one image": coded_pictures(codec, quality, turn, 1),
        f"batches of {BATCH}": coded_pictures(codec, quality, BATCH, BATCH),
        f"{N_POSITIONS} x {N_CHANNELS} synthetic": synthetic(turn),
    }


@torch.inference_mode()
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="eval.studies.coding_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--codec",
        default="vit-tiny-cifar10",
        help="shipped name, folder or hub id; default: %(default)s",
    )
    parser.add_argument("--quality", type=int, help="default: the codec's")
    parser.add_argument(
        "--turn",
        type=int,
        default=16,
        help="images a coder codes before it is the other's turn; default: %(default)s",
    )
    parser.add_argument("--repetitions", type=int, default=100, help="default: %(default)s")
    args = parser.parse_args(argv)
    if args.repetitions < 1 or args.turn < 1:
        parser.error("--repetitions and --turn are at least 1")
    torch.set_num_threads(1)
    try:
        codec = FeatureCodec.from_pretrained(args.codec)
        quality = codec.config.default_quality if args.quality is None else args.quality
        if quality not in codec.qualities:
            raise ValueError(
                f"quality {quality} is not one of {codec.config.name}'s "
                f"0..{codec.config.n_qualities - 1}"
            )
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for name, load in workloads(codec, quality, args.turn).items():
        theirs, ours, *_ = (
            np.mean([len(payload) for payload in pair.encode()]) for pair in load.pairs.values()
        )
        ideal = f"{load.symbols[0].size} symbols an image, ideally {load.ideal_bytes:.1f} bytes"
        print(f"{name}: {ideal}; ours {ours:.1f}, compressai {theirs:.1f}")
        medians = measure(load, args.repetitions, name)
        for direction, place in (("encode", 0), ("decode", 1)):
            their_ms = medians["compressai"][place]
            ours_ms = [
                f"{name} {both[place]:.3f} ms, {their_ms / both[place]:.1f}"
                for name, both in list(medians.items())[1:]
            ]
            print(
                f"  {direction}: compressai {their_ms:.3f} ms; times as fast: {'; '.join(ours_ms)}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
