"""FeatureCodec: image -> blob and blob -> tokens, the whole way, from the parts in the other files.

image --encoder--> latent --gain, round--> symbols --prior, coder--> payload --bitstream-->
blob blob --bitstream--> payload --prior, coder--> symbols --gain--> latent --synthesis-->
tokens --tail--> answer
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from codec.coding.blobs import open_blob, write_blobs
from codec.coding.container import HEADER_BYTES, BitstreamError, Blob, pack, restore, shorten
from codec.coding.integer_prior import IntegerPrior
from codec.coding.opening import open_prior
from codec.coding.progressive import ProgressivePrior, progressive_prior
from codec.files import whole_file
from codec.model.backbone import load_backbone
from codec.model.checkpoint import (
    check_manifest,
    find_backbone,
    find_checkpoint,
    shipped_root,
    write_manifest,
)
from codec.model.config import CodecConfig
from codec.model.networks import CodecNetworks, digest
from codec.model.prior import prior_from_tensors, prior_to_tensors


class FeatureCodec(CodecNetworks):
    """A learned codec at the cut of a split backbone: `CodecNetworks`, and the frozen integer prior
    that codes their symbols.

    Arguments and errors as `CodecNetworks`.
    """

    def __init__(self, config: CodecConfig, backbone: nn.Module | Mapping[str, nn.Module]) -> None:
        super().__init__(config, backbone)
        self._prior: IntegerPrior | None = None
        self._fingerprint = b""

    @property
    def prior(self) -> IntegerPrior:
        """The frozen prior: symbols <-> payloads.

        Raises:
            ValueError: the codec is still in training and has none.
        """
        if self._prior is None:
            raise ValueError(
                "this codec has no prior yet: set_prior() freezes it at the end of training"
            )
        return self._prior

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that name this codec: SHA-256 of its configuration, prior, weights and
        backbone.
        """
        assert self.prior
        return self._fingerprint

    @property
    def max_blob_bytes(self) -> int:
        """No blob takes more bytes: symbols that entropy coding would make longer than a byte each
        are sent as they are.
        """
        return HEADER_BYTES + self.config.side**2 * self.config.n_channels

    def set_prior(self, prior: IntegerPrior) -> None:
        """End training: round the weights to the float16 they are stored in, and fix prior and
        fingerprint.

        Raises:
            ValueError: the prior is of another latent or number of qualities.
        """
        config = self.config
        if (prior.network.side, prior.network.n_channels, prior.network.n_qualities) != (
            config.side,
            config.n_channels,
            config.n_qualities,
        ):
            raise ValueError(
                f"the prior does not fit a latent of {config.side} x {config.side} x "
                f"{config.n_channels} at {config.n_qualities} qualities"
            )
        self.round_weights()
        opened = open_prior(prior.network, prior.tables)
        self._prior = progressive_prior(
            opened, config.layers, [config.halves[q] for q in config.layers]
        )
        self._fingerprint = self._make_fingerprint()
        self.eval()

    def set_layers(self, layers: Sequence[int]) -> None:
        """Choose the qualities whose blobs hold the lower ones of these first; none for no layers.
        Nothing is trained for it.

        It makes another codec: the fingerprint changes, and blobs from before are refused.

        Raises:
            ValueError: not two qualities of the codec or more, rising.
        """
        self.config = replace(self.config, layers=tuple(layers))
        self.set_prior(self.prior)

    def encode(
        self,
        pixel_values: torch.Tensor,
        quality: int | None = None,
        *,
        max_bytes: int | None = None,
        target_drop: float | None = None,
    ) -> list[bytes]:
        """Pixels (B, 3, S, S) float32, as the image processor gives them -> one standalone blob per
        image.

        Args:
            quality: rate index, 0 = smallest; None for the codec's default.
            max_bytes: instead of a quality, the most bytes a blob may take, header included: each
                image gets the best quality that fits. The network runs once.
            target_drop: instead of a quality, the points of score that may be lost in the mean: see
                `quality_for`.

        Raises:
            ValueError: an empty batch, another shape or dtype, NaN, a quality the codec lacks, a
                budget that no quality fits or a drop that none keeps to; the message says what is
                possible. Or more than one of the three is given.
        """
        if sum(value is not None for value in (quality, max_bytes, target_drop)) > 1:
            raise ValueError(
                "quality, max_bytes and target_drop each set the rate: give one of them"
            )
        if max_bytes is None:
            q = (
                self._checked_quality(quality)
                if target_drop is None
                else self.quality_for(target_drop)
            )
            return self.code(self.symbols(pixel_values, q), q)
        return self._fit(self.latent(pixel_values), _checked_budget(max_bytes))

    def quality_for(self, target_drop: float) -> int:
        """The smallest quality that loses at most `target_drop` points of score in the codec's
        calibration, on held-out pictures.

        Raises:
            ValueError: not a number, no quality loses so little, or the codec was not calibrated.
        """
        rows = self.config.calibration
        if (
            isinstance(target_drop, bool)
            or not isinstance(target_drop, (int, float))
            or math.isnan(target_drop)
        ):
            raise ValueError(f"target_drop {target_drop!r} is not a number of points")
        if not rows:
            raise ValueError("this codec carries no calibration: choose a quality, or max_bytes")
        fitting = [q for q in self.qualities if rows[q].drop <= target_drop]
        if not fitting:
            best = min(self.qualities, key=lambda q: rows[q].drop)
            raise ValueError(
                f"no quality drops by at most {target_drop:g} points; the least is "
                f"{rows[best].drop:.2f}, at quality {best}"
            )
        return fitting[0]

    def code(self, symbols: NDArray[np.int32], quality: int) -> list[bytes]:
        """Symbols (B, M, C) int32 of one quality -> blobs; `read` is the inverse.

        Raises:
            ValueError: symbols of another shape, or beyond -127..127.
        """
        return write_blobs(self.prior, self.fingerprint, symbols, quality)

    def _fit(self, latent: torch.Tensor, max_bytes: int) -> list[bytes]:
        """The blob of the best quality that fits, image by image."""
        blobs: list[bytes] = [b""] * len(latent)
        open_, smallest = list(range(len(latent))), [sys.maxsize] * len(latent)
        for q in reversed(self.qualities):
            for i, blob in zip(open_, self.code(self.quantise(latent[open_], q), q), strict=True):
                blobs[i], smallest[i] = blob, min(smallest[i], len(blob))
            open_ = [i for i in open_ if len(blobs[i]) > max_bytes]
            if not open_:
                return blobs
        worst = max(open_, key=smallest.__getitem__)
        which = f"image {worst + 1} of {len(latent)}" if len(latent) > 1 else "this image"
        raise ValueError(
            f"no quality fits into {max_bytes} bytes: {which} takes at least {smallest[worst]}"
        )

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
        symbols, quality = self.read(blobs)
        scaled, q = (
            torch.from_numpy(symbols).to(device, torch.float32),
            torch.from_numpy(quality).to(device),
        )
        return self.synthesise(scaled, q)

    def read(self, blobs: Sequence[bytes]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Blobs -> their symbols (B, M, C) int32 and qualities (B,) int64; no network runs. Errors
        as `decode`.
        """
        read = [self._unpacked(blob, i, len(blobs)) for i, blob in enumerate(blobs)]
        quality = np.array([blob.quality for blob in read])
        symbols = np.empty(
            (len(blobs), self.config.side**2, self.config.n_channels), dtype=np.int32
        )
        for i, blob in enumerate(read):
            if blob.raw:
                symbols[i] = np.frombuffer(blob.payload, dtype=np.int8).reshape(symbols.shape[1:])
        for q in sorted({blob.quality for blob in read if not blob.raw}):
            places = [i for i, blob in enumerate(read) if blob.quality == q and not blob.raw]
            try:
                symbols[places] = self.prior.decode([read[i].payload for i in places], q)
            except BitstreamError:
                for i in places:
                    with _naming(i, len(blobs)):
                        self.prior.decode([read[i].payload], q)
                raise
        return symbols, quality

    def truncate(self, blob: bytes, max_bytes: int) -> bytes:
        """A longer blob -> one of at most `max_bytes` bytes, without picture or network: its
        symbols at the best lower quality that fits.

        A blob that is short enough comes back as it is. One that has layers is cut behind the last
        layer that fits (`cuts`). Of others the symbols are brought to the coarser quantiser and
        coded anew. Either way a shorter blob differs from one that was encoded at its quality where
        two roundings differ from one.

        Raises:
            BitstreamError: as `decode`.
            ValueError: no quality fits, or not even the first layer; the message says what the
                smallest one takes.
        """
        budget = _checked_budget(max_bytes)
        symbols, quality = self.read([blob])
        if len(blob) <= budget:
            return bytes(blob)
        cuts, smallest = self.cuts(blob), len(blob)
        for q in reversed(cuts or range(quality[0])):
            shorter = (
                self._start(blob, q, cuts[q])
                if cuts
                else self.code(self.requantise(symbols, quality[0], q), q)[0]
            )
            if len(shorter) <= budget:
                return shorter
            smallest = min(smallest, len(shorter))
        raise ValueError(
            f"no quality fits into {budget} bytes: this blob can be cut to {smallest} at the least"
        )

    def cuts(self, blob: bytes) -> dict[int, int]:
        """How long a blob that has layers is when it is cut: bytes by each lower quality that it
        holds, smallest first.

        Nothing for a blob without layers. Errors as `decode`.
        """
        read = self._unpacked(blob, 0, 1)
        if read.raw or not isinstance(self.prior, ProgressivePrior):
            return {}
        (symbols,) = self.prior.decode([read.payload], read.quality)
        return {
            q: HEADER_BYTES + n
            for q, n in self.prior.cuts(symbols, read.quality, read.payload).items()
        }

    def cut(self, blob: bytes, quality: int) -> bytes:
        """A blob that has layers -> that of a lower one: the first bytes of its payload, in a
        header of their own.

        Raises:
            BitstreamError: as `decode`.
            ValueError: the blob holds no such layer; the message says which it holds.
        """
        cuts = self.cuts(blob)
        if quality not in cuts:
            held = ", ".join(map(str, cuts)) or "none"
            raise ValueError(
                f"this blob cannot be cut to quality {quality!r}; lower layers that it holds: "
                f"{held}"
            )
        return self._start(blob, quality, cuts[quality])

    def _start(self, blob: bytes, quality: int, n_bytes: int) -> bytes:
        """The blob of a lower layer, which the first `n_bytes` of a blob are but for the header."""
        return pack(blob[HEADER_BYTES:n_bytes], quality, self.fingerprint)

    def shorten(self, blob: bytes) -> bytes:
        """A blob -> 3 bytes fewer, for a link whose two ends have agreed on this codec (both know
        `fingerprint`).

        Raises:
            BitstreamError: damaged, or of another codec.
        """
        return shorten(blob, self.fingerprint)

    def restore(self, short: bytes) -> bytes:
        """The inverse of `shorten`: the blob, byte for byte.

        Raises:
            BitstreamError: damaged, or of another codec.
        """
        return restore(short, self.fingerprint)

    def requantise(
        self, symbols: NDArray[np.int32], quality: int, coarser: int
    ) -> NDArray[np.int32]:
        """Symbols (B, M, C) of one quality -> those of another, without picture or network, and the
        same on every machine.
        """
        return self.prior.network.coarser(symbols, quality, coarser, self.config.halves[coarser])

    def _unpacked(self, blob: bytes, place: int, n_blobs: int) -> Blob:
        with _naming(place, n_blobs):
            return open_blob(self.prior, self.fingerprint, blob)

    # ---- checkpoints

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> FeatureCodec:
        """Load a codec: a shipped name, a local folder, or a hub id. Evaluation mode, CPU, float32.

        Raises:
            FileNotFoundError: no such codec (the message lists the shipped ones), or a file of it
                is missing.
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
        codec = cls(
            config,
            {
                task: load_backbone(reference, folder)
                for task, reference in config.backbones.items()
            },
        )
        codec.folder = folder
        own = codec.own_parameters()
        weights = {key: value for key, value in tensors.items() if not key.startswith("prior.")}
        if set(own) != set(weights):
            raise ValueError(
                f"codec.safetensors in {folder} does not fit its config.json: "
                f"{sorted(set(own) ^ set(weights))[:3]}"
            )
        with torch.no_grad():
            for key, p in own.items():
                if p.shape != weights[key].shape:
                    raise ValueError(
                        f"{key} has shape {tuple(weights[key].shape)}, config.json asks for "
                        f"{tuple(p.shape)}"
                    )
                p.copy_(weights[key])
        try:
            codec.set_prior(prior_from_tensors(tensors, config.side))
        except KeyError as error:
            raise ValueError(f"codec.safetensors in {folder} lacks {error}") from error
        return codec

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the codec into `folder`: config.json, codec.safetensors, manifest.json, and its
        backbone unless that ships or is on the hub.
        """
        from safetensors.torch import save_file

        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        config = self.config
        inside = replace(config, backbone="backbone")
        for task, reference in self.config.backbones.items():
            place = Path(find_backbone(reference, self.folder))
            if place.is_dir() and shipped_root() not in place.parents:
                target = out / inside.backbones[task]
                if place.resolve() != target.resolve():
                    shutil.copytree(place, target, dirs_exist_ok=True)
                config = inside
        (out / "config.json").write_text(config.to_json())
        tensors = {
            name: p.detach().half().cpu().contiguous() for name, p in self.own_parameters().items()
        }
        with whole_file(out / "codec.safetensors") as file:
            save_file(tensors | prior_to_tensors(self.prior), file)
        write_manifest(out)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Upload what `save_pretrained` writes to the hub; keyword arguments are
        `HfApi.upload_folder`'s. Returns the commit's URL.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=kwargs.pop("token", None))
        api.create_repo(repo_id, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return str(api.upload_folder(repo_id=repo_id, folder_path=folder, **kwargs))

    def _make_fingerprint(self) -> bytes:
        tensors = {
            name: p.detach().half() for name, p in self.own_parameters().items()
        } | prior_to_tensors(self.prior)
        shape = replace(
            self.config, name="", backbone="", default_quality=0, calibration=()
        ).to_json()
        return hashlib.sha256((shape + self.backbone_digest + digest(tensors)).encode()).digest()


def _checked_budget(max_bytes: int) -> int:
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, (int, np.integer)) or max_bytes < 1:
        raise ValueError(f"max_bytes {max_bytes!r} is not a positive number of bytes")
    return int(max_bytes)


@contextlib.contextmanager
def _naming(place: int, n_blobs: int) -> Iterator[None]:
    """A `BitstreamError` inside says which of several blobs it is about."""
    try:
        yield
    except BitstreamError as error:
        if n_blobs == 1:
            raise
        raise BitstreamError(f"blob {place + 1} of {n_blobs}: {error}") from error
