"""what a server allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on what one request, and all of them together, may take.

    Attributes:
        blob_bytes, picture_bytes, batch_bytes: of a body, by what it is.
        bodies_bytes: of the bodies of all requests that wait or are being answered, over HTTP and
            MQTT; one owner of requests has at most half of them.
        questions: of one request.
        decoding: pictures that are decoded at once; a picture of few bytes may have many pixels.
        batch: jobs that go through the model at once.
        waiting: jobs of one codec that wait, and pictures that wait to be decoded.
        body_s: seconds in which a body must have come.
        request_s: seconds until a reply, from when the body has come.
        kept_blobs, kept_bytes, kept_s: of blobs that are kept.
        sessions: that are open.
        shadow: of the requests with a picture, the share whose picture is also sent through the
            codec, to see whether it gives the uncut model's answer.
        listeners: pages that may be told the news at once.
        devices: that are listed with when they were last seen.

    Raises:
        ValueError: `shadow` is no share.
    """

    blob_bytes: int = 1 << 16
    picture_bytes: int = 1 << 24
    batch_bytes: int = 1 << 21
    bodies_bytes: int = 1 << 28
    questions: int = 32
    decoding: int = 2
    batch: int = 32
    waiting: int = 256
    body_s: float = 10.0
    request_s: float = 60.0
    kept_blobs: int = 10_000
    kept_bytes: int = 1 << 26
    kept_s: float = 7 * 86_400.0
    sessions: int = 10_000
    shadow: float = 0.0
    listeners: int = 16
    devices: int = 200

    def __post_init__(self) -> None:
        if not 0.0 <= self.shadow <= 1.0:
            raise ValueError(f"shadow is a share from 0 to 1, not {self.shadow:g}")
