"""folder -> what is in it: configuration, weights, prior and fingerprint of a codec, checked before
anything is built; and the device's half alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from codec.coding.integer_prior import IntegerPrior
from codec.model.backbone import load_backbone
from codec.model.checkpoint import CONFIG, WEIGHTS, check_manifest, find_checkpoint
from codec.model.config import CodecConfig
from codec.model.encoding import FeatureEncoder
from codec.model.freezing import prior_from_tensors
from codec.model.networks import build_encoder
from codec.model.split import split, token_grid

DEVICE = ("encoder.", "log_gain", "prior.")
"""How the names of the tensors begin that a device needs."""


class Checkpoint(NamedTuple):
    """A codec's checkpoint: `weights` by parameter name; `fingerprint` if the manifest has one."""

    folder: Path
    config: CodecConfig
    weights: dict[str, torch.Tensor]
    prior: IntegerPrior
    fingerprint: bytes | None


def read_checkpoint(name: str | os.PathLike[str], names: tuple[str, ...] = ("",)) -> Checkpoint:
    """Read a codec's checkpoint: a shipped name, a local folder, or a hub id.

    Args:
        names: only tensors whose names begin so are read, and then only the files that hold them
            are checked.

    Raises:
        FileNotFoundError: no such codec (the message lists the shipped ones), or a file is missing.
        ValueError: a file was altered or cannot be read, or its values do not make a codec.
    """
    folder = find_checkpoint(name).absolute()  # it is read again after a change of directory
    everything = names == ("",)
    manifest = check_manifest(folder, None if everything else [Path(CONFIG), Path(WEIGHTS)])
    try:
        config = CodecConfig.from_dict(json.loads((folder / CONFIG).read_text()))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the checkpoint in {folder} cannot be read: {error}") from error
    tensors = _tensors(folder / WEIGHTS, names)
    try:
        prior = prior_from_tensors(tensors, config.side)
    except KeyError as error:
        raise ValueError(f"{WEIGHTS} in {folder} lacks {error}") from error
    weights = {key: value for key, value in tensors.items() if not key.startswith("prior.")}
    return Checkpoint(folder, config, weights, prior, manifest.fingerprint if manifest else None)


def load_encoder(name: str | os.PathLike[str]) -> FeatureEncoder | None:
    """The device's half of a codec, from its own tensors alone; where the encoder is `blocks`, the
    backbone's head too. Evaluation mode, CPU, float32. Errors as `read_checkpoint`.

    Returns:
        None where the manifest has no fingerprint: to work that out takes the whole codec.
    """
    with globals_kept():
        read = read_checkpoint(name, DEVICE)
        config = read.config
        if read.fingerprint is None:
            return None
        head, grid = None, None
        if config.encoder == "blocks":
            backbone = load_backbone(config.backbones[config.tasks[0]], read.folder)
            head = split(backbone, config.k).head
            grid = token_grid(backbone, config.preprocess.size)
        with torch.device("meta"):
            encoder = FeatureEncoder(config, build_encoder(config, head, grid))
        fill(encoder, read.weights, read.folder)
        encoder.folder = read.folder
        encoder.fix(read.prior, read.fingerprint)
    return encoder


def fill(module: FeatureEncoder, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Give a codec that was built without memory (on the device `meta`) its weights, as float32.

    Raises:
        ValueError: a weight is missing, or is there and not wanted, or has another shape or dtype.
    """
    own = module.own_parameters()
    if set(own) != set(weights):
        raise ValueError(
            f"{WEIGHTS} in {folder} does not fit its {CONFIG}: "
            f"{sorted(set(own) ^ set(weights))[:3]}"
        )
    for key, p in own.items():
        given = weights[key]
        if given.shape != p.shape:
            raise ValueError(
                f"{key} has shape {tuple(given.shape)}, {CONFIG} asks for {tuple(p.shape)}"
            )
        if given.dtype not in (torch.float16, torch.float32):
            raise ValueError(f"{key} is {given.dtype}, not torch.float16")
    module.load_state_dict(
        {key: value.float() for key, value in weights.items()}, strict=False, assign=True
    )
    _without_meta(module)


def _without_meta(module: nn.Module) -> None:
    """Buffers that were made on `meta` are empty: they hold a dtype, and no numbers."""
    for part in module.modules():
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.is_meta:
                part._buffers[name] = torch.empty_like(buffer, device="cpu")


@contextlib.contextmanager
def globals_kept() -> Iterator[None]:
    """Torch's random state and default dtype are afterwards as they were; inside, float32."""
    dtype = torch.get_default_dtype()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.set_default_dtype(torch.float32)
            yield
    finally:
        torch.set_default_dtype(dtype)


def _tensors(file: Path, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            return {
                key: opened.get_tensor(key)
                for key in opened.keys()  # noqa: SIM118
                if key.startswith(names)
            }
    except SafetensorError as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
