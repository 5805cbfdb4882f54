"""Fixtures of all tests: a tiny random backbone and a tiny codec cut from it. Random weights, no
network.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from codec.coding.integer_prior import IntegerPrior
from codec.device.preprocess import Preprocess
from codec.model import FeatureCodec
from codec.model.backbone import load_backbone
from codec.model.config import Calibration, CodecConfig
from codec.model.density import ContextPrior
from codec.model.freezing import freeze

if TYPE_CHECKING:
    from training.codecs.recipe import CodecRecipe

LABELS = ("cat", "dog", "ship", "truck")
SECONDS = {"not long": 0.2, "": 0.5}
"""What one test of `make test`, and of `make test-all`, takes on one core, in the mean."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests come first: two workers take file after file, and a long one at the end
    would keep only one of them busy.
    """
    long = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in long)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """Says before the tests start how many they are and how long they take."""
    chosen = node.config.option.markexpr
    if node.gateway.id == "gw0" and chosen in SECONDS:
        minutes = max(1, round(len(ids) * SECONDS[chosen] / 2 / 60))
        reporter = node.config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line(f"about {len(ids)} tests, about {minutes} minutes on 2 cores")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The coder in C is compiled into a folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random ViT for 32 x 32 pixels: 16 tokens and CLS, 32 wide, 3 blocks, 4 labels."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(1)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        label2id={name: i for i, name in enumerate(LABELS)},
    )
    model = ViTForImageClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(40)  # answers that depend on the picture
    folder = tmp_path_factory.mktemp("tiny") / "backbone"
    model.save_pretrained(folder)
    processor = {
        "size": {"height": 32, "width": 32},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "resample": 2,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.fixture(scope="session")
def make_prior() -> Callable[..., IntegerPrior]:
    """Function (side, n_channels, n_qualities, seed, log_gain, symbols by quality) -> a random
    frozen prior whose choices vary.
    """

    def make(
        side: int,
        n_channels: int,
        n_qualities: int,
        seed: int = 0,
        log_gain: torch.Tensor | None = None,
        symbols: list[Any] | None = None,
    ) -> IntegerPrior:
        torch.manual_seed(seed)
        prior = ContextPrior(side, n_channels, n_qualities, n_hidden=8)
        with torch.no_grad():
            prior.out.normal_(0, 0.3)
            prior.out_bias.normal_(0, 0.3)
        if symbols is None:
            draws = np.random.default_rng(seed).laplace(
                0, 1.5, (n_qualities, 100, side**2, n_channels)
            )
            symbols = list(np.rint(draws).astype(np.int32))
        return freeze(
            prior,
            torch.zeros(n_qualities, n_channels) if log_gain is None else log_gain,
            lambda: enumerate(symbols),
        )

    return make


@pytest.fixture(scope="session")
def make_codec(
    tiny_backbone: Path, make_prior: Callable[..., IntegerPrior]
) -> Callable[..., FeatureCodec]:
    """Function (seed, **changes of the configuration) -> a random codec with a prior, its symbols
    spread over many integers.
    """

    def make(seed: int = 2, **changes: object) -> FeatureCodec:
        torch.manual_seed(seed)
        values: dict[str, object] = {
            "name": "tiny",
            "backbone": str(tiny_backbone),
            "k": 1,
            "encoder": "student",
            "side": 4,
            "n_channels": 6,
            "n_qualities": 3,
            "default_quality": 1,
            "preprocess": Preprocess.from_processor(tiny_backbone / "preprocessor_config.json"),
            "student_widths": (8, 8, 8),
            "student_depths": (1, 0, 0),
            "adapter_rank": 2,
            "calibration": tuple(
                Calibration(100, 20.0 + 10 * q, drop, 95.0)
                for q, drop in enumerate((4.0, 1.0, 0.25))
            ),
        }
        config = CodecConfig(**(values | changes))  # type: ignore[arg-type]
        codec = FeatureCodec(
            config,
            {
                task: load_backbone(reference, Path())
                for task, reference in config.backbones.items()
            },
        )
        with torch.no_grad():
            codec.log_gain.copy_(
                torch.linspace(0.7, 2.1, config.n_qualities)[:, None].expand_as(codec.log_gain)
            )
            codec.encoder.project.weight.mul_(4)  # type: ignore[union-attr,operator]
            codec.synthesis.prefix.normal_()
        codec.round_weights()  # the prior is of the weights that are stored
        pixels = torch.randn(64, 3, 32, 32)
        codec.set_prior(
            make_prior(
                4,
                config.n_channels,
                config.n_qualities,
                seed,
                codec.log_gain,
                [codec.symbols(pixels, q) for q in codec.qualities],
            )
        )
        return codec

    return make


@pytest.fixture(scope="session")
def tiny_codec_folder(
    make_codec: Callable[..., FeatureCodec], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a random codec of 3 qualities, with its backbone inside, as `save_pretrained`
    writes it.
    """
    folder = tmp_path_factory.mktemp("codecs") / "tiny"
    make_codec().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_codec(tiny_codec_folder: Path) -> FeatureCodec:
    """The codec in `tiny_codec_folder`, loaded. Shared: a test that changes it loads its own."""
    return FeatureCodec.from_pretrained(tiny_codec_folder)


