"""labels -> the pictures of each client, by a seed, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codec.files import whole_file
from training.rounds.recipe import Partition


def share_out(labels: Sequence[int], n_clients: int, partition: Partition) -> list[list[int]]:
    """Indices of the pictures of each client, sorted; each picture is one client's.

    With `alpha`, each label's pictures are shared out by a draw from a Dirichlet distribution; the
    smaller alpha, the more the clients differ.

    Raises:
        ValueError: a client would have no picture.
    """
    rng = np.random.default_rng(partition.seed)
    shares: list[list[int]] = [[] for _ in range(n_clients)]
    if partition.alpha is None:
        pieces = np.array_split(rng.permutation(len(labels)), n_clients)
        for share, piece in zip(shares, pieces, strict=True):
            share += piece.tolist()
    else:
        for label in np.unique(labels):
            own = rng.permutation(np.flatnonzero(np.asarray(labels) == label))
            ends = np.cumsum(rng.dirichlet([partition.alpha] * n_clients))[:-1] * len(own)
            for share, piece in zip(shares, np.split(own, ends.astype(int)), strict=True):
                share += piece.tolist()
    if empty := [client for client, share in enumerate(shares) if not share]:
        raise ValueError(
            f"client {empty[0]} of {n_clients} has none of the {len(labels)} pictures: give "
            "fewer clients, a larger partition.alpha or another partition.seed"
        )
    return [sorted(share) for share in shares]


def write_partition(
    shares: list[list[int]], labels: Sequence[int], partition: Partition, path: Path
) -> None:
    """Write who holds what: the indices of each client's pictures, and how many it has of each
    label.
    """
    n_labels = max(labels) + 1
    counts = [np.bincount([labels[i] for i in own], minlength=n_labels).tolist() for own in shares]
    kind = "iid" if partition.alpha is None else f"dirichlet({partition.alpha})"
    said = {"kind": kind, "seed": partition.seed, "of_each_label": counts, "pictures": shares}
    with whole_file(path) as file:
        file.write_text(json.dumps(said) + "\n")
