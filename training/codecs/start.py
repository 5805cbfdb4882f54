"""a trained codec -> the weights and gains that another starts from."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from codec.model import FeatureCodec


@torch.no_grad()
def start_from(
    codec: FeatureCodec, folder: Path, quality: int | None = None, own_gains: bool = True
) -> bool:
    """Copy encoder, synthesis and adapters of the codec in `folder`.

    What it has by quality is taken from the one that is named; where none is, one by one if both
    have as many and `own_gains` are wanted, or else in the mean.

    Returns:
        Whether it was taken one by one; else all qualities now have the same gains.

    Raises:
        ValueError: no codec is there, or it is of another shape, or it lacks the quality.
    """
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / "codec.safetensors")
    except OSError as error:
        raise ValueError(f"start: no codec in {folder}") from error
    n_there = len(tensors.get("log_gain", ()))
    if quality is not None and not 0 <= quality < n_there:
        raise ValueError(
            f"start_quality {quality} is not in 0..{n_there - 1} of the codec in {folder}"
        )
    one_by_one = own_gains and quality is None and n_there == codec.config.n_qualities
    for name, p in codec.own_parameters().items():
        given = tensors.get(name, torch.empty(0)).float()
        if name in ("log_gain", "synthesis.quality.weight") and given.ndim == 2 and not one_by_one:
            given = (given.mean(0) if quality is None else given[quality]).repeat(len(p), 1)
        if given.shape != p.shape:
            raise ValueError(
                f"start: {name} of the codec in {folder} has another shape, or is not there"
            )
        p.copy_(given)
    return one_by_one


@torch.no_grad()
def spread_gains(
    log_gain: torch.Tensor, rate_weights: tuple[float, ...], middle: float | None = None
) -> None:
    """Where gains start: at high rates distortion goes with the square of the quantiser's step, so
    the best step with sqrt(lambda).

    `middle` is the lambda whose gains stay as they are, None for the geometric mean.
    """
    log_weights = torch.tensor(rate_weights).log()
    log_gain.add_(
        0.5 * ((math.log(middle) if middle else log_weights.mean()) - log_weights)[:, None]
    )
