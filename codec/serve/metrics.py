"""what a server did -> Prometheus' text. No label names a device, a blob or a question."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from codec.serve.batching import Batcher, Done

TEXT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_BYTES = (8, 16, 32, 64, 128, 256, 1024, 16_384, 262_144, 4_194_304)
_JOBS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "taskcodec_requests", "Requests", ["codec", "task", "status"], registry=registry
        )
        self._stage = Histogram(
            "taskcodec_stage_seconds",
            "Time of a request by stage",
            ["codec", "stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._bytes = Histogram(
            "taskcodec_body_bytes",
            "Bytes of a body by what it is",
            ["codec", "kind"],
            buckets=_BYTES,
            registry=registry,
        )
        self._batch = Histogram(
            "taskcodec_batch_jobs",
            "Jobs that ran together",
            ["codec"],
            buckets=_JOBS,
            registry=registry,
        )
        self._waiting = Gauge("taskcodec_waiting", "Jobs that wait", ["codec"], registry=registry)

    def watch_queue(self, codec: str, queue: Batcher) -> None:
        """Let the gauge read how many jobs of a codec wait."""
        self._waiting.labels(codec).set_function(lambda: queue.n_waiting)

    def body(self, codec: str, kind: str, n_bytes: int) -> None:
        """A body came: `kind` is blob or picture."""
        self._bytes.labels(codec, kind).observe(n_bytes)

    def done(self, codec: str, done: Done) -> None:
        """A job was done."""
        self._stage.labels(codec, "queue").observe(done.queue_ms / 1000)
        self._stage.labels(codec, "run").observe(done.run_ms / 1000)
        self._batch.labels(codec).observe(done.n_batch)

    def replied(self, codec: str, task: str, status: int) -> None:
        """A reply went out."""
        self._requests.labels(codec, task, str(status)).inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
