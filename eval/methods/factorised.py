"""a codec's symbols -> blobs by compressai's factorised prior: only the bytes differ from the
codec's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import nn

from codec.coding.container import pack, unpack
from codec.model import FeatureCodec
from codec.model.cost import Cost
from eval.methods.method import FACTORISED, DecodeError
from training.data.images import normalise

FIT_BATCH = 64


class Factorised:
    """A codec's symbols under compressai's `EntropyBottleneck` and coder, in the codec's own
    container.

    The symbols come back as they were, so the answers are the codec's; only the bytes differ (Balle
    et al. 2018, arXiv 1802.01436, sec. 6.1).
    """

    def __init__(
        self,
        codec: FeatureCodec,
        quality: int,
        cost: Cost,
        tails: Mapping[str, nn.Module],
        prior: Any,
        name: str = FACTORISED,
    ) -> None:
        self.name, self.quality, self.cost = name, quality, cost
        self.codec, self.models, self.prior = codec, tails, prior

    def symbols(self, pixels: torch.Tensor) -> NDArray[np.int32]:
        """Pixels -> symbols (B, C, M) int32, the codec's."""
        return self.codec.symbols(
            normalise(pixels, self.codec.config.preprocess), self.quality
        ).transpose(0, 2, 1)

    def encode(self, pixels: torch.Tensor) -> list[bytes]:
        strings = self.prior.compress(torch.from_numpy(self.symbols(pixels)).float())
        return [pack(string, self.quality, self.codec.fingerprint) for string in strings]

    def read(self, blobs: list[bytes]) -> torch.Tensor:
        """Blobs -> symbols (B, C, M) float32."""
        payloads = [unpack(blob, self.codec.fingerprint).payload for blob in blobs]
        symbols: torch.Tensor = self.prior.decompress(payloads, (self.codec.config.side**2,))
        return symbols

    def decode(self, blobs: list[bytes]) -> torch.Tensor:
        return self.codec.synthesise(
            self.read(blobs).transpose(1, 2), torch.full((len(blobs),), self.quality)
        )

    def check(self, pixels: torch.Tensor, blobs: list[bytes]) -> float:
        symbols = self.symbols(pixels)
        if not np.array_equal(self.read(blobs).numpy(), symbols):
            raise DecodeError(
                f"{self.name}, quality {self.quality}: the decoded symbols are not the codec's"
            )
        return float(
            -torch.log2(self.prior(torch.from_numpy(symbols).float(), training=False)[1]).sum()
        )


@torch.inference_mode()
def factorised_methods(
    codec: FeatureCodec,
    pixels: torch.Tensor,
    cost: Cost,
    tails: Mapping[str, nn.Module],
    name: str,
    console: Console,
) -> list[Factorised]:
    """A codec's symbols in compressai's coder, at every third quality; the prior is fitted to
    pixels (n, 3, S, S) uint8.
    """
    methods = []
    with Progress(console=console, transient=True) as progress:
        for q in progress.track(
            codec.qualities[::3],
            description=f"fitting the factorised prior to {len(pixels)} images",
        ):
            symbols = [
                codec.symbols(normalise(x, codec.config.preprocess), q)
                for x in pixels.split(FIT_BATCH)
            ]
            prior = fit_factorised_prior(np.concatenate(symbols).transpose(0, 2, 1))
            methods.append(Factorised(codec, q, cost, tails, prior, name))
    return methods


def fit_factorised_prior(symbols: NDArray[np.int32], n_steps: int = 300) -> Any:
    """compressai's factorised prior fitted to symbols (n, C, M) and ready to code.

    Adam on the code length of the integers themselves, which is what its coder pays for, over all
    of `symbols` at each step: as many symbols of a channel are equal, their counts stand for them.
    Medians are rounded, so that integers decode to integers.
    """
    from compressai.entropy_models import EntropyBottleneck

    n_channels = symbols.shape[1]
    low, high = int(symbols.min()), int(symbols.max())
    rows = symbols.transpose(1, 0, 2).reshape(n_channels, -1) - low
    counts = np.stack([np.bincount(row, minlength=high - low + 1) for row in rows])
    seen = np.flatnonzero(counts.sum(0))
    weights = torch.from_numpy(counts[:, seen] / rows.shape[1])[:, None].float()
    values = torch.from_numpy(seen + low).float().expand(n_channels, 1, -1)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the products are too small to share out
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(0)
        prior = EntropyBottleneck(n_channels, init_scale=4)
        values, weights = values.clone(), weights.clone()
        optimiser = torch.optim.Adam(
            [p for p in prior.parameters() if p is not prior.quantiles], lr=0.03
        )
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
        for _ in range(n_steps):
            optimiser.zero_grad()
            likelihood = prior._likelihood(values)[0].clamp_min(1e-9)
            (-torch.log2(likelihood) * weights).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            decay.step()
    torch.set_num_threads(n_threads)
    with torch.no_grad():
        prior._update_quantiles()
        prior.quantiles.round_().clamp_(low - 1, high + 1)
        prior.update(force=True)
    return prior.eval()
