"""pixels -> latent -> symbols: the networks of a codec that a device runs, and the weights that
belong to the codec.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from codec.coding.budget import check_quality
from codec.coding.dead_zone import half_steps
from codec.coding.exact import LIMIT
from codec.model.chunks import in_chunks
from codec.model.config import CodecConfig
from codec.model.mobile import MobileAnalysis
from codec.model.split import Head, TokenGrid, token_grid
from codec.model.split_names import named_weights, our_names
from codec.model.split_tower import vision_tower
from codec.model.transforms import BlocksAnalysis, StudentAnalysis


class EncoderNetworks(nn.Module):
    """Encoder, gains and quantiser.

    `encoder` makes a latent (B, M, C) of the pixels. A gain for each quality and channel scales it
    before it is rounded, so that one checkpoint holds several rates (Cui et al. 2021, arXiv
    2003.02012).

    Args:
        config: shape of the codec.
        encoder: pixels (B, 3, S, S) float32 -> latent (B, M, C) float32, as `build_encoder` makes
            it.

    Attributes:
        folder: where the checkpoint is, once there is one, or else where it was made; its backbone
            is looked up there.
    """

    def __init__(self, config: CodecConfig, encoder: nn.Module) -> None:
        super().__init__()
        self._config = config
        self.folder = Path.cwd()
        self.encoder = encoder
        self.log_gain = nn.Parameter(torch.full((config.n_qualities, config.n_channels), 1.4))

    @property
    def config(self) -> CodecConfig:
        """Shape of the codec. It never changes: `FeatureCodec.with_config` makes another codec."""
        return self._config

    @property
    def qualities(self) -> range:
        """The rate indices, 0 = smallest."""
        return range(self.config.n_qualities)

    @torch.no_grad()
    def round_weights(self) -> None:
        """Round the codec's own weights to float16, in place: as measured, so stored."""
        for p in self.own_parameters().values():
            p.copy_(p.half())

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters that belong to the codec rather than to the backbone, by our names: the same
        where a part was wrapped by `torch.compile`.
        """
        ours = our_names(self)
        return {
            ours[name].replace("_orig_mod.", ""): p
            for name, p in self.named_parameters()
            if p.requires_grad
        }

    def scale(self, latent: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """Latent (B, M, C) in units of the quantiser's step at `quality` (B,)."""
        return latent * self.log_gain.float().exp()[quality][:, None]

    def round(
        self, scaled: torch.Tensor, quality: torch.Tensor, half: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Scaled latent (B, M, C) -> symbols in -127..127, as floats.

        Args:
            scaled: in units of the quantiser's step.
            quality: (B,) int64.
            half: (Q,), what is added to a magnitude before it is cut to an integer; None for what
                the codec's dead zones say (`codec.coding.dead_zone`).
        """
        if half is None:
            half = torch.from_numpy(half_steps(self.config.dead_zone, self.config.n_qualities))
        up = half.to(scaled)[quality][:, None, None]
        return scaled.sign() * (scaled.abs() + up).floor().clamp(max=LIMIT)

    @torch.inference_mode()
    def latent(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) float32 -> latent (B, M, C) float32, the same for every quality: the
        only place where the device's network runs.

        Raises:
            ValueError: an empty batch, another shape or dtype, NaN, or values so large that the
                latent is not finite.
        """
        latent = in_chunks(
            lambda x: self.encoder(x.to(self.log_gain)).float(), self._checked_pixels(pixel_values)
        )
        if not torch.isfinite(latent).all():
            raise ValueError(
                "the latent is not finite: the pixel values are far outside a picture's range"
            )
        return latent

    @torch.inference_mode()
    def quantise(self, latent: torch.Tensor, quality: int | None = None) -> NDArray[np.int32]:
        """Latent (B, M, C) -> symbols (B, M, C) int32 at one quality, None for the codec's
        default.
        """
        q = torch.full((len(latent),), self._quality(quality), device=latent.device)
        return np.asarray(self.round(self.scale(latent, q), q).int().cpu().numpy())

    def symbols(self, pixel_values: torch.Tensor, quality: int | None = None) -> NDArray[np.int32]:
        """Pixels (B, 3, S, S) float32 -> symbols (B, M, C) int32. Errors as `latent`, or the codec
        has no such quality.
        """
        q = self._quality(quality)
        return self.quantise(self.latent(pixel_values), q)

    def _quality(self, quality: int | None) -> int:
        if quality is None:
            return self.config.default_quality
        return check_quality(quality, self.config.n_qualities)

    def _checked_pixels(self, pixel_values: torch.Tensor) -> torch.Tensor:
        size = self.config.preprocess.size
        if not isinstance(pixel_values, torch.Tensor) or not pixel_values.is_floating_point():
            raise ValueError("pixel_values is a float tensor, as the image processor gives it")
        if pixel_values.ndim != 4 or tuple(pixel_values.shape[1:]) != (3, size, size):
            raise ValueError(
                f"pixel_values has shape (B, 3, {size}, {size}), not {tuple(pixel_values.shape)}"
            )
        if not len(pixel_values):
            raise ValueError("pixel_values is an empty batch")
        if not torch.isfinite(pixel_values).all():
            raise ValueError("pixel_values holds NaN or infinity")
        return pixel_values


def grid_of(config: CodecConfig, backbone: nn.Module) -> TokenGrid:
    """Shape of the tokens that a codec carries: those of its own pictures' size.

    Raises:
        ValueError: the latent has more positions than tokens; or as `token_grid`.
    """
    grid, size = token_grid(backbone, config.preprocess.size), config.preprocess.size
    if config.side > grid.side * config.fold:
        own = vision_tower(backbone).config.image_size
        raise ValueError(
            f"a latent of side {config.side} has more positions than there are tokens: pictures of "
            f"{size} pixels have {grid.side} x {grid.side} of them (the model was made for {own} "
            f"pixels); possible sides are 1 to {grid.side * config.fold}"
        )
    return grid


def build_encoder(config: CodecConfig, head: Head | None, grid: TokenGrid | None) -> nn.Module:
    """The network of `config.encoder`. Convolutional ones need neither head nor grid; `blocks` is
    made of the backbone's head, whose tokens have that grid.

    Raises:
        ValueError: the latent does not fit the grid or the stages, or a student's depths not its
            widths.
    """
    if config.encoder == "student":
        return StudentAnalysis(
            config.student_widths, config.student_depths, config.n_channels, config.fold
        )
    if config.mobile is not None:
        return MobileAnalysis(
            config.mobile, config.preprocess.size, config.side, config.n_channels, config.fold
        )
    assert head is not None
    assert grid is not None
    return BlocksAnalysis(head, grid, config.side, config.n_channels, config.fold)


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes, dtypes and bytes of tensors, in hex."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.numpy().tobytes())
    return state.hexdigest()


def stored(own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A codec's own parameters in float16, as they are stored and as its fingerprint names them.

    Raises:
        ValueError: some are in bfloat16, and so not what was stored.
    """
    if any(p.dtype == torch.bfloat16 for p in own.values()):
        raise ValueError("tails in bfloat16 have lost bits: load the codec in float32")
    return {name: p.detach().half() for name, p in own.items()}


def fingerprint_of(
    config: CodecConfig, backbone_digest: str, tensors: Mapping[str, torch.Tensor]
) -> bytes:
    """32 bytes that name a codec: of what `config` says of its shape, of its backbone, and of its
    own tensors as they are stored.
    """
    free = {"name": "", "backbone": "", "default_quality": 0, "calibration": ()}
    shape = replace(config, **free).to_json()  # type: ignore[arg-type]
    return hashlib.sha256((shape + backbone_digest + digest(tensors)).encode()).digest()


def digest_of(models: Mapping[str, nn.Module]) -> str:
    """`digest` of a backbone's weights; of several, by task, all of them."""
    if len(models) == 1:
        return digest(named_weights(next(iter(models.values()))))
    return digest(
        {
            f"{task}/{name}": tensor
            for task, model in models.items()
            for name, tensor in named_weights(model).items()
        }
    )
