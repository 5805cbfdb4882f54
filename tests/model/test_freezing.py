"""A density that learns what follows from what -> integers that a coder can rely on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from codec.coding.exact import N_TABLES
from codec.coding.integer_prior import IntegerPrior
from codec.coding.passes import passes
from codec.coding.tables import TOTAL
from codec.model.density import ContextPrior
from codec.model.freezing import freeze, prior_from_tensors, prior_to_tensors

SIDE, N_CHANNELS = 4, 3
LOG_GAIN = torch.tensor([[0.0] * N_CHANNELS, [1.0] * N_CHANNELS])
Learned = tuple[ContextPrior, IntegerPrior]


def smooth_symbols(n: int, quality: int, seed: int) -> NDArray[np.int32]:
    """Symbols (n, 16, 3) of pictures whose neighbours are alike, at one of two gains."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(0, 1.2, (n, 1, N_CHANNELS)) + rng.normal(0, 0.4, (n, SIDE**2, N_CHANNELS))
    return np.rint(latent * np.exp(quality)).astype(np.int32)


def sample() -> Iterator[tuple[int, NDArray[np.int32]]]:
    for quality in (0, 1):
        yield quality, smooth_symbols(4000, quality, quality)


@pytest.fixture(scope="module")
def learned() -> Learned:
    """A prior trained on smooth symbols of two qualities, and what it froze to."""
    torch.manual_seed(0)
    prior = ContextPrior(SIDE, N_CHANNELS, n_qualities=2, n_hidden=16)
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-2)
    data = [torch.from_numpy(some).float() for _, some in sample()]
    quality = torch.arange(128) % 2
    for _ in range(400):
        chosen = torch.randint(0, 4000, (128,))
        x = torch.where((quality == 0)[:, None, None], data[0][chosen], data[1][chosen])
        loss = prior.bits(x, x, LOG_GAIN, quality).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return prior, freeze(prior, LOG_GAIN, sample)


def static_bits(quality: int, symbols: NDArray[np.int32]) -> float:
    """What static per-channel tables, counted on the training symbols, take for an image."""
    fit, bits = dict(sample())[quality], 0.0
    for c in range(N_CHANNELS):
        low, high = (
            int(min(fit[..., c].min(), symbols[..., c].min())),
            int(max(fit[..., c].max(), symbols[..., c].max())),
        )
        share = np.bincount((fit[..., c] - low).ravel(), minlength=high - low + 1) + 0.5
        bits -= float(np.log2(share / share.sum())[symbols[..., c] - low].sum())
    return bits / len(symbols)


def test_neighbours_that_are_alike_are_cheaper_than_static_tables_make_them(
    learned: Learned,
) -> None:
    for quality in (0, 1):
        symbols = smooth_symbols(500, quality, 9)
        assert learned[1].bits(symbols, quality).mean() < 0.8 * static_bits(quality, symbols)


def test_freezing_costs_at_most_one_percent(learned: Learned) -> None:
    for quality in (0, 1):
        symbols = smooth_symbols(500, quality, 9)
        x = torch.from_numpy(symbols).float()
        with torch.no_grad():
            bits = learned[0].bits(x, x, LOG_GAIN, torch.full((500,), quality)).mean()
        assert learned[1].bits(symbols, quality).mean() <= 1.01 * float(bits)


def test_means_survive_freezing_where_neighbours_tell_next_to_nothing() -> None:
    """Weights close to zero must not scale everything else up until the factor that brings it back
    is rounded to nothing.
    """
    torch.manual_seed(0)
    prior, log_gain = (
        ContextPrior(SIDE, N_CHANNELS, n_qualities=1, n_hidden=16),
        torch.full((1, N_CHANNELS), -1.0),
    )
    symbols = torch.randint(-4, 5, (1, SIDE**2, N_CHANNELS)).expand(50, -1, -1)
    prior.recentre(symbols * (-log_gain[0]).exp())
    with torch.no_grad():
        prior.out.normal_(0, 1e-9)
        prior.log_scale.fill_(-2.5)
        ideal = float(
            prior.bits(
                symbols.float(), symbols.float(), log_gain, torch.zeros(50, dtype=torch.int64)
            ).mean()
        )
    integers = symbols.numpy().astype(np.int32)
    frozen = freeze(prior, log_gain, lambda: [(0, integers)])
    assert ideal < 1
    assert frozen.bits(integers, 0).mean() < ideal + 1


