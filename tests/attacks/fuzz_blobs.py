"""Blobs for three decoders, and for the one in C once more with sanitizers: all accept the same
blobs, read the same symbols, and write them to the same bytes again.

Input: a byte for the prior, then the blob; or the byte 255 and a number, from which a damaged prior
is made: it is refused, or all coders write the same bytes with it.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from codec.coding.blobs import open_blob, read_blobs, write_blobs
from codec.coding.container import BitstreamError, pack, unpack
from codec.coding.context import ContextNetwork
from codec.coding.exact import LIMIT
from codec.coding.integer_prior import IntegerPrior
from codec.coding.opening import CODERS, open_prior
from codec.coding.progressive import progressive_prior
from codec.coding.tables import TOTAL, Tables
from codec.model.checkpoint import CONFIG, WEIGHTS, shipped_fingerprints, shipped_root
from tests.attacks.mutate import some_bytes
from tests.attacks.sanitized import Sanitized, built

GOLDEN = Path(__file__).parent.parent / "golden"
NETWORK = tuple(field.name for field in fields(ContextNetwork) if field.name != "side")
DAMAGED = 255


def shipped_prior(name: str) -> IntegerPrior:
    """The prior of a shipped codec, read without torch."""
    folder = shipped_root() / name
    arrays = load_file(folder / WEIGHTS)
    side = json.loads((folder / CONFIG).read_text())["side"]
    network = ContextNetwork(side, *[arrays[f"prior.{part}"] for part in NETWORK])
    return IntegerPrior(network, Tables(arrays["prior.cdf"].astype(np.uint32)))


def with_rare_escapes(prior: IntegerPrior) -> IntegerPrior:
    """A prior with the tables that make payloads longest: every symbol but one takes 24 bits."""
    frequency = np.ones(prior.tables.cdf[:, 1:].shape, dtype=np.int64)
    frequency[:, 0] = TOTAL - frequency.shape[1] + 1
    start = np.zeros((len(frequency), 1), dtype=np.int64)
    cdf = np.concatenate([start, np.cumsum(frequency, axis=1)], axis=1)
    return IntegerPrior(prior.network, Tables(cdf.astype(np.uint32)))


def coders_of(network: ContextNetwork, tables: Tables) -> dict[str, IntegerPrior]:
    """A prior with each of the coders that are here."""
    made = {}
    for name in CODERS:
        try:
            made[name] = open_prior(network, tables, name)
        except ValueError as error:
            if "gives other bytes" in str(error):
                raise AssertionError(str(error)) from error
    return made


class Blobs:
    """The target. `note` says whether the sanitizers are there."""

    def __init__(self) -> None:
        prints = shipped_fingerprints()
        plain = {name: shipped_prior(name) for name in prints}
        self._fingerprints = [*prints.values(), bytes(range(32)), bytes(range(32))]
        first = plain[next(iter(prints))]
        priors = [*plain.values(), with_rare_escapes(first), first]
        self._priors = [coders_of(prior.network, prior.tables) for prior in priors]
        layers = range(first.network.n_qualities)[:: max(first.network.n_qualities // 4, 1)]
        self._priors[-1] = {
            name: progressive_prior(prior, layers, [400] * len(layers))
            for name, prior in self._priors[-1].items()
        }
        self._layers = tuple(layers)
        self._first = first
        folder = Path(tempfile.mkdtemp())
        program, why = built(folder)
        self.note = f"decoders: {', '.join(self._priors[0])}; sanitizers: {why or 'yes'}"
        # the progressive one is coded in Python alone
        self._sanitized = [Sanitized(program, p) for p in priors[:-1]] if program else []
        shutil.rmtree(folder)
        rng = np.random.default_rng(0)
        self._seeds = [self._some_blobs(i, rng) for i in range(len(priors))]
        for i, name in enumerate(prints):
            rows = json.loads((GOLDEN / f"{name}.json").read_text())
            self._seeds[i] += [bytes.fromhex(row["blob"]) for row in rows]

    def _some_blobs(self, place: int, rng: np.random.Generator) -> list[bytes]:
        """Blobs of symbols from few to none that a table reaches, at every quality."""
        prior = next(iter(self._priors[place].values()))
        blobs = []
        for q in range(prior.network.n_qualities):
            loud = (500.0,) if q == 0 else ()  # raw ones
            for spread in (0.0, 0.3, 1.0, 3.0, 30.0, *loud):
                shape = (1, prior.network.side**2, prior.network.n_channels)
                draws = np.rint(rng.laplace(0, spread, shape)).clip(-LIMIT, LIMIT)
                blobs += write_blobs(prior, self._fingerprints[place], draws.astype(np.int32), q)
        return blobs

    def make(self, rng: random.Random) -> bytes:
        if rng.random() < 0.002:
            return bytes([DAMAGED]) + rng.randbytes(4)
        # the progressive one, in Python alone, takes ten times as long
        place = rng.randrange(len(self._priors) - (rng.random() < 0.8))
        seeds, fingerprint = self._seeds[place], self._fingerprints[place]
        blob = rng.choice(seeds)
        if rng.random() < 0.05:
            return bytes([place]) + some_bytes(rng, blob, seeds)
        read = unpack(blob, fingerprint)
        payload, quality, raw = read.payload, read.quality, read.raw
        if rng.random() < 0.1:
            payload = rng.randbytes(rng.randrange(64))
        elif rng.random() < (0.3 if raw else 0.95):
            payload = some_bytes(rng, payload, [one[6:] for one in rng.choices(seeds, k=3)])
        if rng.random() < 0.2:
            quality = rng.randrange(16)
        if rng.random() < 0.05:
            raw = not raw
        return bytes([place]) + pack(payload, quality, fingerprint, raw)

    def check(self, data: bytes) -> None:
        if data[0] == DAMAGED:
            self._check_damaged(data[1:])
            return
        place, blob = data[0], data[1:]
        found = {
            name: _read(prior, self._fingerprints[place], blob)
            for name, prior in self._priors[place].items()
        }
        first = next(iter(found.values()))
        for name, other in found.items():
            assert _same(first[0], other[0]), f"{name} reads what the first does not: {found}"
        if place < len(self._sanitized):
            self._check_sanitized(place, blob, first[0])
        if first[0] is None:
            raise BitstreamError(first[1])
        quality = blob[0] & 15
        cut = place == len(self._priors) - 1 and quality in self._layers[:-1]
        for name, prior in self._priors[place].items():
            again = write_blobs(prior, self._fingerprints[place], first[0], quality)
            # the start of a longer payload may end in other bytes than the lower layer alone
            assert cut or again == [blob], f"{name} writes other bytes than were read"

    def _check_sanitized(self, place: int, blob: bytes, symbols: Any) -> None:
        prior = next(iter(self._priors[place].values()))
        try:
            read = open_blob(prior, self._fingerprints[place], blob)
        except BitstreamError:
            return
        if read.raw:
            return
        found = self._sanitized[place].read(read.payload, read.quality)
        whole = found is not None and found[1] == read.payload
        assert whole == (symbols is not None), "with sanitizers C decides otherwise"
        assert found is None or symbols is None or _same(found[0][None], symbols)

    def _check_damaged(self, seed: bytes) -> None:
        """A prior with damaged arrays is refused, or its coders write the same bytes."""
        rng = np.random.default_rng(list(seed))
        network = self._first.network
        arrays = {name: getattr(network, name) for name in NETWORK} | {
            "cdf": self._first.tables.cdf
        }
        for _ in range(int(rng.integers(1, 4))):
            name = str(rng.choice(list(arrays)))
            arrays[name] = _damaged(rng, arrays[name])
        cdf = arrays.pop("cdf")
        coders = coders_of(ContextNetwork(network.side, **arrays), Tables(cdf))
        draws = rng.laplace(0, rng.choice([0.5, 3, 60]), (1, network.side**2, network.n_channels))
        symbols = np.rint(draws).clip(-LIMIT, LIMIT).astype(np.int32)
        for quality in (0, network.n_qualities - 1):
            written = {name: prior.encode(symbols, quality) for name, prior in coders.items()}
            first = next(iter(written.values()))
            assert all(one == first for one in written.values()), "other bytes with this prior"
            for prior in coders.values():
                assert np.array_equal(prior.decode(first, quality), symbols)


def _damaged(rng: np.random.Generator, array: NDArray[Any]) -> NDArray[Any]:
    made = array.copy()
    kind, at = rng.integers(0, 7), int(rng.integers(0, max(array.size, 1)))
    info = np.iinfo(array.dtype)
    if kind == 0:
        made.reshape(-1)[at] = rng.integers(info.min, info.max, endpoint=True)
    elif kind == 1:
        made.reshape(-1)[at] = rng.choice([info.min, info.max, 0, 1])
    elif kind == 2:
        made[...] = rng.integers(info.min, info.max, made.shape, endpoint=True)
    elif kind == 3:
        made = made[..., : max(at % array.shape[-1], 0)]
    elif kind == 4:
        made = made.astype(str(rng.choice(["float32", "float64", "int64", "uint8", "bool"])))
    elif kind == 5:
        made = made.reshape(-1)
    else:
        made = (made.astype(np.int64) * 4).clip(info.min, info.max).astype(array.dtype)
    return made


def _read(
    prior: IntegerPrior, fingerprint: bytes, blob: bytes
) -> tuple[NDArray[np.int32] | None, str]:
    try:
        return read_blobs(prior, fingerprint, [blob])[0], ""
    except BitstreamError as error:
        return None, str(error)


def _same(one: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    return np.array_equal(one, other) if one is not None and other is not None else one is other