@pytest.fixture(scope="session")
def tiny_blips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random captioner and question answerer that share one vision tower."""
    from tests import tiny_blip

    folder = tmp_path_factory.mktemp("blip") / "backbones"
    tiny_blip.write_pair(folder)
    return folder


@pytest.fixture(scope="session")
def make_blip_codec(
    make_codec: Callable[..., FeatureCodec], tiny_blips: Path
) -> Callable[..., FeatureCodec]:
    """Function (seed, **changes of the configuration) -> a random codec for captions and
    answers.
    """
    from tests import tiny_blip

    preprocess = Preprocess.from_processor(tiny_blips / "image-to-text")
    values = {
        "name": "tiny-blip",
        "backbone": str(tiny_blips),
        "task": tiny_blip.BOTH,
        "preprocess": preprocess,
    }

    def make(seed: int = 3, **changes: object) -> FeatureCodec:
        return make_codec(seed, **(values | changes))

    return make


@pytest.fixture(scope="session")
def tiny_blip_folder(
    make_blip_codec: Callable[..., FeatureCodec], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a random codec for captions and answers, its adapters at work, with its backbones
    inside.
    """
    codec = make_blip_codec()
    with torch.no_grad():
        for name, p in codec.own_parameters().items():
            if name.endswith(".up"):
                p.normal_(0, 0.2)
    codec.round_weights()
    codec = codec.with_config()  # its fingerprint is of the new weights
    folder = tmp_path_factory.mktemp("codecs") / "tiny-blip"
    codec.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_blip_codec(tiny_blip_folder: Path) -> FeatureCodec:
    """The codec in `tiny_blip_folder`, loaded. Shared: a test that changes it loads its own."""
    return FeatureCodec.from_pretrained(tiny_blip_folder)


@pytest.fixture(scope="session")
def traced(
    make_codec: Callable[..., FeatureCodec], make_blip_codec: Callable[..., FeatureCodec]
) -> Callable[[str], tuple[FeatureCodec, Any]]:
    """Function (kind of encoder) -> a random codec with dead zones, and its encoder's graph as
    torch writes it.

    `student`, `folded-student` and `blocks` are of a ViT, `blip-student` and `blip-blocks` of the
    BLIP models.
    """
    from codec.bundle.tracing import trace

    @functools.cache
    def make(encoder: str) -> tuple[FeatureCodec, Any]:
        make_one = make_blip_codec if encoder.startswith("blip-") else make_codec
        folded = (
            {"fold": 2, "student_widths": (8,) * 4, "student_depths": (1, 0, 0, 0)}
            if encoder.startswith("folded-")
            else {}
        )
        codec = make_one(encoder=encoder.rpartition("-")[2], dead_zone=(0.2, 0.1, 0.0), **folded)
        return codec, trace(codec.encoder, 32)

    return make


