"""FeatureCodec: image -> blob and blob -> tokens, the whole way, from the parts in the other files.

image --encoder--> latent --gain, round--> symbols --rangecoder--> payload --bitstream--> blob
blob --bitstream--> payload --rangecoder--> symbols --gain--> latent --synthesis--> tokens --tail--> answer
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from codec.bitstream import BitstreamError, pack, unpack
from codec.checkpoint import check_manifest, find_backbone, find_checkpoint, shipped_root, whole_file, write_manifest
from codec.config import CodecConfig
from codec.prior import tables_from_tensors, tables_to_tensors
from codec.rangecoder import LIMIT, Tables, decode, encode
from codec.split import split, token_grid
from codec.transforms import BlocksAnalysis, StudentAnalysis, Synthesis, add_adapters


class FeatureCodec(nn.Module):
    """A learned codec at the cut of a split backbone.

    `encoder` (device) makes a latent (B, M, C) of the pixels; per-quality, per-channel gains scale it before rounding, so that one
    checkpoint holds several rates (Cui et al. 2021, arXiv 2003.02012); frozen integer tables code the symbols; `synthesis` and
    `tail` (server) make tokens and the answer of what arrived. The tail's adapters belong to the codec, everything else in head and
    tail to the backbone.

    Args:
        config: shape of the codec.
        backbone: the model to cut, of a family that `split` takes. It is taken over: its blocks get adapters. Pass a copy to keep it.
    """

    def __init__(self, config: CodecConfig, backbone: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.backbone_digest = _digest(backbone.state_dict())
        grid = token_grid(backbone)
        backbone.requires_grad_(False)
        head, self.tail = split(backbone, config.k)
        if config.adapter_rank:
            add_adapters(self.tail, config.adapter_rank)
        self.encoder: nn.Module
        if config.encoder == "student":
            self.encoder = StudentAnalysis(config.student_widths, config.student_depths, config.n_channels)
        else:
            self.encoder = BlocksAnalysis(head, grid, config.side, config.n_channels)
        start = torch.linspace(0.7, 2.1, config.n_qualities) if config.n_qualities > 1 else torch.tensor([1.4])
        self.log_gain = nn.Parameter(start[:, None].repeat(1, config.n_channels))
        self.synthesis = Synthesis(grid, config.side, config.n_channels, config.synthesis_depth, config.n_qualities)
        self.folder = Path()  # where the checkpoint lies, once there is one; relative backbones are looked up there
        self._tables: list[Tables] = []
        self._fingerprint = b""

    @property
    def qualities(self) -> range:
        """The rate indices, 0 = smallest."""
        return range(self.config.n_qualities)

    @property
    def tables(self) -> list[Tables]:
        """The frozen tables, one a quality.

        Raises:
            ValueError: the codec is still in training and has none.
        """
        if not self._tables:
            raise ValueError("this codec has no tables yet: set_tables() freezes it at the end of training")
        return self._tables

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that name this codec: SHA-256 of its configuration, tables, weights and backbone."""
        assert self.tables
        return self._fingerprint

    def set_tables(self, tables: list[Tables]) -> None:
        """End training: round the weights to the float16 they are stored in, and fix tables and fingerprint."""
        if len(tables) != self.config.n_qualities:
            raise ValueError(f"{self.config.n_qualities} qualities need as many tables, not {len(tables)}")
        self.round_weights()
        self._tables = tables
        self._fingerprint = self._make_fingerprint()
        self.eval()

    @torch.no_grad()
    def round_weights(self) -> None:
        """Round the codec's own weights to what float16 holds, in place: what is measured is what is stored."""
        for p in self.own_parameters().values():
            p.copy_(p.half())

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters that belong to the codec rather than to the backbone, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def scale(self, latent: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """Latent (B, M, C) in units of the quantiser's step at `quality` (B,)."""
        return latent * self.log_gain.exp()[quality][:, None]

    def synthesise(self, scaled: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """Scaled latent or symbols (B, M, C) -> tokens (B, N, D)."""
        tokens: torch.Tensor = self.synthesis(scaled * (-self.log_gain).exp()[quality][:, None], quality)
        return tokens

    @torch.inference_mode()
    def latent(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) float32 -> latent (B, M, C) float32, the same for every quality: the device's network runs here alone.

        Raises:
            ValueError: an empty batch, another shape or dtype, NaN, or values so large that the latent is not finite.
        """
        latent: torch.Tensor = self.encoder(self._checked_pixels(pixel_values)).float()
        if not torch.isfinite(latent).all():
            raise ValueError("the latent is not finite: the pixel values are far outside a picture's range")
        return latent

    @torch.inference_mode()
    def quantise(self, latent: torch.Tensor, quality: int | None = None) -> NDArray[np.int32]:
        """Latent (B, M, C) -> symbols (B, M, C) int32 at one quality, None for the codec's default."""
        q = self._checked_quality(quality)
        scaled = self.scale(latent, torch.full((len(latent),), q, device=latent.device))
        return np.asarray(scaled.round().clamp(-LIMIT, LIMIT).int().cpu().numpy())

    def symbols(self, pixel_values: torch.Tensor, quality: int | None = None) -> NDArray[np.int32]:
        """Pixels (B, 3, S, S) float32 -> symbols (B, M, C) int32. Errors as `encode`."""
        self._checked_quality(quality)
        return self.quantise(self.latent(pixel_values), quality)

    def encode(
        self, pixel_values: torch.Tensor, quality: int | None = None, *, max_bytes: int | None = None, target_drop: float | None = None
    ) -> list[bytes]:
        """Pixels (B, 3, S, S) float32, as the image processor gives them -> one standalone blob per image.

        Args:
            quality: rate index, 0 = smallest; None for the codec's default.
            max_bytes: instead of a quality, the most bytes a blob may take, header included: each image gets the best quality that
                fits. The network runs once.
            target_drop: instead of a quality, the points of score that may be lost in the mean: see `quality_for`.

        Raises:
            ValueError: an empty batch, another shape or dtype, NaN, a quality the codec lacks, a budget that no quality fits or a drop
                that none keeps to; the message says what is possible. Or more than one of the three is given.
        """
        if sum(value is not None for value in (quality, max_bytes, target_drop)) > 1:
            raise ValueError("quality, max_bytes and target_drop each set the rate: give one of them")
        if max_bytes is None:
            q = self._checked_quality(quality) if target_drop is None else self.quality_for(target_drop)
            return self._code(self.symbols(pixel_values, q), q)
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, (int, np.integer)) or max_bytes < 1:
            raise ValueError(f"max_bytes {max_bytes!r} is not a positive number of bytes")
        return self._fit(self.latent(pixel_values), int(max_bytes))

    def quality_for(self, target_drop: float) -> int:
        """The smallest quality that loses at most `target_drop` points of score in the codec's calibration, on held-out pictures.

        Raises:
            ValueError: not a number, no quality loses so little, or the codec was not calibrated.
        """
        rows = self.config.calibration
        if isinstance(target_drop, bool) or not isinstance(target_drop, (int, float)) or math.isnan(target_drop):
            raise ValueError(f"target_drop {target_drop!r} is not a number of points")
        if not rows:
            raise ValueError("this codec carries no calibration: choose a quality, or max_bytes")
        fitting = [q for q in self.qualities if rows[q].drop <= target_drop]
        if not fitting:
            best = min(self.qualities, key=lambda q: rows[q].drop)
            raise ValueError(f"no quality drops by at most {target_drop:g} points; the least is {rows[best].drop:.2f}, at quality {best}")
        return fitting[0]

    def _code(self, symbols: NDArray[np.int32], quality: int) -> list[bytes]:
        tables, fingerprint = self.tables[quality], self.fingerprint
        return [pack(encode(image.T, tables), quality, fingerprint) for image in symbols]

    def _fit(self, latent: torch.Tensor, max_bytes: int) -> list[bytes]:
        """The blob of the best quality that fits, image by image."""
        blobs: list[bytes] = [b""] * len(latent)
        open_, smallest = list(range(len(latent))), [sys.maxsize] * len(latent)
        for q in reversed(self.qualities):
            for i, blob in zip(open_, self._code(self.quantise(latent[open_], q), q), strict=True):
                blobs[i], smallest[i] = blob, min(smallest[i], len(blob))
            open_ = [i for i in open_ if len(blobs[i]) > max_bytes]
            if not open_:
                return blobs
        worst = max(open_, key=smallest.__getitem__)
        which = f"image {worst + 1} of {len(latent)}" if len(latent) > 1 else "this image"
        raise ValueError(f"no quality fits into {max_bytes} bytes: {which} takes at least {smallest[worst]}")

    @torch.inference_mode()
    def decode(self, blobs: bytes | Sequence[bytes]) -> torch.Tensor:
        """Blobs, in any mix of qualities -> tokens (B, N, D) float32 for `tail`.

        Raises:
            BitstreamError: a blob is damaged or of another codec; the message says which and why.
            ValueError: no blobs.
        """
        if isinstance(blobs, (bytes, bytearray, memoryview)):
            blobs = [bytes(blobs)]
        if not blobs:
            raise ValueError("no blobs to decode")
        device = self.log_gain.device
        read = [self._decode_symbols(blob, i, len(blobs)) for i, blob in enumerate(blobs)]
        symbols = torch.from_numpy(np.stack([s for s, _ in read])).to(device)
        quality = torch.tensor([q for _, q in read], device=device)
        return self.synthesise(symbols.float(), quality)

    def _decode_symbols(self, blob: bytes, place: int, n_blobs: int) -> tuple[NDArray[np.int32], int]:
        try:
            read = unpack(blob, self.fingerprint)
            if read.quality >= len(self.tables):
                raise BitstreamError(f"quality {read.quality} is not one of this codec's 0..{len(self.tables) - 1}")
            return decode(read.payload, self.tables[read.quality], self.config.side**2).T, read.quality
        except BitstreamError as error:
            if n_blobs == 1:
                raise
            raise BitstreamError(f"blob {place + 1} of {n_blobs}: {error}") from error

    def _checked_quality(self, quality: int | None) -> int:
        if quality is None:
            return self.config.default_quality
        if isinstance(quality, bool) or not isinstance(quality, (int, np.integer)) or quality not in self.qualities:
            raise ValueError(f"quality {quality!r} is not an integer in 0..{self.config.n_qualities - 1}")
        return int(quality)

    def _checked_pixels(self, pixel_values: torch.Tensor) -> torch.Tensor:
        size = self.config.preprocess.size
        if not isinstance(pixel_values, torch.Tensor) or not pixel_values.is_floating_point():
            raise ValueError("pixel_values is a float tensor, as the image processor gives it")
        if pixel_values.ndim != 4 or tuple(pixel_values.shape[1:]) != (3, size, size):
            raise ValueError(f"pixel_values has shape (B, 3, {size}, {size}), not {tuple(pixel_values.shape)}")
        if not len(pixel_values):
            raise ValueError("pixel_values is an empty batch")
        if not torch.isfinite(pixel_values).all():
            raise ValueError("pixel_values holds NaN or infinity")
        return pixel_values.to(self.log_gain)

    # ---- checkpoints

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> FeatureCodec:
        """Load a codec: a shipped name, a local folder, or a hub id. Evaluation mode, CPU, float32.

        Raises:
            FileNotFoundError: no such codec (the message lists the shipped ones), or a file of it is missing.
            ValueError: a file was altered, or is of another library version.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = find_checkpoint(name)
        check_manifest(folder)
        try:
            config = CodecConfig.from_dict(json.loads((folder / "config.json").read_text()))
            tensors = load_file(folder / "codec.safetensors")
        except (json.JSONDecodeError, SafetensorError, UnicodeDecodeError) as error:
            raise ValueError(f"the checkpoint in {folder} cannot be read: {error}") from error
        codec = cls(config, load_backbone(config.backbone, folder))
        codec.folder = folder
        own = codec.own_parameters()
        weights = {key: value for key, value in tensors.items() if not key.startswith("tables.")}
        if set(own) != set(weights):
            raise ValueError(f"codec.safetensors in {folder} does not fit its config.json: {sorted(set(own) ^ set(weights))[:3]}")
        with torch.no_grad():
            for key, p in own.items():
                if p.shape != weights[key].shape:
                    raise ValueError(f"{key} has shape {tuple(weights[key].shape)}, config.json asks for {tuple(p.shape)}")
                p.copy_(weights[key])
        try:
            codec.set_tables(tables_from_tensors(tensors, config.n_qualities))
        except KeyError as error:
            raise ValueError(f"codec.safetensors in {folder} lacks {error}") from error
        return codec

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the codec into `folder`: config.json, codec.safetensors, manifest.json, and its backbone unless that ships or is on
        the hub."""
        from safetensors.torch import save_file

        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        config = self.config
        place = Path(find_backbone(config.backbone, self.folder))
        if place.is_dir() and shipped_root() not in place.parents:
            if place.resolve() != (out / "backbone").resolve():
                shutil.copytree(place, out / "backbone", dirs_exist_ok=True)
            config = replace(config, backbone="backbone")
        (out / "config.json").write_text(config.to_json())
        tensors = {name: p.detach().half().cpu().contiguous() for name, p in self.own_parameters().items()}
        with whole_file(out / "codec.safetensors") as file:
            save_file(tensors | tables_to_tensors(self.tables), file)
        write_manifest(out)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Upload what `save_pretrained` writes to the hub; keyword arguments are `HfApi.upload_folder`'s. Returns the commit's URL."""
        from huggingface_hub import HfApi

        api = HfApi(token=kwargs.pop("token", None))
        api.create_repo(repo_id, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return str(api.upload_folder(repo_id=repo_id, folder_path=folder, **kwargs))

    def load_uncut(self) -> nn.Module:
        """The uncut model this codec was made for, loaded anew: what answers are compared with."""
        return load_backbone(self.config.backbone, self.folder)

    def _make_fingerprint(self) -> bytes:
        tensors = {name: p.detach().half() for name, p in self.own_parameters().items()} | tables_to_tensors(self._tables)
        shape = replace(self.config, name="", backbone="", default_quality=0, calibration=()).to_json()
        return hashlib.sha256((shape + self.backbone_digest + _digest(tensors)).encode()).digest()


def load_backbone(reference: str, folder: Path) -> nn.Module:
    """A Hugging Face model for image classification in float32, from a folder, a shipped name or the hub.

    Raises:
        FileNotFoundError, ValueError: it is not there, or a file of it was altered.
    """
    from transformers import AutoModelForImageClassification
    from transformers.utils import logging

    place = find_backbone(reference, folder)
    if Path(place).is_dir():
        check_manifest(Path(place))
    silent = logging.is_progress_bar_enabled() and Path(place).is_dir()
    try:
        if silent:  # a bar for reading one small local file is noise
            logging.disable_progress_bar()
        model = AutoModelForImageClassification.from_pretrained(place, dtype=torch.float32)
    except OSError as error:
        raise FileNotFoundError(f"no backbone {reference!r}: {str(error).splitlines()[0]}") from error
    finally:
        if silent:
            logging.enable_progress_bar()
    return model.eval()  # type: ignore[no-any-return]


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes, dtypes and bytes of tensors, in hex."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.numpy().tobytes())
    return state.hexdigest()
