"""pixels -> latent -> symbols, and symbols -> tokens -> answer: the networks of a codec on both
sides of the cut, without its coding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from codec.coding.context import LIMIT
from codec.model.backbone import load_backbone, load_tokenizer, task_of
from codec.model.config import CodecConfig
from codec.model.split import Head, TokenGrid, share_tower, split, token_grid
from codec.model.transforms import BlocksAnalysis, StudentAnalysis, Synthesis, add_adapters


class CodecNetworks(nn.Module):
    """Encoder (device), quantiser, synthesis and tail (server) at the cut of a split backbone.

    `encoder` makes a latent (B, M, C) of the pixels; per-quality, per-channel gains scale it before
    rounding, so that one checkpoint holds several rates (Cui et al. 2021, arXiv 2003.02012);
    `synthesis` and `tail` make tokens and the answer of the symbols. The tail's adapters belong to
    the codec, everything else in head and tail to the backbone. A codec for several tasks has a
    tail for each, cut from models that share one vision tower: its blocks and adapters are the same
    objects in all `tails`, and `tail` is the first.

    Args:
        config: shape of the codec.
        backbone: the model to cut, of a family that `split` takes; for several tasks a model for
            each. They are taken over: their blocks get adapters. Pass a copy to keep one.

    Raises:
        ValueError: a model is for another task than `config.task` says, or the models do not share
            one vision tower.
    """

    def __init__(self, config: CodecConfig, backbone: nn.Module | Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.config = config
        models = {config.task: backbone} if isinstance(backbone, nn.Module) else dict(backbone)
        if set(models) != set(config.tasks):
            raise ValueError(
                f"{config.name} is to serve {config.task}: it takes a model for each, not for "
                f"{', '.join(models)}"
            )
        for task, model in models.items():
            if task_of(model) != task:
                raise ValueError(
                    f"{config.name} is to serve {task}; a {type(model).__name__} serves "
                    f"{task_of(model)}"
                )
        self.backbone_digest = _digest_of(models)
        share_tower([models[task] for task in config.tasks])
        for model in models.values():
            model.requires_grad_(False)
        grid = token_grid(models[config.tasks[0]])
        head, self.tail = split(models[config.tasks[0]], config.k)
        if config.adapter_rank:
            add_adapters(self.tail, config.adapter_rank)
        self.other_tails = nn.ModuleDict(
            {task: split(models[task], config.k).tail for task in config.tasks[1:]}
        )
        self.encoder = build_encoder(config, head, grid)
        self.log_gain = nn.Parameter(torch.full((config.n_qualities, config.n_channels), 1.4))
        self.synthesis = Synthesis(
            grid,
            config.side,
            config.n_channels,
            config.synthesis_depth,
            config.n_qualities,
            config.fold,
        )
        # where the checkpoint lies, once there is one; relative backbones are looked up there
        self.folder = Path()

    @property
    def tails(self) -> dict[str, nn.Module]:
        """The tail of each task, `tail` first."""
        return {self.config.tasks[0]: self.tail, **self.other_tails}

    @property
    def qualities(self) -> range:
        """The rate indices, 0 = smallest."""
        return range(self.config.n_qualities)

    @torch.no_grad()
    def round_weights(self) -> None:
        """Round the codec's own weights to what float16 holds, in place: what is measured is what
        is stored.
        """
        for p in self.own_parameters().values():
            p.copy_(p.half())

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters that belong to the codec rather than to the backbone, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def scale(self, latent: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """Latent (B, M, C) in units of the quantiser's step at `quality` (B,)."""
        return latent * self.log_gain.exp()[quality][:, None]

    def round(self, scaled: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """Scaled latent (B, M, C) -> symbols in -127..127, as floats: rounding with a dead zone
        around zero.

        What lies a little beyond half a step becomes zero too: that costs less of the answer than
        it saves of the rate (Sullivan 1996, "Efficient scalar quantization of exponential and
        Laplacian random variables", sec. III).
        """
        half = (
            0.5
            - scaled.new_tensor(self.config.dead_zone or (0.0,) * self.config.n_qualities)[quality][
                :, None, None
            ]
        )
        return scaled.sign() * (scaled.abs() + half).floor().clamp(max=LIMIT)

    def synthesise(self, scaled: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """Scaled latent or symbols (B, M, C) -> tokens (B, N, D)."""
        tokens: torch.Tensor = self.synthesis(
            scaled * (-self.log_gain).exp()[quality][:, None], quality
        )
        return tokens

    @torch.inference_mode()
    def latent(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) float32 -> latent (B, M, C) float32, the same for every quality: the
        device's network runs here alone.

        Raises:
            ValueError: an empty batch, another shape or dtype, NaN, or values so large that the
                latent is not finite.
        """
        latent: torch.Tensor = self.encoder(self._checked_pixels(pixel_values)).float()
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
        q = torch.full((len(latent),), self._checked_quality(quality), device=latent.device)
        return np.asarray(self.round(self.scale(latent, q), q).int().cpu().numpy())

    def symbols(self, pixel_values: torch.Tensor, quality: int | None = None) -> NDArray[np.int32]:
        """Pixels (B, 3, S, S) float32 -> symbols (B, M, C) int32. Errors as `encode`."""
        self._checked_quality(quality)
        return self.quantise(self.latent(pixel_values), quality)

    def _checked_quality(self, quality: int | None) -> int:
        if quality is None:
            return self.config.default_quality
        if (
            isinstance(quality, bool)
            or not isinstance(quality, (int, np.integer))
            or quality not in self.qualities
        ):
            raise ValueError(
                f"quality {quality!r} is not an integer in 0..{self.config.n_qualities - 1}"
            )
        return int(quality)

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
        return pixel_values.to(self.log_gain)

    def load_uncut(self, task: str | None = None) -> nn.Module:
        """The uncut model this codec was made for, loaded anew: what answers are compared with.

        Args:
            task: which one, where the codec serves several; None for the first.
        """
        return load_backbone(self._reference(task), self.folder)

    def load_tokenizer(self, task: str | None = None) -> Any:
        """The tokenizer of the backbone of `task`, or of the first.

        Raises:
            FileNotFoundError: the backbone has none.
        """
        return load_tokenizer(self._reference(task), self.folder)

    def _reference(self, task: str | None) -> str:
        return self.config.backbones[self.config.tasks[0] if task is None else task]


def build_encoder(config: CodecConfig, head: Head | None, grid: TokenGrid | None) -> nn.Module:
    """The network of `config.encoder`. A student needs neither head nor grid; `blocks` is made of
    the backbone's head, whose tokens have that grid.

    Raises:
        ValueError: the latent does not fit the grid, or a student's depths not its widths.
    """
    if config.encoder == "student":
        return StudentAnalysis(
            config.student_widths, config.student_depths, config.n_channels, config.fold
        )
    assert head is not None
    assert grid is not None
    return BlocksAnalysis(head, grid, config.side, config.n_channels, config.fold)


def _digest_of(models: dict[str, nn.Module]) -> str:
    """What names the weights of the backbone; of several, all of them."""
    if len(models) == 1:
        return digest(next(iter(models.values())).state_dict())
    return digest(
        {
            f"{task}/{name}": tensor
            for task, model in models.items()
            for name, tensor in model.state_dict().items()
        }
    )


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes, dtypes and bytes of tensors, in hex."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.numpy().tobytes())
    return state.hexdigest()