def test_a_symbols_density_depends_on_earlier_passes_alone_and_sums_to_one() -> None:
    torch.manual_seed(1)
    prior = ContextPrior(SIDE, N_CHANNELS, 2)
    with torch.no_grad():
        for p in prior.parameters():
            p.normal_(0, 0.3)
    known, quality = torch.randn(1, SIDE**2, N_CHANNELS, requires_grad=True), torch.tensor([1])
    place = {
        int(position): i for i, (positions, _) in enumerate(passes(SIDE)) for position in positions
    }
    for position in range(SIDE**2):
        mean, log_scale = prior(known, quality)
        (gradient,) = torch.autograd.grad((mean + log_scale)[0, position].sum(), known)
        seen = set(torch.nonzero(gradient[0].abs().sum(1)).flatten().tolist())
        assert all(place[other] < place[position] for other in seen)
        assert bool(seen) == (place[position] > 0)
    values = torch.arange(-300, 301).float()[:, None, None].expand(-1, SIDE**2, N_CHANNELS)
    fixed = known.detach().expand(601, -1, -1)
    with torch.no_grad():
        one = torch.stack(
            [
                prior.bits(
                    torch.where(torch.eye(SIDE**2)[5][None, :, None] > 0, values, 0.0),
                    fixed,
                    LOG_GAIN,
                    torch.ones(601).long(),
                )
            ]
        )
        rest = prior.bits(torch.zeros_like(values), fixed, LOG_GAIN, torch.ones(601).long())
    assert torch.isfinite(one).all()
    assert len(rest) == 601


def test_one_symbols_likelihoods_sum_to_one() -> None:
    prior = ContextPrior(1, 1, 1)
    with torch.no_grad():
        prior.out_bias.copy_(torch.tensor([[0.3], [0.4]]))
    values = torch.arange(-200, 201).float()[:, None, None]
    bits = prior.bits(values, torch.zeros_like(values), torch.zeros(1, 1), torch.zeros(401).long())
    assert torch.exp2(-bits).sum().item() == pytest.approx(1, abs=1e-4)
    assert int(bits.argmin()) == 200  # the mean is nearest to 0


def test_bits_far_from_the_mean_keep_a_gradient() -> None:
    prior = ContextPrior(1, 1, 1)
    values = torch.tensor([[[90.0]]], requires_grad=True)
    bits = prior.bits(values, torch.zeros(1, 1, 1), torch.zeros(1, 1), torch.zeros(1).long())
    bits.backward()
    assert torch.isfinite(bits).all()
    assert values.grad is not None
    assert float(values.grad) > 0.1


def test_every_table_sums_to_the_total_and_gives_each_symbol_a_share(learned: Learned) -> None:
    cdf = learned[1].tables.cdf.astype(np.int64)
    assert cdf.shape[0] == N_TABLES
    assert (cdf[:, -1] == TOTAL).all()
    assert (np.diff(cdf, axis=1) >= 1).all()


def test_tables_fit_into_64_kilobytes(learned: Learned) -> None:
    assert learned[1].tables.cdf.nbytes <= 64 << 10


def test_freezing_is_the_same_every_time(learned: Learned) -> None:
    again = prior_to_tensors(freeze(learned[0], LOG_GAIN, sample))
    for name, tensor in prior_to_tensors(learned[1]).items():
        assert torch.equal(tensor, again[name])


def test_a_frozen_prior_survives_the_checkpoint(learned: Learned) -> None:
    symbols = smooth_symbols(5, 1, 3)
    loaded = prior_from_tensors(prior_to_tensors(learned[1]), SIDE)
    assert loaded.encode(symbols, 1) == learned[1].encode(symbols, 1)
    with pytest.raises(ValueError, match="shape"):
        prior_from_tensors(prior_to_tensors(learned[1]), SIDE + 1)
    with pytest.raises(KeyError, match=r"prior\.cdf"):
        prior_from_tensors(
            {k: v for k, v in prior_to_tensors(learned[1]).items() if k != "prior.cdf"}, SIDE
        )


@pytest.mark.parametrize("n_channels", [1, 200])
def test_any_width_and_any_weights_freeze_to_exact_sums(n_channels: int) -> None:
    torch.manual_seed(0)
    prior = ContextPrior(3, n_channels, 1)
    with torch.no_grad():
        for p in prior.parameters():
            p.normal_(0, 30)
    symbols = np.random.default_rng(0).integers(-127, 128, (20, 9, n_channels)).astype(np.int32)
    # checks its sums itself
    frozen = freeze(prior, torch.zeros(1, n_channels), lambda: [(0, symbols)])
    np.testing.assert_array_equal(frozen.decode(frozen.encode(symbols, 0), 0), symbols)


def test_symbols_never_seen_in_training_are_still_coded(
    make_prior: Callable[..., IntegerPrior],
) -> None:
    untrained = ContextPrior(2, 2, 1)
    with torch.no_grad():
        untrained.log_scale.fill_(-4)
    prior = freeze(untrained, torch.zeros(1, 2), lambda: [(0, np.zeros((9, 4, 2), dtype=np.int32))])
    wild = np.random.default_rng(0).integers(-127, 128, (5, 4, 2)).astype(np.int32)
    np.testing.assert_array_equal(prior.decode(prior.encode(wild, 0), 0), wild)
    assert prior.bits(np.zeros((1, 4, 2), dtype=np.int32), 0)[0] < 1
