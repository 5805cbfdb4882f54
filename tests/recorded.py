"""python -m tests.recorded taskcodec_device.py tables.npz [CODER]: what a runtime writes for 1,000
recorded arrays of symbols, and reads.

Runs on any Python from 3.6 with numpy, the file's own imports aside, so that other machines can be
held against the golden digest. The arrays come out of SHAKE-256, so they are the same everywhere:
1,000 pictures' symbols, at each quality in turn, from all zeros to escapes.
"""

import hashlib
import importlib.util
import sys

import numpy as np

N_ARRAYS = 1000
FINGERPRINT = bytes(range(32))
LAYERS = (0, 4, 10, 15)
"""Of the second digest, for blobs that can be cut."""


def arrays(n_qualities, shape):
    """Qualities and symbols (1, M, C) int32; their spread grows with the quality, every tenth has
    symbols no table reaches.
    """
    for i in range(N_ARRAYS):
        quality, size = i % n_qualities, int(np.prod(shape))
        bits = (
            np.frombuffer(hashlib.shake_256(b"symbols %d" % i).digest(5 * size), dtype=np.uint8)
            .reshape(5, size)
            .astype(np.int32)
        )
        spread = 1 + 2 * quality
        symbols = (
            (bits[0] * spread >> 8)
            * (bits[1] * spread >> 8)
            * np.where(bits[2] < 64 + 8 * quality, 1, 0)
            * np.where(bits[3] < 128, 1, -1)
        )
        if i % 10 == 9:
            symbols = np.where(bits[4] < 6, bits[0] - 128, symbols)
        yield quality, symbols.clip(-127, 127).astype(np.int32).reshape(1, *shape)


def digest(runtime, tables, coder=None, layers=()):
    """SHA-256 of all blobs, in hex; each is read back too.

    Args:
        runtime: the module `taskcodec_device`.
        tables: arrays of a bundle's tables.npz, by name.
        coder: name of one of the runtime's coders; None for the first that can be had.
        layers: qualities whose blobs hold the lower ones of these first.
    """
    m = tables["out_bias"].shape[1]
    network = runtime.ContextNetwork(int(m**0.5), *[tables[name] for name in runtime.NETWORK])
    prior = runtime.open_prior(network, runtime.Tables(tables["cdf"]), coder)
    state = hashlib.sha256()
    prior = runtime.progressive_prior(prior, layers, [500 - 40 * i for i in range(len(layers))])
    for quality, symbols in arrays(network.n_qualities, (m, network.n_channels)):
        blob = runtime.write_blobs(prior, FINGERPRINT, symbols, quality)[0]
        back, qualities = runtime.read_blobs(prior, FINGERPRINT, [blob])
        assert list(qualities) == [quality]
        assert (back == symbols).all()
        state.update(blob)
    return state.hexdigest()


def load(path):
    """The one file as a module."""
    spec = importlib.util.spec_from_file_location("taskcodec_device", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    with np.load(sys.argv[2], allow_pickle=False) as file:
        module = load(sys.argv[1])
        wanted = sys.argv[3] if sys.argv[3:] else None
        arrays_of = {name: file[name] for name in file.files}
        print(digest(module, arrays_of, wanted))
        print(digest(module, arrays_of, wanted, LAYERS))
