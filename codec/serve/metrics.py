"""what a server did -> Prometheus' text, and the same numbers for the status page. No label names a
device, a blob or a question, and every label has few values.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from codec.serve.batching import Batcher, Done
from codec.serve.reading import Reading

TEXT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (
    *(round(step * 10.0**power, 5) for power in range(-4, 1) for step in (1, 1.5, 2, 3, 5, 7)),
    *(10.0, 20.0, 30.0, 60.0),
)
"""Close enough for percentiles: a bucket ends at most twice as late as it begins."""
_BYTES = (8, 16, 32, 64, 128, 256, 1024, 16_384, 262_144, 4_194_304)
_JOBS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests", "codec", "task", "status")
        self._ways = self._counter("ways", "Answers by how the picture came", "codec", "way")
        self._links = {
            name: self._counter(f"{name}_bytes", what, "codec", "direction")
            for name, what in (
                ("http", "Bytes of HTTP, headers too, without TLS"),
                ("mqtt", "Bytes of MQTT's requests and replies, without acknowledgements and TLS"),
                ("lorawan", "Bytes of LoRaWAN's frames, its own too"),
            )
        }
        self._compared = self._counter(
            "compared_bytes",
            "Bytes of blobs, and of pictures with the same score by the codec's sweep",
            *("codec", "kind"),
        )
        self._shadow = self._counter(
            "shadow",
            "Answers of the codec, held against the uncut model's",
            *("codec", "task", "outcome"),
        )
        self._shadow_bytes = self._counter(
            "shadow_bytes", "Bytes of the pictures and blobs of these checks", "codec", "kind"
        )
        self._uplinks = self._counter("uplinks", "Messages over links with little airtime")
        self._airtime = self._counter("uplink_airtime_seconds", "Their time on the air")
        self._messages = self._counter(
            "mqtt_messages", "Messages over MQTT by what became of them", "kind", "outcome"
        )
        self._frames = self._counter("uplink_frames", "Frames of devices by their counter", "what")
        self._joined = self._gauge("mqtt_connected", "Whether the broker is connected")
        self._stage = self._histogram(
            "stage_seconds", "Time of a request by stage", _SECONDS, "stage"
        )
        self._bytes = self._histogram("body_bytes", "Bytes of a body by what it is", _BYTES, "kind")
        self._batch = self._histogram("batch_jobs", "Jobs that ran together", _JOBS)
        self._waiting = self._gauge("waiting", "Jobs that wait", "codec")
        self._oldest = self._gauge("oldest_waiting_seconds", "Age of the oldest of them", "codec")
        self._undecoded = self._gauge("undecoded_pictures", "Pictures that wait to be decoded")
        self._undecoded_oldest = self._gauge(
            "oldest_undecoded_picture_seconds", "Age of the oldest of them"
        )

    def watch_queue(self, codec: str, queue: Batcher) -> None:
        """Let the gauges read how many jobs of a codec wait, and how long the oldest has."""
        self._waiting.labels(codec).set_function(lambda: queue.n_waiting)
        self._oldest.labels(codec).set_function(lambda: queue.oldest_age_s)

    def watch_pictures(self, queue: Batcher) -> None:
        """Let the gauges read how many pictures wait to be decoded, and how long the oldest has."""
        self._undecoded.set_function(lambda: queue.n_waiting)
        self._undecoded_oldest.set_function(lambda: queue.oldest_age_s)

    def body(self, codec: str, kind: str, n_bytes: int) -> None:
        """A body came: `kind` is blob or picture."""
        self._bytes.labels(codec, kind).observe(n_bytes)

    def done(self, codec: str, done: Done, way: str = "blob") -> None:
        """A job was done; `way` is blob, picture, or kept, of a blob that was there already."""
        self._stage.labels(codec, "queue").observe(done.queue_ms / 1000)
        self._stage.labels(codec, "run").observe(done.run_ms / 1000)
        self._batch.labels(codec).observe(done.n_batch)
        self._ways.labels(codec, way).inc()

    def alone(self, codec: str, n_answers: int) -> None:
        """A device says that it has answered so often by itself."""
        if n_answers:
            self._ways.labels(codec, "alone").inc(n_answers)

    def compared(self, codec: str, n_blob_bytes: int, n_picture_bytes: float) -> None:
        """A blob was answered, and a picture of the same score would have had so many bytes."""
        self._compared.labels(codec, "blob").inc(n_blob_bytes)
        self._compared.labels(codec, "picture").inc(n_picture_bytes)

    def shadow(self, codec: str, task: str, outcome: str, n_answers: int = 1) -> None:
        """Answers of a shadow check: agreed, differed, failed, or left_out."""
        self._shadow.labels(codec, task, outcome).inc(n_answers)

    def shadow_bytes(self, codec: str, n_blob_bytes: int, n_picture_bytes: int) -> None:
        """The bytes of the two that a shadow check compares."""
        self._shadow_bytes.labels(codec, "blob").inc(n_blob_bytes)
        self._shadow_bytes.labels(codec, "picture").inc(n_picture_bytes)

    def exchanged(self, link: str, codec: str, n_bytes_up: int, n_bytes_down: int) -> None:
        """A request about a codec came and was replied to, with so many bytes on the device's link,
        which is http, mqtt or lorawan.
        """
        self._links[link].labels(codec, "up").inc(n_bytes_up)
        self._links[link].labels(codec, "down").inc(n_bytes_down)

    def whole(self, codec: str, whole_s: float, done: Done) -> None:
        """A request that had a job took so long from its headers to the reply's last byte."""
        around_s = max(whole_s - (done.queue_ms + done.run_ms) / 1000, 0.0)
        self._stage.labels(codec, "around").observe(around_s)
        self._stage.labels(codec, "whole").observe(whole_s)

    def replied(self, codec: str, task: str, status: int) -> None:
        """A reply went out."""
        self._requests.labels(codec, task, str(status)).inc()

    def uplink(self, airtime_s: float) -> None:
        """A message came over a link with little airtime."""
        self._uplinks.inc()
        self._airtime.inc(airtime_s)

    def message(self, kind: str, outcome: str) -> None:
        """A message came over MQTT: `kind` is request or uplink; `outcome` answered, repeated,
        refused or failed.
        """
        self._messages.labels(kind, outcome).inc()

    def frames(self, what: str, n_frames: int) -> None:
        """Frames of LoRaWAN devices: placed, missing, late, repeated, restarted."""
        self._frames.labels(what).inc(n_frames)

    def joined(self, connected: bool) -> None:
        """The connection to the broker began or ended."""
        self._joined.set(connected)

    def read(self, at_s: float) -> Reading:
        """All numbers as they are now, at `at_s` seconds of the caller's clock."""
        return Reading.of(self._registry.collect(), at_s)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"taskcodec_{name}", what, labels, registry=self._registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"taskcodec_{name}", what, labels, registry=self._registry)

    def _histogram(
        self, name: str, what: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        full = f"taskcodec_{name}"
        names = ("codec", *labels)
        return Histogram(full, what, names, buckets=buckets, registry=self._registry)
