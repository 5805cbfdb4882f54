"""python -m eval.studies.progressive CODEC --data PATH --layers 0,4,10,15: what it costs that a
blob's first bytes are blobs of lower qualities.

Real blobs of every picture, at each quality that is a layer: alone, in layers, and cut from the
finest in layers, with the answers that come out of them. The codec needs no training for it:
`FeatureCodec.set_layers`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.progress import track

from codec import FeatureCodec
from codec.show.console import failed
from training.data.images import Images, batches, normalise


class Layer(NamedTuple):
    """Means over all pictures of a quality: bytes of its blob alone, in layers, and cut from the
    finest; drops alone and cut, in points.
    """

    quality: int
    alone: float
    layered: float
    cut: float
    drop_alone: float
    drop_cut: float


@torch.inference_mode()
def measure(codec: FeatureCodec, images: Images, layers: Sequence[int]) -> list[Layer]:
    """A row for each layer.

    Raises:
        ValueError: they are no layers of this codec.
    """
    plain = codec.set_layers(())
    codec = codec.set_layers(layers)
    uncut, finest = codec.load_uncut(), layers[-1]
    sums = np.zeros((len(layers), 5))
    for pixels, labels in track(list(batches(images)), description="measuring"):
        x = normalise(pixels, codec.config.preprocess)
        right = int((uncut(x).logits.argmax(-1) == labels).sum())
        latent = codec.latent(x)
        whole = codec.code(codec.quantise(latent, finest), finest)
        cuts = [codec.cuts(blob) for blob in whole]
        for i, q in enumerate(layers):
            symbols = codec.quantise(latent, q)
            alone, layered = plain.code(symbols, q), codec.code(symbols, q)
            cut = [
                codec.cut(blob, q) if q in where else blob
                for blob, where in zip(whole, cuts, strict=True)
            ]
            kept = [
                int((codec.tail(tokens).logits.argmax(-1) == labels).sum())
                for tokens in (plain.decode(alone), codec.decode(cut))
            ]
            sums[i] += [
                *(sum(map(len, blobs)) for blobs in (alone, layered, cut)),
                *(100 * (right - n) for n in kept),
            ]
    return [Layer(q, *row) for q, row in zip(layers, (sums / len(images)).tolist(), strict=True)]


def markdown(rows: Sequence[Layer]) -> str:
    """Rows as the table of the documentation."""
    lines = [
        "| quality | bytes alone | in layers | costs | cut from the finest | drop alone, points | "
        "drop cut |",
        "|--:" * 7 + "|",
    ]
    for r in rows:
        costs = f"{100 * (r.layered / r.alone - 1):+.1f}%"
        lines.append(
            f"| {r.quality} | {r.alone:.1f} | {r.layered:.1f} | {costs} | {r.cut:.1f} | "
            f"{r.drop_alone:+.2f} | {r.drop_cut:+.2f} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="eval.studies.progressive",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("codec", help="a classifier's: shipped name, folder, or hub id")
    parser.add_argument("--data", required=True, help="folder or hub name of labelled pictures")
    parser.add_argument(
        "--split", default="test", help="pictures that are measured; default: %(default)s"
    )
    parser.add_argument("--limit", type=int, help="the first so many of them only")
    parser.add_argument(
        "--layers",
        action="append",
        required=True,
        metavar="Q,Q,...",
        help="qualities, rising; a table for each time",
    )
    args = parser.parse_args(argv)
    try:
        for given in args.layers:
            codec = FeatureCodec.from_pretrained(args.codec)
            tail: Any = codec.tail
            images = Images(
                args.data,
                args.split,
                codec.config.preprocess,
                args.limit,
                model_labels=tail.config.id2label,
            )
            rows = measure(codec, images, [int(q) for q in given.split(",")])
            print(
                f"\nlayers {given}, {len(images):,} pictures\n",
                markdown(rows),
                sep="\n",
                flush=True,
            )
    except (ValueError, OSError) as error:
        return failed(parser.prog, error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