@pytest.fixture(scope="session")
def bundles(
    traced: Callable[[str], tuple[FeatureCodec, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Function (target) -> the bundle of a random student codec. Shared: a test that changes one
    copies it.
    """
    from codec.bundle.export import export_bundle

    @functools.cache
    def make(target: str) -> Path:
        codec, graph = traced("student")
        return export_bundle(
            codec, tmp_path_factory.mktemp("bundles") / target, target, traced=graph
        )

    return make


@pytest.fixture(scope="session")
def own_root(tiny_codec_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of shipped codecs: `tiny` with a sweep, and a random classifier for its device
    alone.
    """
    from codec.model.alone import AloneShape, DeviceAlone, save_alone

    root = tmp_path_factory.mktemp("own") / "pretrained"
    shutil.copytree(tiny_codec_folder, root / "tiny")
    base = {"task": "image-classification", "decode_ms": 1.0, "bytes_p50": 9.0, "bytes_p95": 9.0}
    rows = [
        base | {"codec": name, "quality": q, "score": score, "bytes_mean": n, "encode_ms": ms}
        for name, q, score, n, ms in (
            *(("tiny", q, 70.0 + q, 20.0 + q, 9.0) for q in range(3)),
            ("webp@24", 50, 80.0, 400.0, 2.0),
            ("device-alone", None, 60.0, 1.0, 3.0),
        )
    ]
    (root / "tiny" / "sweep.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    torch.manual_seed(4)
    alone = DeviceAlone(AloneShape(len(LABELS), (8, 16), (1, 0)))
    with torch.no_grad():
        alone.head.weight.mul_(20)  # labels that depend on the picture
    save_alone(alone, root / "alone" / "tiny")
    return root


@pytest.fixture(scope="session")
def own_bundle(own_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of that codec, with ways and a classifier of its own. Shared: a test that changes
    it copies it.
    """
    from codec.bundle.export import export_bundle

    place = tmp_path_factory.mktemp("own") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("codec.model.checkpoint.shipped_root", lambda: own_root)
        return export_bundle(FeatureCodec.from_pretrained("tiny"), place, "jetson-nano")


@pytest.fixture(scope="session")
def picture() -> Callable[..., Image.Image]:
    """Function (seed, width, height) -> a smooth colourful RGB picture."""

    def make(seed: int = 0, width: int = 32, height: int = 32) -> Image.Image:
        coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)

    return make


@pytest.fixture
def shipped(
    tmp_path: Path, tiny_codec_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    """An installation that ships one codec, `tiny`: `root` is the folder of the shipped codecs."""
    root = tmp_path / "pretrained"
    root.mkdir()
    (root / "tiny").symlink_to(tiny_codec_folder, target_is_directory=True)
    monkeypatch.setattr("codec.model.checkpoint.shipped_root", lambda: root)
    return SimpleNamespace(root=root)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 labelled pictures in folders, four colours of noise."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(48):
        pixels = rng.integers(0, 90, (32, 32, 3)).astype(np.uint8)
        pixels[..., i % 3] += 60 * (i % 4 > 0)
        place = folder / "train" / LABELS[i % 4] / f"{i:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    return folder


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise with four labels: 24 pictures in a train split, 16 in a test split."""
    folder, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    for split, n in (("train", 24), ("test", 16)):
        for i in range(n):
            place = folder / split / LABELS[i % 4] / f"{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(place)
    return folder


@pytest.fixture(scope="session")
def make_recipe(tiny_backbone: Path) -> Callable[..., CodecRecipe]:
    """Function (data, **changes) -> the recipe of a small codec that trains in seconds."""
    from training.codecs.recipe import CodecRecipe
    from training.engine.schedule import Schedule

    def make(data: Path, **changes: Any) -> CodecRecipe:
        schedule = Schedule(
            epochs=2, batch_size=8, lr=2e-3, precision="fp32", save_steps=5, log_steps=1
        )
        values: dict[str, Any] = {
            "name": "small",
            "backbone": str(tiny_backbone),
            "data": str(data),
            "train_split": "train[:16]",
            "validation_split": "train[16:20]",
            "calibration_split": "train[20:24]",
            "k": 1,
            "encoder": "student",
            "side": 4,
            "n_channels": 4,
            "rate_weights": (1e-3, 1e-4),
            "match": schedule,
            "answer": schedule,
            "student_widths": (8, 8, 8),
            "student_depths": (0, 1, 0),
            "adapter_rank": 2,
            "prior_steps": 20,
        }
        return CodecRecipe(**(values | changes))

    return make


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """No compilation while a test trains: it would take longer than the training."""
    with torch.compiler.set_stance("force_eager"):
        yield
