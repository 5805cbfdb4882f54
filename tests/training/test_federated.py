"""python -m training.federated: clients learn together, over drop-outs, poison, lateness and
kills.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file
from torch import nn

from codec import BitstreamError, FeatureCodec
from codec.updates import Budget, UpdateState, encode_update
from training.codecs.recipe import CodecRecipe
from training.engine.recipe import plain_values, read_recipe
from training.federated import run
from training.rounds import loop, opening
from training.rounds.codec_learner import own_recipe
from training.rounds.messages import coding_of, left_before, send
from training.rounds.partition import share_out
from training.rounds.privacy import Privacy
from training.rounds.recipe import Clients, FederatedRecipe, Link, Local, Partition, Updates
from training.rounds.server import Reply, agree
from training.rounds.weights import Key, Weights, less, norm_of
from training.train import run as train


@pytest.fixture
def recipe(labelled: Path) -> FederatedRecipe:
    return FederatedRecipe(
        name="small",
        data=str(labelled),
        train_split="train[:18]",
        validation_split="train[18:]",
        test_split="test",
        rounds=3,
        widths=(8, 8),
        clients=Clients(n=3),
        local=Local(epochs=1, batch_size=3, lr=0.02, bf16=False),
    )


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]


def weights(seed: int, scale: float = 1.0) -> Weights:
    rng = np.random.default_rng(seed)
    shapes = {"a": (40, 9), "b": (7,), "c": (3, 3, 3, 11)}
    return {n: (scale * rng.standard_normal(s)).astype(np.float32) for n, s in shapes.items()}


def changed(before: Weights, seed: int) -> Weights:
    return {n: before[n] + 0.01 * value for n, value in weights(seed).items()}


def test_a_run_writes_its_rounds_its_partition_and_its_result(
    recipe: FederatedRecipe, tmp_path: Path
):
    score = run(recipe, tmp_path)
    lines = lines_of(tmp_path)
    assert [line["round"] for line in lines] == [1, 2, 3]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["test_accuracy"] == score
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(result["right"]), np.uint8))
    assert 100 * bits.sum() / result["n_images"] == score
    assert result["n_images"] == 16
    assert result["sha256"] == lines[-1]["sha256"]
    for line in lines:
        assert list(line["bytes_up"].values()) == [4 * result["n_weights"]] * 3
        assert list(line["bytes_down"].values()) == [4 * result["n_weights"]] * 3
        n = 4 * result["n_weights"]
        assert line["link_s"] == pytest.approx(n / 250_000 + n / 500_000)
    held = json.loads((tmp_path / "partition.json").read_text())["pictures"]
    assert sorted(chain(*held)) == list(range(18))


class KilledError(Exception):
    """What stands for the end of the process."""


@pytest.mark.parametrize("codec", ["none", "coded"])
def test_a_killed_run_ends_at_the_same_weights(
    recipe: FederatedRecipe, codec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    updates = Updates(codec=codec, rate=20, down_rate=10)
    recipe = replace(recipe, updates=updates, clients=replace(recipe.clients, absence=0.3))
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    run(recipe, tmp_path / "whole")
    calls = 0

    def learn(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:  # in the middle of a round
            raise KilledError
        return whole(*args)

    whole = loop.learn
    monkeypatch.setattr(loop, "learn", learn)
    with pytest.raises(KilledError):
        run(recipe, tmp_path / "killed")
    assert 1 <= len(lines_of(tmp_path / "killed")) < 3
    newest = max((tmp_path / "killed" / "rounds").iterdir())
    (newest.parent / "checkpoint-9.safetensors").write_bytes(newest.read_bytes()[:-9])  # cut short
    run(recipe, tmp_path / "killed")
    one, other = lines_of(tmp_path / "whole"), lines_of(tmp_path / "killed")
    for line in (*one, *other):
        del line["cpu_s"]
    assert one == other


def test_a_client_that_was_away_catches_up(recipe: FederatedRecipe, tmp_path: Path):
    recipe = replace(recipe, rounds=6, clients=replace(recipe.clients, absence=0.5))
    run(recipe, tmp_path)
    lines = lines_of(tmp_path)
    one = 4 * json.loads((tmp_path / "result.json").read_text())["n_weights"]
    back = [
        (line, str(client))
        for before, line in pairwise(lines)
        for client in before["away"]
        if client not in line["away"]
    ]
    assert back
    # one message more than the others, or the weights as they are: as many bytes in float32
    assert all(line["bytes_down"][client] == 2 * one for line, client in back)


def test_a_poisoned_change_is_left_out_and_reported(recipe: FederatedRecipe, tmp_path: Path):
    run(replace(recipe, rounds=1, clients=Clients(n=3, poisoned=(1,))), tmp_path)
    (line,) = lines_of(tmp_path)
    assert list(line["left_out"]) == ["1"]
    assert "norm" in line["left_out"]["1"]


def test_what_is_not_finite_or_not_a_message_is_left_out():
    before = weights(0)
    plain = coding_of(Updates(), 0)
    bad = changed(before, 3) | {"b": np.full(7, np.nan, np.float32)}
    replies = {
        3: Reply(b"", 10),
        2: Reply(plain.encode(before, changed(before, 2), Key(0, 0, 0)), 10),
        0: Reply(plain.encode(before, bad, Key(0, 0, 0)), 10),
        1: Reply(b"short", 10),
    }
    end = agree(before, replies, plain, plain, None, 10.0, Key(0, 0, 0))
    assert "not finite" in end.left_out[0]
    assert "cannot be read" in end.left_out[1]
    assert "says" in end.left_out[3]
    np.testing.assert_allclose(end.weights["a"], changed(before, 2)["a"], rtol=1e-6)


def test_an_old_message_of_ours_is_left_out():
    before, coded = weights(0), coding_of(Updates(codec="coded"), 10)
    old = Reply(coded.encode(before, changed(before, 2), Key(0, 4, 1)), 10)
    end = agree(before, {0: old}, coded, coded, None, 10.0, Key(0, 5, 0))
    assert "of round 4, not of round 5" in end.left_out[0]


def test_a_round_in_which_all_are_left_out_changes_nothing():
    before, plain = weights(0), coding_of(Updates(), 0)
    end = agree(before, {0: Reply(b"", 1)}, plain, plain, None, 10.0, Key(0, 0, 0))
    assert norm_of(less(end.weights, before)) == 0


@pytest.mark.usefixtures("uncompiled")
def test_a_backbone_goes_on_learning(recipe: FederatedRecipe, tiny_backbone: Path, tmp_path: Path):
    updates = Updates("coded", 50, 20)
    run(replace(recipe, start=str(tiny_backbone), rounds=2, updates=updates), tmp_path)
    start = opening.load_backbone(str(tiny_backbone), Path())
    n_weights = sum(p.numel() for p in start.parameters())
    assert json.loads((tmp_path / "result.json").read_text())["n_weights"] == n_weights
    one, other = (line["sha256"] for line in lines_of(tmp_path))
    assert one != other
    for line in lines_of(tmp_path):
        assert all(n <= 4 * n_weights / 50 for n in line["bytes_up"].values())


@pytest.mark.long
@pytest.mark.usefixtures("uncompiled")
def test_a_codec_goes_on_learning_and_is_another_codec_then(
    recipe: FederatedRecipe,
    make_recipe: Callable[..., CodecRecipe],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    own = make_recipe(Path(recipe.data))
    own = replace(own, match=replace(own.match, epochs=0), answer=replace(own.answer, epochs=0))
    before = train(own, tmp_path / "begun")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(plain_values(own)))
    start, codec = str(tmp_path / "begun" / "final"), str(tmp_path / "small.yaml")
    with pytest.raises(ValueError, match=r"local\.batch_size is a multiple of 2"):
        run(replace(recipe, start=start, codec=codec), tmp_path)
    recipe = replace(recipe, local=replace(recipe.local, batch_size=4))
    updates = Updates("coded", 20, 10)
    run(replace(recipe, start=start, codec=codec, rounds=2, updates=updates), tmp_path)
    after = FeatureCodec.from_pretrained(tmp_path / "final")
    assert after.fingerprint != before.fingerprint
    assert f"codec {after.fingerprint.hex()[:16]} in " in capsys.readouterr().out
    card = (tmp_path / "final" / "README.md").read_text()
    assert "training.federated" in card
    assert f"Chosen on `{own.validation_split}`: the default quality." in card
    ended = load_file(tmp_path / "model.safetensors")
    learned = {name.removeprefix("codec.") for name in ended}
    assert not any(name.startswith("prior.") for name in ended)  # it is not sent
    assert learned <= {name for name, p in after.named_parameters()} | {"log_gain"}
    assert {"log_gain"} < learned
    for name, weights in ended.items():
        given = dict(after.named_parameters())[name.removeprefix("codec.")]
        assert np.allclose(given.detach().numpy(), weights, atol=1e-2), name  # kept in float16
    sizes = [n for line in lines_of(tmp_path) for n in line["bytes_up"].values()]
    assert max(sizes) <= 4 * sum(value.size for value in ended.values()) / 20


def test_a_codec_is_fitted_and_measured_on_pictures_of_the_servers_own(recipe: FederatedRecipe):
    name = "vit-tiny-cifar10-codec"
    given = read_recipe(CodecRecipe, name)
    recipe = replace(recipe, codec=name, local=replace(recipe.local, batch_size=64))
    own = own_recipe(recipe)
    assert (own.data, own.train_split) == (recipe.data, given.validation_split)
    assert own.calibration_split == given.calibration_split != own.train_split
    assert own.answer.epochs == 0  # clients learn, by rounds


def test_a_codec_with_words_is_refused(recipe: FederatedRecipe, tmp_path: Path):
    with pytest.raises(ValueError, match="clients learn from labels"):
        run(replace(recipe, codec="blip-tiny-scenes-codec"), tmp_path)


def test_a_straggler_is_left_out_after_the_deadline(recipe: FederatedRecipe, tmp_path: Path):
    clients = Clients(n=3, picture_s=0.5, slowness=(1, 1, 9))
    run(replace(recipe, clients=clients, link=Link(deadline_s=10)), tmp_path)
    for line in lines_of(tmp_path):
        assert list(line["left_out"]) == ["2"]
        assert "more than 10" in line["left_out"]["2"]
        assert line["learning_s"] == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("codec", "rate", "fewer"),
    [
        ("coded", 20, 20),
        ("float16", 0, 2),
        ("qsgd8", 0, 3.8),
        ("qsgd4", 0, 7),
        ("topk", 0.05, 15),
        ("zstd", 1, 7),
    ],
)
def test_what_messages_leave_out_comes_later(codec: Any, rate: float, fewer: float):
    updates = Updates(codec=codec, rate=rate)
    coding = coding_of(updates, rate)
    start, wanted = weights(0), changed(weights(0), 1)
    there, left = start, left_before(updates, None)
    n_bytes = []
    for number in range(40):
        key = Key(0, number, 0)
        # the first message has all of the change to tell, later ones what is left
        sent = send(coding, there, wanted if not number else there, left, key)
        there, left = coding.decode(there, sent.blob, key), sent.left
        n_bytes.append(len(sent.blob))
    assert n_bytes[0] * fewer <= 4 * sum(value.size for value in start.values())
    assert norm_of(less(there, wanted)) < 0.05 * norm_of(less(wanted, start))
    with pytest.raises(BitstreamError):
        coding.decode(there, sent.blob[:-1], key)


@pytest.mark.parametrize("codec", ["coded", "float16", "qsgd8", "qsgd4", "topk", "zstd"])
def test_what_is_left_out_is_not_lost_beside_large_weights(codec: Any):
    before = {"a": np.full((40, 40), 4096, np.float32)}  # whose last bit is 0.0005
    after = {"a": before["a"].copy()}
    after["a"][0] += 1
    left = {"a": np.full((40, 40), 1e-5, np.float32)}
    coding = coding_of(Updates(codec=codec), {"coded": 20, "topk": 0.05}.get(codec, 1))
    sent = send(coding, before, after, left, Key(0, 3, 0))
    assert sent.left is not None
    same = coding.decode(before, sent.blob, Key(0, 3, 0))["a"] == before["a"]
    assert same.sum() > 1000
    assert (sent.left["a"][same] >= np.float32(1e-5)).all()
    if codec == "coded":  # it is that of `codec.updates`
        state = UpdateState(left)
        assert encode_update(before, after, Budget(320), state, 3) == sent.blob
        np.testing.assert_array_equal(state.residual["a"], sent.left["a"])


def test_privacy_adds_up_over_rounds_and_is_flower_s_to_give(
    recipe: FederatedRecipe, tmp_path: Path
):
    privacy = Privacy(clip=1.0, epsilon=0.1, delta=1e-6)
    assert privacy.noise == pytest.approx(2 * 5.2990 / 0.1, rel=1e-4)
    assert privacy.after(1) == (0.1, 1e-6)
    epsilon, delta = privacy.after(400)  # 40 by plain composition
    assert epsilon == pytest.approx(0.1 * (2 * 400 * 13.8155) ** 0.5 + 40 * 0.1051709, rel=1e-5)
    assert delta == pytest.approx(401e-6)
    with pytest.raises(ValueError, match=r"privacy\.epsilon and privacy\.delta are in"):
        Privacy(clip=1.0, epsilon=8.0)
    with pytest.raises(ValueError, match="start this recipe by `flwr run`"):
        run(replace(recipe, privacy=privacy), tmp_path)


def test_the_largest_changes_keep_their_sign():
    before = {"a": np.zeros(400_000, np.float32)}
    after = {"a": np.ones(400_000, np.float32)}
    for codec in ("qsgd8", "qsgd4"):
        coding = coding_of(Updates(codec), 0)
        blob = coding.encode(before, after, Key(0, 0, 1))
        assert coding.decode(before, blob, Key(0, 0, 1))["a"].min() > 0


def test_a_model_with_running_statistics_is_refused(
    recipe: FederatedRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model.config = SimpleNamespace(id2label={0: "a"})
    monkeypatch.setattr(opening, "load_backbone", lambda *_: model)
    with pytest.raises(ValueError, match="running statistics"):
        run(replace(recipe, start="resnet"), tmp_path)


def test_what_is_wrong_with_a_recipe_is_said_before_anybody_learns(
    recipe: FederatedRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "learn", lambda *_: pytest.fail("a client learned"))
    with pytest.raises(ValueError, match="topk's rate is a share"):
        run(replace(recipe, updates=Updates("topk", 0.01, 30)), tmp_path)
    with pytest.raises(ValueError, match="widths are multiples of 4"):
        run(replace(recipe, image_size=30), tmp_path)


def test_each_picture_is_one_client_s_and_labels_differ_by_alpha():
    labels = [i % 10 for i in range(2000)]

    def spread(partition: Partition) -> float:
        shares = share_out(labels, 5, partition)
        assert sorted(chain(*shares)) == list(range(2000))
        counts = [np.bincount([labels[i] for i in own], minlength=10) / len(own) for own in shares]
        return float(np.std(counts, axis=0).mean())

    assert spread(Partition()) < spread(Partition(alpha=5)) < spread(Partition(alpha=0.3))
    assert share_out(labels, 5, Partition(seed=1)) != share_out(labels, 5, Partition(seed=2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Partition(alpha=0), "alpha"),
        (lambda: Clients(n=0), r"clients\.n"),
        (lambda: share_out([0, 1], 3, Partition()), "client 2 of 3 has none"),
        (lambda: coding_of(Updates(codec="topk"), 0), "share"),
        (lambda: Link(up_bytes_s=0), r"link\.up_bytes_s and"),
        (lambda: Link(profile="nobody"), "nobody"),
    ],
)
def test_a_wrong_number_is_refused_by_name(make: Callable[[], Any], message: str):
    with pytest.raises(ValueError, match=message):
        make()
