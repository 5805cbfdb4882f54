"""Prometheus' samples -> sums, rates and percentiles: the arithmetic that a dashboard does with
them, for the status page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Reading:
    """All numbers of a server at one time.

    Attributes:
        at_s: when, in seconds of any clock that never goes back.
        values: by name of a sample, such as `taskcodec_requests_total`, and labels.
    """

    at_s: float
    values: Mapping[str, Mapping[Labels, float]]

    @staticmethod
    def of(metrics: Iterable[Any], at_s: float) -> Reading:
        """What a registry of prometheus_client collects."""
        values: dict[str, dict[Labels, float]] = {}
        for metric in metrics:
            for sample in metric.samples:
                if not sample.name.endswith("_created"):
                    labels = frozenset(sample.labels.items())
                    values.setdefault(sample.name, {})[labels] = sample.value
        return Reading(at_s, values)

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        wanted = frozenset(labels.items())
        return sum(value for own, value in self.values.get(name, {}).items() if wanted <= own)

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """The sums by the values of a label, of the samples that have the other labels."""
        wanted, found = frozenset(labels.items()), dict[str, float]()
        for own, value in self.values.get(name, {}).items():
            if wanted <= own:
                key = dict(own)[label]
                found[key] = found.get(key, 0.0) + value
        return found

    def since(self, before: Reading) -> Reading:
        """What was counted from another reading to this one, and the time between."""
        grown = {
            name: {
                labels: value - before.values.get(name, {}).get(labels, 0.0)
                for labels, value in samples.items()
            }
            for name, samples in self.values.items()
        }
        return Reading(self.at_s - before.at_s, grown)

    def percentiles(
        self, shares: Sequence[float], name: str, **labels: str
    ) -> tuple[float | None, ...]:
        """The values below which these shares of a histogram's observations lie, as Prometheus'
        `histogram_quantile` has it: linear within a bucket; in the last, open one, where it begins.
        None without observations.

        Args:
            shares: from 0 to 1.
            name: of the histogram.
        """
        counts = self.by("le", f"{name}_bucket", **labels)
        edges = sorted((float(edge), n) for edge, n in counts.items())  # the last is +Inf
        if not edges or not edges[-1][1]:
            return (None,) * len(shares)
        return tuple(_value_at(share * edges[-1][1], edges) for share in shares)


def _value_at(rank: float, edges: Sequence[tuple[float, float]]) -> float:
    """The value of a rank among the observations, which are counted up to each edge."""
    lower, below = 0.0, 0.0
    for edge, n_up_to in edges:
        if n_up_to >= rank and n_up_to > below:
            share = (rank - below) / (n_up_to - below)
            return lower if math.isinf(edge) else lower + (edge - lower) * share
        lower, below = edge, n_up_to
    return lower
