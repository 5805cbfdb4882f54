"""A store on disk that stalls: who asks it is told so in time, and what it says itself is kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from codec.serve import storing
from codec.serve.replies import KeyReused
from codec.serve.storing import Storing


@pytest.fixture
def calls() -> Iterator[Storing]:
    made = Storing("replies")
    yield made
    made.close()


def test_calls_of_a_store_that_stalls_are_given_up_in_time_and_not_made_later(
    calls: Storing, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, made = threading.Event(), []

    def call(number: int) -> int:
        made.append(number)
        assert gate.wait(20)
        return number

    async def crowd() -> tuple[list[Any], int]:
        asked = (calls.call("a", call, number) for number in range(20))
        given_up = await asyncio.gather(*asked, return_exceptions=True)
        gate.set()
        monkeypatch.setattr(storing, "ANSWER_S", 10.0)
        return given_up, await calls.call("a", call, 99)

    monkeypatch.setattr(storing, "ANSWER_S", 0.3)
    given_up, last = asyncio.run(crowd())
    assert {type(one) for one in given_up} == {OSError}
    assert {str(one) for one in given_up} == {"replies: no answer within 0.3 seconds"}
    assert (made, last) == ([0, 99], 99)


def test_what_a_store_raises_keeps_its_reason(calls: Storing) -> None:
    for error in (TimeoutError("f: another process has kept it"), KeyReused("has come before")):

        def call(error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error), match=str(error)):
            asyncio.run(calls.call("a", call))


def test_more_calls_than_may_wait_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "MOST_WAITING", 2)
    calls, gate, begun = Storing("replies"), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        assert gate.wait(20)

    async def crowd() -> None:
        asked = [asyncio.ensure_future(calls.call("a", call))]
        assert await asyncio.to_thread(begun.wait, 10)
        asked += [asyncio.ensure_future(calls.call("a", call)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="replies: 2 requests wait already"):
            await calls.call("a", call)
        gate.set()
        await asyncio.gather(*asked)

    asyncio.run(crowd())
    calls.close()
