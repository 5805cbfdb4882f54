"""FeatureCodec: pixels -> blob and blob -> tokens -> answer, both halves of a codec.

    pixels --encoder--> latent --gains, rounding--> symbols --prior--> payload --header--> blob
    blob --> payload --prior--> symbols --gains--> latent --synthesis--> tokens --tail--> answer

The first line is `codec.model.encoding`; this file adds the second.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from codec.coding.integer_prior import IntegerPrior
from codec.model import saving
from codec.model.adapters import add_adapters
from codec.model.backbone import load_backbone, load_tokenizer, models_of
from codec.model.chunks import in_chunks
from codec.model.config import CodecConfig
from codec.model.encoding import FeatureEncoder
from codec.model.freezing import prior_to_tensors
from codec.model.hub import NO_HUB, Hub
from codec.model.hub_card import write_hub_card
from codec.model.loading import load_whole, on_device
from codec.model.networks import build_encoder, digest_of, fingerprint_of, grid_of, stored
from codec.model.split import share_tower, split
from codec.model.transforms import Synthesis

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
"""What tails can be loaded in."""
CHANGES = ("dead_zone", "layers", "name", "default_quality", "calibration")
"""What codecs of the same networks may differ in: none of it changes a weight or a shape."""


class FeatureCodec(FeatureEncoder):
    """A learned codec at the cut of a split backbone: encoder, synthesis, tails, and the prior that
    codes symbols.

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
        models = models_of(config, backbone)
        backbone_digest = digest_of(models)
        share_tower([models[task] for task in config.tasks])
        for model in models.values():
            model.requires_grad_(False)
        grid = grid_of(config, models[config.tasks[0]])
        head, tail = split(models[config.tasks[0]], config.k)
        if config.adapter_rank:
            add_adapters(tail, config.adapter_rank)
        super().__init__(config, build_encoder(config, head, grid))
        self.backbone_digest = backbone_digest
        self._hub = NO_HUB
        self.tail = tail
        self.other_tails = nn.ModuleDict(
            {task: split(models[task], config.k).tail for task in config.tasks[1:]}
        )
        self.synthesis = Synthesis(
            grid,
            config.side,
            config.n_channels,
            config.synthesis_depth,
            config.n_qualities,
            config.fold,
        )

    @property
    def tails(self) -> dict[str, nn.Module]:
        """The tail of each task, `tail` first."""
        return {self.config.tasks[0]: self.tail, **self.other_tails}

    def set_prior(self, prior: IntegerPrior) -> None:
        """End training, once: round the weights to the float16 they are stored in, and fix prior
        and fingerprint.

        Raises:
            ValueError: the codec has a prior, or this one is of another latent or number of
                qualities.
        """
        self.round_weights()
        self.fix(prior, self._make_fingerprint(prior))

    def with_config(self, **changes: Any) -> FeatureCodec:
        """Another codec that shares this one's networks and differs in its configuration.

        Another dead zone or other layers make another fingerprint. Nothing is trained for it.

        Args:
            changes: of `CHANGES`.

        Raises:
            ValueError: another field is named, or a value does not fit.
        """
        if unknown := sorted(set(changes) - set(CHANGES)):
            raise ValueError(
                f"{', '.join(unknown)} of a codec's networks cannot be changed; what can: "
                f"{', '.join(CHANGES)}"
            )
        other = copy.copy(self)
        for shared in ("_parameters", "_buffers", "_modules"):
            other.__dict__[shared] = dict(self.__dict__[shared])
        other._config = replace(self.config, **changes)
        if self._prior is not None:
            other._prior = None
            other.fix(self._prior, other._make_fingerprint(self._prior))
        return other

    def set_layers(self, layers: Sequence[int]) -> FeatureCodec:
        """`with_config` of other layers (`CodecConfig.layers`). Errors as that."""
        return self.with_config(layers=tuple(layers))

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
        return self.decode_symbols(*self.read(blobs))

    @torch.inference_mode()
    def decode_symbols(
        self, symbols: NDArray[np.int32], quality: NDArray[np.int64]
    ) -> torch.Tensor:
        """Symbols (B, M, C) int32 and qualities (B,) int64, as `read` gives them -> tokens
        (B, N, D) float32 for `tail`.
        """
        device = self.log_gain.device
        return in_chunks(
            lambda some, q: self.synthesise(some.to(device, torch.float32), q.to(device)).float(),
            torch.from_numpy(symbols),
            torch.from_numpy(quality),
        )

    def synthesise(self, scaled: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """Scaled latent or symbols (B, M, C) and quality (B,) int64 -> tokens (B, N, D)."""
        latent = scaled * (-self.log_gain.float()).exp()[quality][:, None]
        tokens: torch.Tensor = self.synthesis(latent.to(self.log_gain.dtype), quality)
        return tokens

    def load_uncut(self, task: str | None = None) -> nn.Module:
        """The uncut model of `task`, or of the first, loaded anew: answers are compared with it."""
        return load_backbone(self._reference(task), self.folder, self._hub)

    def load_tokenizer(self, task: str | None = None) -> Any:
        """The tokenizer of the backbone of `task`, or of the first. FileNotFoundError: none."""
        return load_tokenizer(self._reference(task), self.folder, self._hub)

    def _reference(self, task: str | None) -> str:
        return self.config.backbones[self.config.tasks[0] if task is None else task]

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
    ) -> FeatureCodec:
        """Load a codec: a shipped name, a local folder, or a hub id. Evaluation mode.

        Args:
            device: where its networks run.
            dtype: of the tails, float16 or bfloat16 to save memory; all else stays in float32.
            revision: of the codec on the hub, as in `huggingface_hub.snapshot_download`.
            cache_dir: of the hub, as there; the backbone's too.
            token: of the hub, as there; the backbone's too.

        Raises:
            FileNotFoundError: no such codec, or a file of it is missing.
            ValueError: a file was altered or cannot be read, or is of another library version; the
                codec is not the one that its manifest names; no such device or dtype here; or a
                revision of a codec that is not on the hub.
        """
        place, hub = on_device(device), Hub(revision, cache_dir, token)
        if dtype not in DTYPES:
            raise ValueError(f"dtype {dtype} is not one of {', '.join(map(str, DTYPES))}")
        codec = load_whole(cls, name, hub)
        codec._hub = Hub(cache_dir=cache_dir)  # a token is not kept
        nn.ModuleList(codec.tails.values()).to(dtype)
        return codec.to(place)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the codec into `folder`, whole or not at all: config.json, codec.safetensors,
        manifest.json, and its backbone unless that ships or is on the hub.

        Raises:
            OSError: it cannot be written; what was in the folder is as it was.
            ValueError: the tails are in bfloat16, or the weights are not those that it was frozen
                with.
        """
        if self._make_fingerprint(self.prior) != self.fingerprint:
            raise ValueError("the weights were changed or cast since the codec was frozen")
        own = stored(self.own_parameters())
        tensors = {name: p.cpu().contiguous() for name, p in own.items()}
        tensors |= prior_to_tensors(self.prior)
        saving.save_checkpoint(
            Path(folder), self.config, tensors, self.fingerprint, loaded_from=self.folder
        )

    def push_to_hub(
        self, repo_id: str, card: Mapping[str, Any] | None = None, **settings: Any
    ) -> str:
        """Upload what `save_pretrained` writes to the hub, with a model card (`hub_card`). Returns
        the commit's URL.

        Args:
            repo_id: "owner/name"; made where there is none.
            card: fields of the card's YAML, such as `{"license": "mit", "datasets": ["a/b"]}`.
            settings: `private` and other settings of the repository, as in `HfApi.create_repo`;
                `commit_message` and others, as in `HfApi.upload_folder`; `token`.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            write_hub_card(Path(folder), self.folder, repo_id, card)
            return saving.upload(repo_id, Path(folder), **settings)

    def _make_fingerprint(self, prior: IntegerPrior) -> bytes:
        tensors = stored(self.own_parameters()) | prior_to_tensors(prior)
        return fingerprint_of(self.config, self.backbone_digest, tensors)
