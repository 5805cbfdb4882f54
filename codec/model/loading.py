"""folder -> what is in it: configuration, weights, prior and fingerprint of a codec, checked before
anything is built; and the device's half alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from codec.coding.integer_prior import IntegerPrior
from codec.files import read_json
from codec.model.backbone import load_backbone
from codec.model.checkpoint import CONFIG, WEIGHTS, check_manifest, find_checkpoint
from codec.model.config import CodecConfig
from codec.model.encoding import FeatureEncoder
from codec.model.freezing import prior_from_tensors
from codec.model.hub import NO_HUB, Hub
from codec.model.networks import build_encoder, grid_of
from codec.model.split import split
from codec.model.split_names import our_names

Whole = TypeVar("Whole", bound=FeatureEncoder)

DEVICE = ("encoder.", "log_gain", "prior.")
"""How the names of the tensors begin that a device needs."""


class Checkpoint(NamedTuple):
    """A codec's checkpoint: `weights` by parameter name; `fingerprint` if the manifest has one."""

    folder: Path
    config: CodecConfig
    weights: dict[str, torch.Tensor]
    prior: IntegerPrior
    fingerprint: bytes | None


def read_checkpoint(
    name: str | os.PathLike[str], names: tuple[str, ...] = ("",), hub: Hub = NO_HUB
) -> Checkpoint:
    """Read a codec's checkpoint: a shipped name, a local folder, or a hub id.

    Args:
        names: only tensors whose names begin so are read, and then only the files that hold them
            are checked.

    Raises:
        FileNotFoundError: no such codec (the message lists the shipped ones), or a file is missing.
        ValueError: a file was altered or cannot be read, or its values do not make a codec.
    """
    # absolute: it is read again after a change of directory
    folder = find_checkpoint(name, hub).absolute()
    everything = names == ("",)
    manifest = check_manifest(folder, None if everything else [Path(CONFIG), Path(WEIGHTS)])
    try:
        values = read_json(folder / CONFIG)
    except ValueError as error:
        raise ValueError(f"the checkpoint in {folder} cannot be read: {CONFIG}: {error}") from error
    config = CodecConfig.from_dict(values)
    tensors = _tensors(folder / WEIGHTS, names)
    try:
        prior = prior_from_tensors(tensors, config.side)
    except KeyError as error:
        raise ValueError(f"{WEIGHTS} in {folder} lacks {error}") from error
    weights = {key: value for key, value in tensors.items() if not key.startswith("prior.")}
    return Checkpoint(folder, config, weights, prior, manifest.fingerprint if manifest else None)


def load_encoder(name: str | os.PathLike[str], hub: Hub = NO_HUB) -> FeatureEncoder | None:
    """The device's half of a codec, from its own tensors alone; where the encoder is `blocks`, the
    backbone's head too. Evaluation mode, CPU, float32. Errors as `read_checkpoint`.

    Returns:
        None where the manifest has no fingerprint: to work that out takes the whole codec.
    """
    with globals_kept():
        read = read_checkpoint(name, DEVICE, hub)
        config = read.config
        if read.fingerprint is None:
            return None
        head, grid = None, None
        if config.encoder == "blocks":
            backbone = load_backbone(config.backbones[config.tasks[0]], read.folder, hub)
            head = split(backbone, config.k).head
            grid = grid_of(config, backbone)
        with torch.device("meta"):
            encoder = FeatureEncoder(config, build_encoder(config, head, grid))
        fill(encoder, read.weights, read.folder)
        encoder.folder = read.folder
        encoder.fix(read.prior, read.fingerprint)
    return encoder


def load_whole(build: type[Whole], name: str | os.PathLike[str], hub: Hub) -> Whole:
    """Both halves of a codec, which `build` makes of a configuration and backbones by task.
    Evaluation mode, CPU, float32.

    Raises:
        FileNotFoundError, ValueError: as `read_checkpoint` and `load_backbone`, or the codec is not
            the one that its manifest names.
    """
    with globals_kept():
        read = read_checkpoint(name, hub=hub)
        models = {
            task: load_backbone(reference, read.folder, hub)
            for task, reference in read.config.backbones.items()
        }
        with torch.device("meta"):  # no memory for weights that may not be in the file
            codec: Any = build(read.config, models)  # type: ignore[arg-type]
        fill(codec, read.weights, read.folder)
        codec.folder = read.folder
        codec.set_prior(read.prior)
    if read.fingerprint not in (None, codec.fingerprint):
        raise ValueError(
            f"the codec in {read.folder} is not the one that its manifest names: its "
            f"fingerprint starts with {codec.fingerprint[:2].hex()}, the manifest's with "
            f"{read.fingerprint[:2].hex()}; the backbone may be another one"
        )
    whole: Whole = codec
    return whole


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
    theirs = {ours: name for name, ours in our_names(module).items()}
    module.load_state_dict(
        {theirs[key]: value.float() for key, value in weights.items()}, strict=False, assign=True
    )
    _without_meta(module)


def _without_meta(module: nn.Module) -> None:
    """Buffers that were made on `meta` are empty: they hold a dtype, and no numbers."""
    for part in module.modules():
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.is_meta:
                part._buffers[name] = torch.empty_like(buffer, device="cpu")


def on_device(device: str | torch.device) -> torch.device:
    """A device of torch that is here.

    Raises:
        ValueError: it is not here, or no device; the message says which are.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except Exception as error:  # RuntimeError, AssertionError and others, by the kind of device
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    else:
        if found.type != "meta":
            return found
        reason = "it holds no numbers"
    here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    here += ["mps"] if torch.backends.mps.is_available() else []
    raise ValueError(f"device {str(device)!r} cannot be used here ({', '.join(here)}): {reason}")


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
