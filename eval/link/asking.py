"""python -m eval.link.asking: jobs on stdin -> what each request of a real `SplitClient` took, on
stdout; a process of its own, as a device is.

A job is a line of JSON with the address, the names of the ways (None for all, among which the
client chooses), how many requests and how far apart, and a timeout. The process opens session and
models over the link as it is, says `ready`, waits for a line with the time of the first request,
and answers with a line: a list of requests.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from codec.link.choosing import swept_ways
from codec.link.client import SplitClient
from codec.link.encoders import open_encoder


class Asked(NamedTuple):
    """What a request took: wall clock from picture to answer, and what the client says of it."""

    latency_ms: float
    way: str
    n_body_bytes: int
    n_bytes_up: int
    n_bytes_down: int
    device_ms: float
    link_ms: float
    server_ms: float
    failed: bool


def ask(
    client: SplitClient, images: Sequence[Any], n_requests: int, every_s: float, start_s: float
) -> list[Asked]:
    """Ask about one image after another, each at its time on the clock of `time.monotonic`, or
    when the one before is through.
    """
    found = []
    for number in range(n_requests):
        time.sleep(max(0.0, start_s + number * every_s - time.monotonic()))
        before = time.perf_counter()
        try:
            answer = client(images[number % len(images)])
        except ValueError:
            late = 1000 * (time.perf_counter() - before)
            found.append(Asked(late, "", 0, 0, 0, 0.0, 0.0, 0.0, True))
            continue
        late = 1000 * (time.perf_counter() - before)
        stages = answer.stages_ms
        server_ms = stages.get("queue", 0.0) + stages.get("run", 0.0)
        sizes = answer.n_body_bytes, answer.n_bytes_up, answer.n_bytes_down
        times = stages.get("device", 0.0), stages.get("link", 0.0), server_ms
        found.append(Asked(late, answer.way, *sizes, *times, False))
    return found


def main() -> None:
    folder, images = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    encoder = open_encoder(folder)
    swept = swept_ways(folder, folder.name, False)
    for line in sys.stdin:
        job = json.loads(line)
        names = job["ways"]
        ways = {
            verb: [way for way in some if names is None or way.name in names]
            for verb, some in swept.items()
        }
        with_pictures = SplitClient(job["url"], encoder, ways=ways, timeout_s=60.0)
        client = SplitClient(job["url"], encoder, ways=ways, timeout_s=job["timeout_s"])
        for image in images:  # models are loaded, connections and the session open
            with_pictures(image)
            client(image, quality=0)
        with_pictures.close()
        print("ready", flush=True)
        start_s = float(sys.stdin.readline())
        asked = ask(client, images, job["n_requests"], job["every_s"], start_s)
        client.close()
        print(json.dumps(asked), flush=True)


if __name__ == "__main__":
    main()
