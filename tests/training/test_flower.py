"""Flower's apps come to the same rounds as the plain loop; `make flower` runs this, in an
environment with Flower.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

pytest.importorskip("flwr")

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

from training.engine.recipe import plain_values, read_recipe
from training.federated import run
from training.flower import client_app, server_app
from training.flower.replies import read_reply
from training.rounds.privacy import Privacy
from training.rounds.recipe import Clients, FederatedRecipe, Local, Updates

N_CLIENTS = 3


class Near:
    """A grid whose nodes are in this process, from 1 on.

    Args:
        there: nodes that come at all.
        lost: a node that forgets all before round 3.
        dropped: rounds, from 1 on, and nodes whose reply does not arrive.
        lies: nodes, and what each says in the place of the truth from round 2 on.
    """

    def __init__(
        self,
        app: ClientApp,
        run_config: dict[str, Any],
        there: Iterable[int] = range(1, N_CLIENTS + 1),
        lost: int | None = None,
        dropped: Iterable[tuple[int, int]] = (),
        lies: Mapping[int, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        self.app, self.run_config = app, run_config
        self.lost, self.dropped, self.lies = lost, dropped, lies
        self.states = {node: RecordDict() for node in there}
        self.rounds = self.most = 0

    def get_node_ids(self) -> Iterable[int]:
        return list(self.states)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float) -> list[Message]:
        replies = []
        messages = list(messages)
        self.most = max(self.most, *map(n_bytes, messages), 0)
        self.rounds += bool(messages)
        for message in messages:
            node = message.metadata.dst_node_id
            if node == self.lost and self.rounds == 3:
                self.states[node], self.lost = RecordDict(), None
            place = {"partition-id": node - 1, "num-partitions": N_CLIENTS}
            context = Context(1, node, place, self.states[node], self.run_config)
            try:
                reply = self.app(message, context)
                if self.rounds > 1 and node in self.lies:
                    reply.content["reply"] = ConfigRecord(
                        {**reply.content["reply"], **self.lies[node]}  # type: ignore[dict-item]
                    )
                if (self.rounds, node) not in self.dropped:
                    replies.append(reply)
            except Exception as error:
                replies.append(Message(Error(code=1, reason=str(error)), reply_to=message))
        return replies


def n_bytes(message: Message) -> int:
    """Of the weights or the changes in it."""
    content: Any = message.content
    arrays = content["arrays"].values() if "arrays" in content else ()
    return sum(a.numpy().nbytes for a in arrays) + sum(map(len, content["config"].get("blobs", ())))


@pytest.fixture
def recipe(labelled: Path, tmp_path: Path) -> FederatedRecipe:
    values = FederatedRecipe(
        name="small",
        data=str(labelled),
        train_split="train[:18]",
        validation_split="train[18:]",
        test_split="test",
        rounds=4,
        widths=(8, 8),
        clients=Clients(n=N_CLIENTS, absence=0.2),
        updates=Updates("coded", 20, 10),
        local=Local(epochs=1, batch_size=3, lr=0.02, bf16=False),
    )
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(plain_values(values)))
    return read_recipe(FederatedRecipe, tmp_path / "small.yaml")


def on_flower(recipe: FederatedRecipe, out: Path, **faults: Any) -> Near:
    config: dict[str, Any] = {"recipe": recipe.file, "overrides": "", "out": str(out)}
    config |= {"wait-for-clients-s": 0, "wait-for-replies-s": 9}
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 1
    grid = Near(client_app.app, config, **faults)
    server_app.app(grid, Context(1, 0, {}, RecordDict(), config))  # type: ignore[arg-type]
    return grid


def lines_of(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    for line in lines:
        del line["cpu_s"]
    return lines


def test_both_engines_come_to_the_same_rounds(recipe: FederatedRecipe, tmp_path: Path):
    (tmp_path / "plain").mkdir()
    run(recipe, tmp_path / "plain")
    on_flower(recipe, tmp_path / "flower")
    assert lines_of(tmp_path / "flower") == lines_of(tmp_path / "plain")
    results = [(tmp_path / name / "result.json").read_text() for name in ("plain", "flower")]
    assert results[0] == results[1]


def present_by(monkeypatch: pytest.MonkeyPatch, *there: tuple[int, ...]) -> None:
    """Say for each round who takes part."""
    for module in ("training.rounds.loop", "training.flower.mod"):
        monkeypatch.setattr(f"{module}.present", lambda clients, seed, number: there[number])


def test_a_client_that_is_left_out_and_then_away_goes_on_alike(
    recipe: FederatedRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    present_by(monkeypatch, (0, 1, 2), (0, 1, 2), (0, 1), (0, 1, 2))
    ends = {}
    (tmp_path / "plain").mkdir()
    for name, engine in (("plain", run), ("flower", on_flower)):
        late = iter([{}, {2: "it takes too long"}, {}, {}])
        monkeypatch.setattr(
            "training.rounds.ending.late", lambda link, taken, late=late: next(late)
        )
        engine(recipe, tmp_path / name)
        ends[name] = lines_of(tmp_path / name)
    assert list(ends["plain"][1]["left_out"]) == ["2"]
    assert ends["flower"] == ends["plain"]


def test_who_missed_much_is_sent_the_weights_in_its_place(
    recipe: FederatedRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "small.yaml").write_text(
        yaml.safe_dump(plain_values(replace(recipe, updates=Updates())))
    )
    recipe = read_recipe(FederatedRecipe, tmp_path / "small.yaml")
    present_by(monkeypatch, (0, 1, 2), (0, 1), (0, 1), (0, 1, 2))
    grid = on_flower(recipe, tmp_path / "flower")
    (tmp_path / "plain").mkdir()
    run(recipe, tmp_path / "plain")
    assert lines_of(tmp_path / "flower") == lines_of(tmp_path / "plain")
    n_weights = json.loads((tmp_path / "flower" / "result.json").read_text())["n_weights"]
    assert grid.most == 4 * n_weights


def test_a_reply_that_gets_lost_is_as_if_its_client_had_been_away(
    recipe: FederatedRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    present_by(monkeypatch, *[(0, 1, 2)] * 4)
    on_flower(recipe, tmp_path / "flower", dropped=((2, 3),))
    present_by(monkeypatch, (0, 1, 2), (0, 1), (0, 1, 2), (0, 1, 2))
    (tmp_path / "plain").mkdir()
    run(recipe, tmp_path / "plain")
    assert lines_of(tmp_path / "flower") == lines_of(tmp_path / "plain")


def test_a_client_that_lost_its_state_is_sent_the_weights(recipe: FederatedRecipe, tmp_path: Path):
    on_flower(recipe, tmp_path, lost=2)
    lines = lines_of(tmp_path)
    assert len(lines) == 4
    assert 1 in lines[2]["away"]  # it said that it is behind
    assert lines[3]["left_out"] == {}


def test_a_server_goes_on_from_its_last_round(recipe: FederatedRecipe, tmp_path: Path):
    on_flower(recipe, tmp_path)
    for name in ("rounds/checkpoint-4.safetensors", "result.json"):
        (tmp_path / name).unlink()
    on_flower(recipe, tmp_path)
    assert [line["round"] for line in lines_of(tmp_path)] == [1, 2, 3, 4]
    assert (tmp_path / "result.json").is_file()


def test_a_node_that_says_it_is_another_client_is_not_believed(
    recipe: FederatedRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    present_by(monkeypatch, *[(0, 1, 2)] * 4)
    on_flower(recipe, tmp_path / "flower", lies={3: {"client": 0}})
    present_by(monkeypatch, (0, 1, 2), *[(0, 1)] * 3)
    (tmp_path / "plain").mkdir()
    run(recipe, tmp_path / "plain")
    assert lines_of(tmp_path / "flower") == lines_of(tmp_path / "plain")


def test_how_many_pictures_a_client_has_is_known_and_not_asked(
    recipe: FederatedRecipe, tmp_path: Path
):
    on_flower(recipe, tmp_path / "flower", lies={1: {"n-pictures": 10**9}, 2: {"n-pictures": -6}})
    (tmp_path / "plain").mkdir()
    run(recipe, tmp_path / "plain")
    assert lines_of(tmp_path / "flower") == lines_of(tmp_path / "plain")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"client": 3}, "client 3, and there are 0 to 2"),
        ({"client": -1}, "client -1, and there are 0 to 2"),
        ({"client": "1"}, "client '1', and there are 0 to 2"),
        ({"client": True}, "client True, and there are 0 to 2"),
        ({"client": 1, "said": "ahead"}, "client 1 says 'ahead', and not one of learned, away"),
        ({"client": 1, "said": "learned", "blob": "text"}, "client 1 learned, and .* not bytes"),
        (None, "no reply"),
    ],
)
def test_what_a_reply_cannot_say_is_refused_by_name(said: dict[str, Any] | None, reason: str):
    asked = Message(content=RecordDict(), message_type="train", dst_node_id=1)
    content = RecordDict({} if said is None else {"reply": ConfigRecord(said)})
    with pytest.raises(ValueError, match=reason):
        read_reply(Message(content=content, reply_to=asked), 3)


@pytest.fixture
def no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sleeps on and on is a failed test."""
    naps = iter(range(5))
    monkeypatch.setattr("time.sleep", lambda seconds: next(naps))


