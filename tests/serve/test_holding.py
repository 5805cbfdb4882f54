"""Bodies that are held: bounded together, and for each owner."""

from __future__ import annotations

import pytest

from codec.serve.holding import Bodies
from codec.serve.problems import ProblemError


def test_no_owner_holds_more_than_half_and_all_no_more_than_there_is() -> None:
    bodies = Bodies(100)
    flood = [bodies.held("a") for _ in range(6)]
    for one in flood[:5]:
        one.add(10)
    with pytest.raises(ProblemError, match="its half") as own:
        flood[5].add(10)
    flood[5].end()
    bodies.held("b").add(49)
    bodies.held("c").add(1)
    with pytest.raises(ProblemError, match="of other requests fill") as all_of_them:
        bodies.held("c").add(1)
    assert [one.value.status for one in (own, all_of_them)] == [429, 503]


@pytest.mark.parametrize("owner", ["", "anyone", "mqtt:anyone"])
def test_those_who_do_not_say_who_they_are_are_no_single_device(owner: str) -> None:
    with pytest.raises(ProblemError) as refused:
        Bodies(100).held(owner).add(51)
    assert (refused.value.status, refused.value.retry_after_s) == (503, 1)


def test_what_ends_is_counted_no_more_however_often_it_ends() -> None:
    bodies = Bodies(100)
    one, other = bodies.held("a"), bodies.held("a")
    one.add(20)
    other.add(30)
    for _ in range(2):
        one.end()
        assert bodies.n_bytes == 30
    other.end()
    assert (bodies.n_bytes, len(bodies._of)) == (0, 0)


def test_a_request_without_a_body_goes_on_while_the_memory_is_full() -> None:
    bodies = Bodies(10)
    with pytest.raises(ProblemError):
        bodies.held("a").add(20)
    bodies.held("a").add(0)
