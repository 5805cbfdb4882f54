"""pixels -> blobs -> logits for what a codec is held against: picture codecs, plain tokens, compressai's factorised prior.

Picture codecs get the picture at the backbone's size and feed the uncut model; token baselines send what leaves the head at
the codec's cut; `factorised` codes the codec's own symbols with another entropy coder, so that only the bytes differ.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from codec.bitstream import pack, unpack
from codec.model import FeatureCodec
from codec.preprocess import Preprocess
from codec.split import split, token_grid
from eval.methods import Cost, DecodeError
from training.data import normalise

PICTURES: dict[str, tuple[str, tuple[int | None, ...], dict[str, Any]]] = {
    "jpeg": ("JPEG", (5, 10, 20, 30, 50, 70, 85, 95), {"optimize": True}),
    "webp": ("WEBP", (1, 5, 20, 50, 80, 95), {"method": 6}),
    "avif": ("AVIF", (10, 30, 50, 60, 70, 80, 90), {"speed": 6}),
    "png": ("PNG", (None,), {"optimize": True}),
    "webp-lossless": ("WEBP", (None,), {"lossless": True, "method": 6, "quality": 100}),
}
"""PIL's format, the qualities that are swept (None for lossless ones), and fixed options. Chroma is 4:2:0, PIL's default."""
ZSTD_LEVEL = 19


class Picture:
    """A picture codec of PIL in front of the uncut model; a blob is the file as it would lie on a disk."""

    def __init__(self, name: str, quality: int | None, model: nn.Module, preprocess: Preprocess) -> None:
        self.name, self.quality, self.cost = name, quality, Cost(0, 0)
        self.model, self.preprocess = model, preprocess
        self.format, _, options = PICTURES[name]
        self.options = options if quality is None else options | {"quality": quality}

    def encode(self, pixels: torch.Tensor) -> list[bytes]:
        blobs = []
        for image in pixels.permute(0, 2, 3, 1).contiguous().numpy():
            file = io.BytesIO()
            Image.fromarray(image).save(file, self.format, **self.options)
            blobs.append(file.getvalue())
        return blobs

    def pixels(self, blobs: list[bytes]) -> torch.Tensor:
        """Files -> pixels (B, 3, S, S) uint8."""
        images = np.stack([np.asarray(Image.open(io.BytesIO(blob)).convert("RGB")) for blob in blobs])
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def decode(self, blobs: list[bytes]) -> torch.Tensor:
        logits: torch.Tensor = self.model(normalise(self.pixels(blobs), self.preprocess)).logits
        return logits

    def check(self, pixels: torch.Tensor, blobs: list[bytes]) -> float | None:
        if self.quality is None and not torch.equal(self.pixels(blobs), pixels):
            raise DecodeError(f"{self.name}: a lossless file does not hold the picture that was encoded")
        return None


class Tokens:
    """The tokens after block k as float16, sent as they are; `quality` is k."""

    name = "tokens-fp16"

    def __init__(self, model: nn.Module, k: int, cost: Cost, preprocess: Preprocess) -> None:
        self.quality, self.cost, self.preprocess = k, cost, preprocess
        self.head, self.tail = split(model, k)
        grid = token_grid(model)
        self.shape = (grid.n_tokens, grid.width)

    def pack(self, tokens: NDArray[np.float32]) -> bytes:
        """Tokens (N, D) of one image -> bytes."""
        return tokens.astype("<f2").tobytes()

    def unpack(self, blob: bytes) -> NDArray[np.float32]:
        """The inverse of `pack`, but for the rounding."""
        return np.frombuffer(blob, dtype="<f2").reshape(self.shape).astype(np.float32)

    def encode(self, pixels: torch.Tensor) -> list[bytes]:
        return [self.pack(tokens) for tokens in self.head(normalise(pixels, self.preprocess)).numpy()]

    def decode(self, blobs: list[bytes]) -> torch.Tensor:
        logits: torch.Tensor = self.tail(torch.from_numpy(np.stack([self.unpack(blob) for blob in blobs]))).logits
        return logits

    def check(self, pixels: torch.Tensor, blobs: list[bytes]) -> float | None:
        return None


class QuantisedTokens(Tokens):
    """The tokens after block k as int8, one symmetric scale an image and channel (float16, in the bytes), then zstd."""

    name = "tokens-int8-zstd"

    def __init__(self, model: nn.Module, k: int, cost: Cost, preprocess: Preprocess) -> None:
        super().__init__(model, k, cost, preprocess)
        import zstandard

        self.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=False)
        self.decompressor = zstandard.ZstdDecompressor()

    def pack(self, tokens: NDArray[np.float32]) -> bytes:
        scale = (np.abs(tokens).max(0) / 127).astype("<f2")
        steps = tokens / np.where(scale > 0, scale, 1).astype(np.float32)
        quantised = np.clip(np.rint(steps), -127, 127).astype(np.int8)
        return self.compressor.compress(scale.tobytes() + quantised.T.tobytes())

    def unpack(self, blob: bytes) -> NDArray[np.float32]:
        raw = self.decompressor.decompress(blob)
        n_tokens, width = self.shape
        scale = np.frombuffer(raw, dtype="<f2", count=width).astype(np.float32)
        return np.frombuffer(raw, dtype=np.int8, offset=2 * width).reshape(width, n_tokens).T * scale


class Factorised:
    """A codec's symbols under compressai's `EntropyBottleneck` and coder, in the codec's own container.

    The symbols come back as they were, so the answers are the codec's; only the bytes differ (Balle et al. 2018,
    arXiv 1802.01436, sec. 6.1).
    """

    def __init__(self, codec: FeatureCodec, quality: int, cost: Cost, bottleneck: Any, name: str = "factorised") -> None:
        self.name, self.quality, self.cost = name, quality, cost
        self.codec, self.bottleneck = codec, bottleneck

    def symbols(self, pixels: torch.Tensor) -> NDArray[np.int32]:
        """Pixels -> symbols (B, C, M) int32, the codec's."""
        return self.codec.symbols(normalise(pixels, self.codec.config.preprocess), self.quality).transpose(0, 2, 1)

    def encode(self, pixels: torch.Tensor) -> list[bytes]:
        strings = self.bottleneck.compress(torch.from_numpy(self.symbols(pixels)).float())
        return [pack(string, self.quality, self.codec.fingerprint) for string in strings]

    def read(self, blobs: list[bytes]) -> torch.Tensor:
        """Blobs -> symbols (B, C, M) float32."""
        payloads = [unpack(blob, self.codec.fingerprint).payload for blob in blobs]
        symbols: torch.Tensor = self.bottleneck.decompress(payloads, (self.codec.config.side**2,))
        return symbols

    def decode(self, blobs: list[bytes]) -> torch.Tensor:
        tokens = self.codec.synthesise(self.read(blobs).transpose(1, 2), torch.full((len(blobs),), self.quality))
        logits: torch.Tensor = self.codec.tail(tokens).logits
        return logits

    def check(self, pixels: torch.Tensor, blobs: list[bytes]) -> float:
        symbols = self.symbols(pixels)
        if not np.array_equal(self.read(blobs).numpy(), symbols):
            raise DecodeError(f"{self.name}, quality {self.quality}: the decoded symbols are not the codec's")
        return float(-torch.log2(self.bottleneck(torch.from_numpy(symbols).float(), training=False)[1]).sum())


def fit_bottleneck(symbols: NDArray[np.int32], n_steps: int = 300) -> Any:
    """compressai's factorised prior fitted to symbols (n, C, M) and ready to code.

    Adam on the code length of the integers themselves, which is what its coder pays for, over all of `symbols` at each step:
    as many symbols of a channel are equal, their counts stand for them. Medians are rounded, so that integers decode to
    integers.
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
        bottleneck = EntropyBottleneck(n_channels, init_scale=4)
        values, weights = values.clone(), weights.clone()
        optimiser = torch.optim.Adam([p for p in bottleneck.parameters() if p is not bottleneck.quantiles], lr=0.03)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
        for _ in range(n_steps):
            optimiser.zero_grad()
            likelihood = bottleneck._likelihood(values)[0].clamp_min(1e-9)
            (-torch.log2(likelihood) * weights).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            decay.step()
    torch.set_num_threads(n_threads)
    with torch.no_grad():
        bottleneck._update_quantiles()
        bottleneck.quantiles.round_().clamp_(low - 1, high + 1)
        bottleneck.update(force=True)
    return bottleneck.eval()