@pytest.mark.usefixtures("no_end")
def test_a_device_that_never_comes_is_waited_for_no_longer_than_said(
    recipe: FederatedRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    present_by(monkeypatch, *[(0, 1, 2)] * 4)
    on_flower(recipe, tmp_path / "flower", there=(1, 2))
    present_by(monkeypatch, *[(0, 1)] * 4)
    (tmp_path / "plain").mkdir()
    run(recipe, tmp_path / "plain")
    assert lines_of(tmp_path / "flower") == lines_of(tmp_path / "plain")


@pytest.mark.usefixtures("no_end")
def test_a_server_that_nobody_comes_to_or_replies_to_ends_and_says_why(
    recipe: FederatedRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(TimeoutError, match="no client came in 0 s"):
        on_flower(recipe, tmp_path / "nobody", there=())
    present_by(monkeypatch, *[(0, 1, 2)] * 4)
    silent = [(number, node) for number in range(2, 99) for node in (1, 2, 3)]
    with pytest.raises(RuntimeError, match=r"in round 2, asked for 3 times: node 1: it did not"):
        on_flower(recipe, tmp_path / "silent", dropped=silent)
    monkeypatch.setattr("training.flower.client_app.learn", _broken)
    with pytest.raises(RuntimeError, match=r"node 3: it failed: .*broken"):
        on_flower(recipe, tmp_path / "broken")


def _broken(*_: Any) -> Any:
    raise OSError("broken")


def test_privacy_clips_adds_noise_and_says_what_it_promises(
    recipe: FederatedRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    heard: list[str] = []
    monkeypatch.setattr(
        "training.flower.strategy.log", lambda level, text, *values: heard.append(text % values)
    )
    whole = replace(recipe, updates=Updates(), rounds=1, clients=Clients(n=N_CLIENTS))
    ends = {}
    for name, privacy in (("plain", None), ("noisy", Privacy(0.1, 0.5))):
        said = replace(whole, privacy=privacy)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(plain_values(said)))
        on_flower(read_recipe(FederatedRecipe, tmp_path / f"{name}.yaml"), tmp_path / name)
        ends[name] = load_file(tmp_path / name / "model.safetensors")
    far = np.concatenate([(ends["noisy"][n] - ends["plain"][n]).ravel() for n in ends["plain"]])
    wanted = Privacy(0.1, 0.5).noise / N_CLIENTS**0.5  # the mean of three messages
    assert 0.8 * wanted < far.std() < 1.2 * wanted
    assert any(text.startswith("privacy of each client so far: epsilon 0.5,") for text in heard)
