"""jobs, as they come -> batches -> results: while one batch runs, the next one gathers.

The queue is taken whenever a worker is free. So a lone job never waits, and under load a batch is
as large as what came meanwhile: there is no time to set. Owners of jobs take turns, and where too
many jobs wait, the owner of most of them loses its newest one: who floods the queue waits for
itself.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class QueueFullError(Exception):
    """As many jobs wait as may wait.

    Args:
        reason: for the caller.
        own: whether other jobs of the same owner are among them.
    """

    def __init__(self, reason: str, own: bool = False) -> None:
        super().__init__(reason)
        self.own = own


class Done(NamedTuple):
    """What became of a job.

    Attributes:
        value: its result.
        queue_ms: how long it waited.
        run_ms: how long its batch ran.
        n_batch: how many jobs ran with it.
    """

    value: Any
    queue_ms: float
    run_ms: float
    n_batch: int


@dataclass
class _Waiting:
    job: Any
    future: asyncio.Future[Done]
    loop: asyncio.AbstractEventLoop
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """Worker threads that run jobs in batches.

    Args:
        work: jobs -> for each a result, or the exception that is its own.
        max_batch: the most jobs of a batch.
        max_waiting: the most jobs that wait.
        n_workers: batches that run at once.
    """

    def __init__(
        self,
        work: Callable[[list[Any]], Sequence[Any]],
        max_batch: int,
        max_waiting: int,
        n_workers: int = 1,
    ) -> None:
        self._work, self._max_batch, self._max_waiting = work, max_batch, max_waiting
        self._queues: OrderedDict[str, deque[_Waiting]] = OrderedDict()  # of the owners; none empty
        self._changed = threading.Condition()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name="batches", daemon=True)
            for _ in range(n_workers)
        ]

    def start(self) -> None:
        """Start the workers."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the running batches end, and fail what still waits."""
        with self._changed:
            self._stopping = True
            left = [one for queue in self._queues.values() for one in queue]
            self._queues.clear()
            self._changed.notify_all()
        for one in left:
            _settle(one, QueueFullError("the server stops"))
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    @property
    def is_running(self) -> bool:
        """Whether all workers take jobs."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def n_waiting(self) -> int:
        """How many jobs wait."""
        with self._changed:
            return sum(map(len, self._queues.values()))

    @property
    def has_room(self) -> bool:
        """Whether a job of a new owner would be taken: an owner of several makes room for it."""
        with self._changed:
            several = any(len(queue) > 1 for queue in self._queues.values())
            return self.n_waiting < self._max_waiting or several

    @property
    def oldest_age_s(self) -> float:
        """How long the oldest of them has waited; 0 where none waits."""
        with self._changed:
            first = [queue[0].since for queue in self._queues.values()]
            return time.perf_counter() - min(first) if first else 0.0

    async def run(self, job: Any, owner: str = "") -> Done:
        """A job -> what became of it.

        Args:
            owner: whose job it is.

        Raises:
            QueueFullError: too many wait, most of them this owner's; or the server stops.
            Exception: the job's own.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(job, loop.create_future(), loop)
        with self._changed:
            if self._stopping:
                raise QueueFullError("the server stops")
            if self.n_waiting >= self._max_waiting:
                self._make_room(owner)
            self._queues.setdefault(owner, deque()).append(waiting)
            self._changed.notify()
        return await waiting.future

    def _make_room(self, owner: str) -> None:
        """Refuse the newest job of the owner of most, or this owner's new one where no owner has
        more.

        Raises:
            QueueFullError: it is this owner's.
        """
        reason, n_own = f"{self.n_waiting} requests wait already", len(self._queues.get(owner, ()))
        whose = max(self._queues, key=lambda name: len(self._queues[name]), default=owner)
        if len(self._queues.get(whose, ())) <= n_own + 1:
            raise QueueFullError(reason, own=n_own > 0)
        # more than one: the queue is not empty now
        _settle(self._queues[whose].pop(), QueueFullError(reason, own=True))

    def _next(self) -> _Waiting:
        """The oldest job of the owner whose turn it is."""
        owner, queue = next(iter(self._queues.items()))
        one = queue.popleft()
        if queue:
            self._queues.move_to_end(owner)
        else:
            del self._queues[owner]
        return one

    def _take(self) -> list[_Waiting]:
        """The next batch; empty where a worker is to end. Nobody waits for a job any more whose
        caller has gone.
        """
        with self._changed:
            while not self._stopping:
                batch: list[_Waiting] = []
                while self._queues and len(batch) < self._max_batch:
                    one = self._next()
                    if not one.future.cancelled():
                        batch.append(one)
                if batch:
                    return batch
                self._changed.wait()
            return []

    def _run(self) -> None:
        while batch := self._take():
            start = time.perf_counter()
            results = self._results([one.job for one in batch])
            run_ms = 1000 * (time.perf_counter() - start)
            for one, result in zip(batch, results, strict=True):
                queue_ms = 1000 * (start - one.since)
                failed = isinstance(result, Exception)
                _settle(one, result if failed else Done(result, queue_ms, run_ms, len(batch)))

    def _results(self, jobs: list[Any]) -> Sequence[Any]:
        """A result for each job. Where the work itself fails, every job has its exception, and the
        worker goes on, whatever it is.
        """
        try:
            results = list(self._work(jobs))
            if len(results) != len(jobs):
                raise RuntimeError(f"{len(results)} results for {len(jobs)} jobs")
            return results
        except Exception as error:
            return [error] * len(jobs)
        except BaseException as error:  # in a coroutine it would end the event loop
            return [RuntimeError(f"the work ended with {type(error).__name__}")] * len(jobs)


def _settle(one: _Waiting, outcome: Done | Exception) -> None:
    """Hand a job's outcome to the event loop that waits for it, unless that has ended."""

    def put() -> None:
        if one.future.done():
            return
        if isinstance(outcome, Exception):
            one.future.set_exception(outcome)
        else:
            one.future.set_result(outcome)

    if not one.loop.is_closed():
        one.loop.call_soon_threadsafe(put)
