"""augmented pictures -> what frozen weights make of them, remembered on disk.

A picture's augmentation is a function of (seed, epoch, index), so runs with the same weights, data
and seed show these weights the same pictures. What they make of them (the uncut model's logits, the
tokens behind frozen blocks) is written down the first time, and read after that.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from codec.files import whole_file


class Remembered:
    """What a function makes of pictures named by their `keys`.

    Args:
        compute: pixel values (B, 3, S, S) -> (B, *shape), in any float type; called without
            gradients.
        shape: of what it makes of one picture.
        folder: where that is kept, in float16; None for nowhere.
        n_images: length of the training split.
        about: names the content that it depends on; another text has files of its own.
    """

    def __init__(
        self,
        compute: Callable[[torch.Tensor], torch.Tensor],
        shape: tuple[int, ...],
        folder: Path | None,
        n_images: int,
        about: str,
    ) -> None:
        self.compute, self.shape = compute, (n_images, *shape)
        name = hashlib.sha256(about.encode()).hexdigest()[:16]
        self.folder = folder / name if folder is not None else None
        self._open: tuple[int, np.memmap] | None = None  # type: ignore[type-arg]

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
        """Pixel values (B, 3, S, S) and their keys (B,) -> (B, *shape) float32; without keys
        nothing is remembered.

        A batch is of one epoch.
        """
        if self.folder is None or keys is None:
            return self.compute(x).float()
        epoch, rows = int(keys[0] >> 32), (keys & 0xFFFFFFFF).cpu().numpy()
        known = self._file(epoch)
        made = known[rows]
        if np.isnan(made).any():
            made = self.compute(x).half().cpu().numpy()
            known[rows] = made
        return torch.from_numpy(made).to(x.device).float()

    def _file(self, epoch: int) -> np.memmap:  # type: ignore[type-arg]
        """What is known of one epoch (n, *shape) float16, NaN where there is nothing yet; `epoch`
        has the seed in its upper bits.

        A file that is not whole is written anew: opened for writing, a short one would be filled up
        with zeros.
        """
        if self._open is None or self._open[0] != epoch:
            assert self.folder is not None
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{epoch:012x}.npy"
            if not self._is_whole(path):
                with whole_file(path) as file:
                    fresh = np.lib.format.open_memmap(
                        file, mode="w+", dtype=np.float16, shape=self.shape
                    )
                    for row in fresh:
                        row[...] = np.nan
                    fresh.flush()
            self._open = epoch, np.lib.format.open_memmap(path, mode="r+")
        return self._open[1]

    def _is_whole(self, path: Path) -> bool:
        try:
            found = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError, EOFError):  # not there, or not as long as its head says
            return False
        return found.shape == self.shape and found.dtype == np.float16


def n_bytes_of(shape: tuple[int, ...], n_images: int, n_epochs: float) -> int:
    """Bytes on disk that so many epochs of so many pictures take, one more for a rest of an
    epoch.
    """
    return int(2 * n_images * math.prod(shape) * (n_epochs + 1))
