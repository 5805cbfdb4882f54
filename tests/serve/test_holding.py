"""Bodies that are held: bounded together, and for each owner."""

from __future__ import annotations

import pytest

from codec.serve.holding import Bodies, Held
from codec.serve.problems import ProblemError


def status_of(held: Held, n_bytes: int) -> int:
    """What becomes of a body: 200, or the status of its refusal; then it is not held."""
    try:
        held.add(n_bytes)
    except ProblemError as problem:
        held.end()
        return problem.status
    return 200


def test_an_owner_holds_at_most_half_of_what_the_others_leave() -> None:
    bodies = Bodies(160)
    for owner, n_bytes in (("a", 80), ("b", 40), ("c", 20), ("d", 10)):
        assert status_of(bodies.held(owner), n_bytes + 1) in (429, 503)
        assert status_of(bodies.held(owner), n_bytes) == 200
        assert status_of(bodies.held(owner), 1) == (429 if owner == "a" else 503)
    assert bodies.n_bytes == 150


def test_what_an_owner_gives_back_is_there_for_the_others() -> None:
    bodies = Bodies(160)
    first, second = bodies.held("a"), bodies.held("b")
    first.add(80)
    assert status_of(bodies.held("b"), 50) == 503
    first.end()
    second.add(80)
    assert status_of(bodies.held("b"), 1) == 429


@pytest.mark.parametrize("n_owners", [1, 2, 3, 10, 1000])
def test_however_many_fill_their_shares_the_next_one_has_room(n_owners: int) -> None:
    bodies = Bodies(1 << 28)
    for number in range(n_owners):
        for size in (1 << 24, 1 << 16, 64):  # as much as it can get
            while status_of(bodies.held(str(number)), size) == 200:
                pass
    assert bodies.n_bytes < 1 << 28
    assert status_of(bodies.held("new"), 32) == 200


def test_a_refusal_says_whose_bodies_fill_the_memory() -> None:
    bodies = Bodies(100)
    bodies.held("a").add(50)
    with pytest.raises(ProblemError, match="its share"):
        bodies.held("a").add(1)
    with pytest.raises(ProblemError, match="of other requests fill"):
        bodies.held("b").add(30)


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
