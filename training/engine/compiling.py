"""networks of fixed shapes -> compiled ones: faster steps, after minutes with no word."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def compile_networks(networks: Sequence[nn.Module], wanted: bool) -> None:
    """Let torch.compile make networks faster when they first run, and say so, if that is wanted."""
    if not wanted:
        return
    print(
        f"compiling {len(networks)} networks with torch.compile: the first step of a stage takes "
        "some minutes, in which nothing is said; compile=false switches it off",
        flush=True,
    )
    for network in networks:
        network.compile(dynamic=False)
