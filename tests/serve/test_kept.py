"""What the server keeps: bounded, and each thing its owner's."""

from __future__ import annotations

import pytest

from codec.serve.kept import Kept


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_thing_comes_back_to_its_owner_alone() -> None:
    kept: Kept[str] = Kept(10, 100, 60)
    name = kept.put("a", "thing", 5)
    assert kept.get("a", name) == "thing"
    assert kept.get("b", name) is None
    assert kept.get("a", "other") is None
    assert not kept.remove("b", name)
    assert kept.remove("a", name)
    assert (len(kept), kept.n_bytes) == (0, 0)


def test_names_cannot_be_guessed() -> None:
    kept: Kept[int] = Kept(1000, 1000, 60)
    names = {kept.put("a", i, 1) for i in range(1000)}
    assert len(names) == 1000
    assert min(map(len, names)) >= 16


def test_the_oldest_goes_where_number_or_bytes_run_out() -> None:
    kept: Kept[int] = Kept(3, 10, 60)
    names = [kept.put("a", i, 1) for i in range(4)]
    assert [kept.get("a", name) for name in names] == [None, 1, 2, 3]
    big = kept.put("a", 9, 9)
    assert [kept.get("a", name) for name in names] == [None, None, None, 3]
    assert (kept.get("a", big), kept.n_bytes) == (9, 10)
    with pytest.raises(ValueError, match="more than the 10"):
        kept.put("a", 0, 11)


def test_what_is_too_old_is_gone() -> None:
    clock = Clock()
    kept: Kept[int] = Kept(10, 100, 60, clock)
    old = kept.put("a", 1, 1)
    clock.now = 50
    young = kept.put("a", 2, 1)
    clock.now = 61
    assert kept.get("a", old) is None
    assert kept.get("a", young) == 2
    clock.now = 200
    kept.put("a", 3, 1)
    assert len(kept) == 1
