"""pixels -> blob: the device's half of a codec, and all that is done to blobs without the server's
networks.

    pixels --encoder--> latent --gains, rounding--> symbols --prior--> payload --header--> blob
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from codec.coding.blobs import open_blob, read_blobs, write_blobs
from codec.coding.budget import Rate, best_that_fits, chosen_rate
from codec.coding.container import HEADER_BYTES, pack, restore, shorten
from codec.coding.integer_prior import IntegerPrior
from codec.coding.opening import open_prior
from codec.coding.progressive import ProgressivePrior, progressive_prior
from codec.model.config import CodecConfig
from codec.model.networks import EncoderNetworks


class FeatureEncoder(EncoderNetworks):
    """Encoder, gains, and the frozen integer prior that codes their symbols.

    Arguments as `EncoderNetworks`. `codec.model.loading.load_encoder` loads one that can code.
    """

    def __init__(self, config: CodecConfig, encoder: nn.Module) -> None:
        super().__init__(config, encoder)
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
        backbone. Errors as `prior`.
        """
        assert self.prior
        return self._fingerprint

    @property
    def max_blob_bytes(self) -> int:
        """No blob takes more bytes: symbols that entropy coding would make longer than a byte each
        are sent as they are.
        """
        return HEADER_BYTES + self.config.side**2 * self.config.n_channels

    def fix(self, prior: IntegerPrior, fingerprint: bytes) -> None:
        """Give the encoder its prior and its name; from then on it codes.

        Raises:
            ValueError: it has a prior, or the prior is of another latent or number of qualities.
        """
        if self._prior is not None:
            raise ValueError("this codec has a prior: it was frozen, and never changes")
        self._prior, self._fingerprint = self._opened(prior), fingerprint
        self.eval()

    def _opened(self, prior: IntegerPrior) -> IntegerPrior:
        """The prior with the fastest coder there is, and with the configuration's layers."""
        config, network = self.config, prior.network
        if (network.side, network.n_channels, network.n_qualities) != (
            config.side,
            config.n_channels,
            config.n_qualities,
        ):
            raise ValueError(
                f"the prior does not fit a latent of {config.side} x {config.side} x "
                f"{config.n_channels} at {config.n_qualities} qualities"
            )
        opened = open_prior(network, prior.tables)
        return progressive_prior(opened, config.layers, [config.halves[q] for q in config.layers])

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
            target_drop: instead of a quality, the points of score that may be lost in the mean, in
                the codec's calibration: the smallest quality that keeps to it.

        Raises:
            ValueError: an empty batch, another shape or dtype, NaN, a quality the codec lacks, a
                budget that no quality fits or a drop that none keeps to; the message says what is
                possible. Or more than one of the three is given.
        """
        rate = self.chosen_rate(quality, max_bytes, target_drop)
        return self.encode_latent(self.latent(pixel_values), rate)

    def encode_latent(self, latent: torch.Tensor, rate: Rate) -> list[bytes]:
        """Latent (B, M, C) -> one standalone blob per image, at a rate that `chosen_rate` gave.

        Raises:
            ValueError: a budget that no quality fits.
        """
        if rate.quality is not None:
            return self.code(self.quantise(latent, rate.quality), rate.quality)
        return best_that_fits(
            lambda q, places: self.code(self.quantise(latent[places], q), q),
            len(latent),
            self.qualities,
            rate.max_bytes,
            rate.spared,
        )

    def chosen_rate(
        self, quality: int | None, max_bytes: int | None, target_drop: float | None
    ) -> Rate:
        """The rate that is asked for. Arguments and errors as for `encode`."""
        config = self.config
        drops = [row.drop for row in config.calibration]
        return chosen_rate(
            quality, max_bytes, target_drop, drops, config.default_quality, config.n_qualities
        )

    def code(self, symbols: NDArray[np.int32], quality: int) -> list[bytes]:
        """Symbols (B, M, C) int32 of one quality -> blobs; `read` is the inverse.

        Raises:
            ValueError: symbols of another shape, or beyond -127..127.
        """
        return write_blobs(self.prior, self.fingerprint, symbols, quality)

    def read(self, blobs: Sequence[bytes]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Blobs -> their symbols (B, M, C) int32 and qualities (B,) int64; no network runs.

        Raises:
            BitstreamError: a blob is damaged or of another codec; the message says which and why.
        """
        return read_blobs(self.prior, self.fingerprint, blobs)

    def truncate(self, blob: bytes, max_bytes: int) -> bytes:
        """A longer blob -> one of at most `max_bytes` bytes, without picture or network: its
        symbols at the best lower quality that fits.

        A blob that is short enough comes back as it is. One that has layers is cut behind the last
        layer that fits (`cuts`). Of others the symbols are brought to the coarser quantiser and
        coded anew. A value is then rounded twice: some symbols differ from those of a blob that
        was encoded at the lower quality.

        Raises:
            BitstreamError: as `read`.
            ValueError: no quality fits, or not even the first layer; the message says what the
                smallest one takes.
        """
        symbols, qualities = self.read([blob])
        own, cuts = int(qualities[0]), self.cuts(blob)

        def write(q: int, _places: list[int]) -> list[bytes]:
            if q == own:
                return [bytes(blob)]
            if cuts:
                return [self._start(blob, q, cuts[q])]
            return self.code(self.requantise(symbols, own, q), q)

        lower = list(cuts) or range(own)
        return best_that_fits(write, 1, [*lower, own], max_bytes, what="blob")[0]

    def cuts(self, blob: bytes) -> dict[int, int]:
        """How long a blob that has layers is when it is cut: bytes by each lower quality that it
        holds, smallest first.

        Nothing for a blob without layers. Errors as `read`.
        """
        read = open_blob(self.prior, self.fingerprint, blob)
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
            BitstreamError: as `read`.
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
