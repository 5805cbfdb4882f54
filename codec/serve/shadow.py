"""a picture that the uncut model has answered -> what the codec answers: a sample of how far the
two agree on the pictures that really come.

    picture -> uncut model -> reply            (the request; nothing waits for what follows)
          \\-> encoder -> blob -> tail -> the same answer or another -> counted

One check runs at a time, and its blob goes through the model when no request waits. A check that is
drawn while another runs, or finds no such moment, is left out and counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from codec.pipeline import Device
from codec.serve.batching import Batcher
from codec.serve.metrics import Metrics
from codec.serve.models import TASKS, Job, Served
from codec.tasks.judge import agrees

PATIENCE_S = 10.0
"""So long a check waits for a moment in which no request does."""
LOOK_S = 0.02
_log = logging.getLogger(__name__)


class Shadow:
    """The checks of one server.

    Args:
        share: of the requests with a picture, from 0 to 1.
        queues: of each codec.
        metrics: that count what comes out.
        draw: a number from 0 to 1, another one each time.
    """

    def __init__(
        self,
        share: float,
        queues: Mapping[str, Batcher],
        metrics: Metrics,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._share, self._queues, self._metrics, self._draw = share, queues, metrics, draw
        self._running: asyncio.Task[None] | None = None

    def answered(self, served: Served, job: Job, picture: bytes, reply: dict[str, Any]) -> None:
        """The uncut model has answered about a picture file: perhaps check the codec on it."""
        if self._draw() >= self._share:
            return
        if self._running is not None and not self._running.done():
            self._metrics.shadow(served.name, job.verb, "left_out")
            return
        self._running = asyncio.create_task(self._check(served, job, picture, reply))

    async def stop(self) -> None:
        """End a check that still runs."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _check(self, served: Served, job: Job, picture: bytes, reply: dict[str, Any]) -> None:
        name = served.name
        try:
            blob = await asyncio.to_thread(Device(served.codec), picture)
            if not await self._idle(name):
                self._metrics.shadow(name, job.verb, "left_out")
                return
            asked = Job(job.verb, blob, questions=job.questions, top_k=1)
            found = (await self._queues[name].run(asked)).value
            same = agrees(TASKS[job.verb], _answers(found), _answers(reply))
        except Exception as error:  # a check must not hurt the server; it is counted
            _log.warning("a shadow check of %s failed: %s", name, type(error).__name__)
            self._metrics.shadow(name, job.verb, "failed")
            return
        self._metrics.shadow(name, job.verb, "agreed", sum(same))
        self._metrics.shadow(name, job.verb, "differed", len(same) - sum(same))
        self._metrics.shadow_bytes(name, len(blob), len(picture))

    async def _idle(self, name: str) -> bool:
        """Wait until no request waits; whether that came in time."""
        end_s = time.monotonic() + PATIENCE_S
        while self._queues[name].n_waiting:
            if time.monotonic() > end_s:
                return False
            await asyncio.sleep(LOOK_S)
        return True


def _answers(reply: dict[str, Any]) -> list[str]:
    """What a reply says, one for each picture or question."""
    if "labels" in reply:
        return [reply["labels"][0]["label"]]
    return [reply["caption"]] if "caption" in reply else reply["answers"]
