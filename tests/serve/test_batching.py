"""Batches: a lone job never waits, and under load jobs run together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from codec.serve.batching import Batcher, Done, QueueFullError


@contextmanager
def started(
    work: Any, max_batch: int = 8, max_waiting: int = 100, n_workers: int = 1
) -> Iterator[Batcher]:
    batcher = Batcher(work, max_batch, max_waiting, n_workers)
    batcher.start()
    try:
        yield batcher
    finally:
        batcher.stop()


class Gate:
    """Work that doubles its jobs, and waits until it is opened."""

    def __init__(self) -> None:
        self.open, self.busy = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, jobs: list[int]) -> list[Any]:
        self.batches.append(list(jobs))
        self.busy.set()
        assert self.open.wait(10)
        return [ValueError(f"job {job}") if job < 0 else 2 * job for job in jobs]


def test_a_lone_job_runs_at_once() -> None:
    gate = Gate()
    gate.open.set()
    with started(gate) as batcher:
        done = asyncio.run(batcher.run(21))
    assert done.value == 42
    assert (done.n_batch, gate.batches) == (1, [[21]])


def test_what_comes_while_a_batch_runs_runs_together_in_order() -> None:
    gate = Gate()

    async def all_of_them(batcher: Batcher) -> list[Done]:
        first = asyncio.ensure_future(batcher.run(0))
        await asyncio.to_thread(gate.busy.wait, 10)
        rest = [asyncio.ensure_future(batcher.run(i)) for i in range(1, 12)]
        await asyncio.sleep(0)
        gate.open.set()
        return await asyncio.gather(first, *rest)

    with started(gate) as batcher:
        done = asyncio.run(all_of_them(batcher))
    assert [one.value for one in done] == [2 * i for i in range(12)]
    assert gate.batches == [[0], list(range(1, 9)), [9, 10, 11]]
    assert [one.n_batch for one in done] == [1] + [8] * 8 + [3] * 3


def test_one_jobs_failure_is_its_own() -> None:
    gate = Gate()
    gate.open.set()

    async def both(batcher: Batcher) -> list[Any]:
        return await asyncio.gather(batcher.run(-1), batcher.run(1), return_exceptions=True)

    with started(gate) as batcher:
        bad, good = asyncio.run(both(batcher))
    assert isinstance(bad, ValueError)
    assert str(bad) == "job -1"
    assert good.value == 2


def test_work_that_breaks_fails_its_batch_and_the_next_one_runs() -> None:
    calls = []

    def work(jobs: list[int]) -> list[int]:
        calls.append(jobs)
        if len(calls) == 1:
            raise RuntimeError("out of memory")
        return jobs

    with started(work) as batcher:
        with pytest.raises(RuntimeError, match="out of memory"):
            asyncio.run(batcher.run(1))
        assert asyncio.run(batcher.run(2)).value == 2


@pytest.mark.parametrize("first", [SystemExit(1), []], ids=["ends", "too few results"])
def test_work_that_ends_or_gives_too_few_results_leaves_the_worker_running(first: Any) -> None:
    calls = []

    def work(jobs: list[int]) -> list[int]:
        calls.append(jobs)
        if len(calls) > 1:
            return jobs
        if isinstance(first, BaseException):
            raise first
        return first

    with started(work) as batcher:
        with pytest.raises(RuntimeError, match=r"SystemExit|0 results for 1 jobs"):
            asyncio.run(asyncio.wait_for(batcher.run(1), 10))
        assert batcher.is_running
        assert asyncio.run(asyncio.wait_for(batcher.run(2), 10)).value == 2


def test_several_workers_run_batches_at_once_and_all_of_them_end() -> None:
    both = threading.Barrier(2)

    def work(jobs: list[int]) -> list[int]:
        both.wait(10)
        return jobs

    async def pair(batcher: Batcher) -> list[Done]:
        return await asyncio.gather(*(batcher.run(i) for i in range(2)))

    with started(work, max_batch=1, n_workers=2) as batcher:
        assert [done.value for done in asyncio.run(pair(batcher))] == [0, 1]
        assert batcher.is_running
    assert not any(thread.is_alive() for thread in batcher._threads)


def test_there_is_room_for_a_new_owner_while_one_has_several_jobs() -> None:
    gate = Gate()

    async def crowd(batcher: Batcher, *owners: str) -> bool:
        jobs = [asyncio.ensure_future(batcher.run(0))]
        await asyncio.to_thread(gate.busy.wait, 10)
        jobs += [asyncio.ensure_future(batcher.run(1, owner)) for owner in owners]
        await asyncio.sleep(0.1)
        has_room = batcher.has_room
        gate.open.set()
        await asyncio.gather(*jobs)
        return has_room

    for owners, has_room in ((["a", "a"], True), (["a", "b"], False), (["a"], True)):
        gate = Gate()
        with started(gate, max_batch=1, max_waiting=2) as batcher:
            assert asyncio.run(crowd(batcher, *owners)) == has_room


def test_more_than_may_wait_are_refused_and_those_who_left_are_not_run() -> None:
    gate = Gate()

    async def crowd(batcher: Batcher) -> None:
        first = asyncio.ensure_future(batcher.run(0))
        await asyncio.to_thread(gate.busy.wait, 10)
        waiting = [asyncio.ensure_future(batcher.run(i)) for i in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match="2 requests wait"):
            await batcher.run(3)
        waiting[0].cancel()
        await asyncio.sleep(0)
        gate.open.set()
        await first
        assert (await waiting[1]).value == 4

    with started(gate, max_waiting=2) as batcher:
        asyncio.run(crowd(batcher))
    assert gate.batches == [[0], [2]]


def test_owners_take_turns_and_who_floods_the_queue_is_refused_first() -> None:
    gate = Gate()

    async def crowd(batcher: Batcher) -> list[Any]:
        first = asyncio.ensure_future(batcher.run(0))
        await asyncio.to_thread(gate.busy.wait, 10)
        loud = [asyncio.ensure_future(batcher.run(i, "loud")) for i in (1, 2, 3, 4)]
        await asyncio.sleep(0)
        quiet = [asyncio.ensure_future(batcher.run(10 + i, "quiet")) for i in (1, 2, 3)]
        await asyncio.sleep(0.1)
        gate.open.set()
        await first
        return await asyncio.gather(*loud, *quiet, return_exceptions=True)

    with started(gate, max_batch=4, max_waiting=4) as batcher:
        done = asyncio.run(crowd(batcher))
        assert batcher.n_waiting == 0
    refused = [isinstance(one, QueueFullError) for one in done]
    assert [one.own for one in done if isinstance(one, QueueFullError)] == [True] * 3
    assert refused == [False, False, True, True, False, False, True]
    assert gate.batches == [[0], [1, 11, 2, 12]]


def test_a_refusal_says_whether_others_of_the_same_owner_wait() -> None:
    gate = Gate()

    async def crowd(batcher: Batcher) -> list[bool]:
        first = asyncio.ensure_future(batcher.run(0))
        await asyncio.to_thread(gate.busy.wait, 10)
        waiting = [asyncio.ensure_future(batcher.run(1, owner)) for owner in ("a", "b")]
        await asyncio.sleep(0)
        own = []
        for owner in ("a", "c"):
            with pytest.raises(QueueFullError) as refused:
                await batcher.run(2, owner)
            own.append(refused.value.own)
        gate.open.set()
        await asyncio.gather(first, *waiting)
        return own

    with started(gate, max_waiting=2) as batcher:
        assert asyncio.run(crowd(batcher)) == [True, False]


def test_a_stop_fails_what_waits() -> None:
    gate = Gate()

    async def stopped() -> Any:
        batcher = Batcher(gate, 8, 8)
        batcher.start()
        first = asyncio.ensure_future(batcher.run(0))
        await asyncio.to_thread(gate.busy.wait, 10)
        second = asyncio.ensure_future(batcher.run(1))
        await asyncio.sleep(0)
        ending = asyncio.ensure_future(asyncio.to_thread(batcher.stop))
        with pytest.raises(QueueFullError, match="stops"):
            await second
        gate.open.set()
        await ending
        with pytest.raises(QueueFullError):
            await batcher.run(2)
        return (await first).value

    assert asyncio.run(stopped()) == 0
