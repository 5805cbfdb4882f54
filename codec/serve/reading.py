"""Prometheus' samples -> sums, rates and percentiles: the arithmetic that a dashboard does with
them, for the status page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Labels = tuple[tuple[str, str], ...]


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
                    labels = tuple(sorted(sample.labels.items()))
                    values.setdefault(sample.name, {})[labels] = sample.value
        return Reading(at_s, values)

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        wanted = set(labels.items())
        return sum(value for own, value in self.values.get(name, {}).items() if wanted <= set(own))

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """The sums by the values of a label, of the samples that have the other labels."""
        wanted, found = set(labels.items()), dict[str, float]()
        for own, value in self.values.get(name, {}).items():
            if wanted <= set(own):
                key = dict(own)[label]
                found[key] = found.get(key, 0.0) + value
        return found

    def most(self, name: str) -> float:
        """The largest of the samples; 0 where there are none."""
        return max(self.values.get(name, {}).values(), default=0.0)

    def since(self, before: Reading) -> Reading:
        """What was counted from another reading to this one."""
        grown = {
            name: {
                labels: value - before.values.get(name, {}).get(labels, 0.0)
                for labels, value in samples.items()
            }
            for name, samples in self.values.items()
        }
        return Reading(self.at_s - before.at_s, grown)

    def percentile(self, share: float, name: str, **labels: str) -> float | None:
        """The value below which a share of a histogram's observations lie, as Prometheus'
        `histogram_quantile` has it: linear within a bucket; in the last, open one, where it begins.
        None without observations.

        Args:
            share: from 0 to 1.
            name: of the histogram.
        """
        counts = self.by("le", f"{name}_bucket", **labels)
        edges = sorted(
            (math.inf if edge == "+Inf" else float(edge), n) for edge, n in counts.items()
        )
        if not edges or not edges[-1][1]:
            return None
        rank, lower, below = share * edges[-1][1], 0.0, 0.0
        for edge, n_up_to in edges:
            if n_up_to >= rank and n_up_to > below:
                if math.isinf(edge):
                    return lower
                return lower + (edge - lower) * (rank - below) / (n_up_to - below)
            lower, below = edge, n_up_to
        return lower
