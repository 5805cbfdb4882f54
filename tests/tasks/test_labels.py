"""A label is a typed result, and the dict that it always was."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest

from codec.tasks.labels import Label, best_labels

CAT = Label("cat", 0.75)


def test_a_label_reads_as_dataclass_and_as_dict() -> None:
    plain = {"label": "cat", "score": 0.75}
    assert (CAT.label, CAT.score) == (CAT["label"], CAT["score"]) == ("cat", 0.75)
    assert plain == CAT
    assert plain.__eq__(CAT)
    assert CAT.__eq__(plain)
    assert Label("cat", 0.5) != CAT
    assert {**CAT} == dict(CAT) == dataclasses.asdict(CAT) == plain
    assert json.loads(json.dumps([CAT])) == [plain]
    assert repr(CAT) == "Label(label='cat', score=0.75)"
    assert [field.name for field in dataclasses.fields(CAT)] == list(CAT)
    for other in (pickle.loads(pickle.dumps(CAT)), copy.copy(CAT), copy.deepcopy(CAT)):
        assert type(other) is Label
        assert (other, other.label) == (CAT, "cat")


def test_a_label_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CAT.label = "dog"  # type: ignore[misc]
    with pytest.raises(TypeError, match="does not change"):
        CAT["label"] = "dog"
    with pytest.raises(TypeError, match="does not change"):
        CAT.update(score=1.0)
    with pytest.raises(TypeError, match="does not change"):
        CAT.pop("label")
    assert dict(CAT) == {"label": "cat", "score": 0.75}


def test_the_best_labels_come_first_and_ties_in_order() -> None:
    found = best_labels(np.float32([0.25, 0.5, 0.25]), {0: "a", 1: "b", 2: "c"}, 2)
    assert found == [Label("b", 0.5), Label("a", 0.25)]
    assert type(found[0].score) is float
