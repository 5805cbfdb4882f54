"""Prometheus' samples become the sums and percentiles that Prometheus itself would say."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram

from codec.serve.reading import Reading


def test_sums_are_of_the_samples_with_these_labels() -> None:
    registry = CollectorRegistry()
    counter = Counter("asked", "", ["codec", "status"], registry=registry)
    for codec, status, n in (("a", "200", 5), ("a", "404", 2), ("b", "200", 1)):
        counter.labels(codec, status).inc(n)
    reading = Reading.of(registry.collect(), 1.0)
    assert reading.total("asked_total") == 8
    assert reading.total("asked_total", codec="a") == 7
    assert reading.by("status", "asked_total") == {"200": 6, "404": 2}
    assert reading.by("status", "asked_total", codec="b") == {"200": 1}
    assert reading.total("never") == 0


def test_percentiles_are_linear_within_a_bucket() -> None:
    registry = CollectorRegistry()
    times = Histogram("took", "", ["stage"], buckets=(1, 2, 4), registry=registry)
    empty = Reading.of(registry.collect(), 0.0)
    assert empty.percentiles((0.5, 0.9), "took", stage="run") == (None, None)
    for value in (0.5, 1.5, 1.5, 3.0):
        times.labels("run").observe(value)
    times.labels("queue").observe(100.0)
    reading = Reading.of(registry.collect(), 5.0)
    # by hand: rank 2 of 4; one lies below 1, three below 2: half of the way from 1 to 2
    assert reading.percentiles((0.5, 1.0), "took", stage="run") == pytest.approx((1.5, 4.0))
    (open_bucket,) = reading.percentiles((0.99,), "took", stage="queue")
    assert open_bucket == 4.0, "where the open bucket begins"


def test_what_came_since_is_the_difference() -> None:
    registry = CollectorRegistry()
    counter = Counter("asked", "", ["codec"], registry=registry)
    counter.labels("a").inc(3)
    before = Reading.of(registry.collect(), 10.0)
    counter.labels("a").inc(4)
    counter.labels("b").inc(1)
    grown = Reading.of(registry.collect(), 12.5).since(before)
    assert grown.by("codec", "asked_total") == {"a": 4, "b": 1}
    assert grown.at_s == 2.5
