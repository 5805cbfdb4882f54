"""augmented pictures -> the uncut classifier's logits, remembered on disk.

A picture's augmentation is a function of (seed, epoch, index), so runs with the same backbone, data
and seed show the uncut model the same pictures. The first run writes the logits down, the others
read them: this saves a third of a step.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from codec.files import whole_file

MAX_BYTES = 1 << 30
"""Where the logits of a whole run would take more than this, they are not kept."""


class UncutLogits:
    """Logits of the uncut model for pictures named by their `keys`.

    Args:
        model: the uncut model.
        folder: where logits are kept, None for nowhere.
        n_images: length of the training split.
        n_epochs: passes over it.
        about: names the content that logits depend on; another text has other logits.
    """

    def __init__(
        self, model: nn.Module, folder: Path | None, n_images: int, n_epochs: float, about: str
    ) -> None:
        self.model, self.shape = model, (n_images, int(model.config.num_labels))  # type: ignore[union-attr,arg-type]
        keep = folder is not None and self.are_kept(model, n_images, n_epochs)
        name = hashlib.sha256(about.encode()).hexdigest()[:16]
        self.folder = folder / name if folder is not None and keep else None
        self._open: tuple[int, np.memmap] | None = None  # type: ignore[type-arg]

    @staticmethod
    def are_kept(model: nn.Module, n_images: int, n_epochs: float) -> bool:
        """Whether the logits of a whole run are few enough to be kept."""
        n_labels = int(model.config.num_labels)  # type: ignore[union-attr,arg-type]
        return 2 * n_images * n_labels * (n_epochs + 1) < MAX_BYTES

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
        """Pixel values (B, 3, S, S) and their keys (B,) -> logits (B, L) float32; without keys
        nothing is remembered.

        A batch is of one epoch.
        """
        if self.folder is None or keys is None:
            return self._computed(x)
        epoch, rows = int(keys[0] >> 32), (keys & 0xFFFFFFFF).cpu().numpy()
        known = self._file(epoch)
        logits = known[rows]
        if np.isnan(logits).any():
            logits = self._computed(x).half().cpu().numpy()
            known[rows] = logits
        return torch.from_numpy(logits).to(x.device).float()

    def _computed(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x).logits.float()
        return logits

    def _file(self, epoch: int) -> np.memmap:  # type: ignore[type-arg]
        """The logits of one epoch (n, L) float16, NaN where there are none yet; `epoch` has the
        seed in its upper bits.

        A file that is not whole is written anew: opened for writing, a short one would be filled up
        with zeros.
        """
        if self._open is None or self._open[0] != epoch:
            assert self.folder is not None
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{epoch:012x}.npy"
            if not self._is_whole(path):
                with whole_file(path) as file, file.open("wb") as opened:
                    np.save(opened, np.full(self.shape, np.nan, dtype=np.float16))
            self._open = epoch, np.lib.format.open_memmap(path, mode="r+")
        return self._open[1]

    def _is_whole(self, path: Path) -> bool:
        try:
            found = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError, EOFError):  # not there, or not as long as its head says
            return False
        return found.shape == self.shape and found.dtype == np.float16
