"""Fixtures of eval's tests: pictures with labels, pictures with words, and a sweep of each."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("datasets")
pytest.importorskip("compressai")
pytest.importorskip("zstandard")

import datasets
from transformers import ViTConfig, ViTForImageClassification

from codec.device.preprocess import Preprocess
from codec.model import FeatureCodec
from codec.model.alone import AloneShape, DeviceAlone, save_alone
from codec.model.backbone import load_backbone
from codec.model.config import CodecConfig
from codec.model.density import ContextPrior
from codec.model.freezing import freeze
from codec.pipeline import Device
from codec.tasks import CAPTIONS, LABELS, QUESTIONS, generate
from eval import sweep
from eval.measuring.rows import KEYS, read_rows
from tests import tiny_blip
from training.data.images import normalise

N_IMAGES = 10
N_WORDED = 6
ASKED = ["how many red things?", "is there a blue cube?", "what colour is the large ring?"]


class TinyEval(NamedTuple):
    codec: Path
    data: Path


def save_codec(folder: Path, name: str = "tiny") -> Path:
    """A random codec on a random backbone, with a prior of random pictures."""
    torch.manual_seed(0)
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    vit = ViTForImageClassification(
        ViTConfig(**shape, image_size=32, patch_size=8, num_labels=2)
    ).eval()
    vit.save_pretrained(folder / "vit")
    config = CodecConfig(
        name=name,
        backbone=str(folder / "vit"),
        k=1,
        encoder="student",
        side=4,
        n_channels=4,
        n_qualities=2,
        default_quality=1,
        preprocess=Preprocess(32),
        student_widths=(8, 8, 8),
        student_depths=(0, 0, 0),
        adapter_rank=2,
    )
    codec = FeatureCodec(config, load_backbone(config.backbone, Path()))
    with torch.no_grad():
        codec.log_gain[1] += 0.7
    codec.round_weights()
    pixels = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    x = normalise(pixels, config.preprocess)
    codec.set_prior(
        freeze(
            ContextPrior(4, 4, 2),
            codec.log_gain,
            lambda: [(q, codec.symbols(x, q)) for q in codec.qualities],
        )
    )
    codec.save_pretrained(folder / name)
    return folder / name


def save_pictures(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for i in range(N_IMAGES):
            place = folder / split / ("cat", "dog")[i % 2]
            place.mkdir(parents=True, exist_ok=True)
            coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((32, 32)).save(place / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def tiny_eval_codec(tmp_path_factory: pytest.TempPathFactory) -> TinyEval:
    folder = tmp_path_factory.mktemp("eval")
    return TinyEval(save_codec(folder), save_pictures(folder / "pictures"))


@pytest.fixture(scope="session")
def swept(
    tiny_eval_codec: TinyEval, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    alone = tmp_path_factory.mktemp("alone")
    save_alone(DeviceAlone(AloneShape(2, (8, 8), (0, 1))), alone)
    code = sweep.main(
        [
            "--codec",
            str(tiny_eval_codec.codec),
            "--data",
            str(tiny_eval_codec.data),
            "--alone",
            str(alone),
            "--out",
            str(out),
        ]
    )
    assert code == 0
    assert [p.name for p in out.parent.iterdir()] == ["rows.jsonl"]
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.fixture(scope="session")
def made_up() -> Callable[..., dict[str, Any]]:
    """Function (codec, bytes, drop, ...) -> a row as earlier sweeps wrote it, with their keys."""

    def make(
        codec: str,
        n_bytes: float,
        drop: float,
        *,
        task: str = LABELS,
        uncut: float = 90,
        **others: Any,
    ) -> dict[str, Any]:
        row = dict.fromkeys(KEYS, 0) | {
            "codec": codec,
            "task": task,
            "data": "made:up",
            "bits_estimated": None,
            "bytes_mean": n_bytes,
            "score": uncut - drop,
            "score_uncut": uncut,
            "drop": drop,
        }
        return row | others

    return make


@contextlib.contextmanager
def texts_cut_short() -> Iterator[None]:
    """Random models never end a text: cut it off early."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "CAPTION_TOKENS", 8)
        patch.setattr(generate, "ANSWER_TOKENS", 3)
        yield


@pytest.fixture(scope="module")
def short_texts() -> Iterator[None]:
    """As `texts_cut_short`."""
    with texts_cut_short():
        yield


class UncutWords(NamedTuple):
    """What the uncut models say of the pictures: captions, and the answers to `ASKED`."""

    captions: list[str]
    answers: list[list[str]]


def said_by(models: dict[str, Any], x: torch.Tensor) -> UncutWords:
    """Captions and answers one by one, without anything of eval."""
    tokenizer = tiny_blip.tokenizer()
    captioner, answerer = models[CAPTIONS], models[QUESTIONS]
    limits = [
        generate.checked_limits(captioner, None, 1, usual)
        for usual in (generate.CAPTION_TOKENS, generate.ANSWER_TOKENS)
    ]
    captions = [generate.caption(captioner, tokenizer, one[None], limits[0])[0] for one in x]
    ids = [generate.question_ids(answerer, tokenizer, question) for question in ASKED]
    return UncutWords(
        captions,
        [
            [generate.answer(answerer, tokenizer, one[None], [some], limits[1])[0] for some in ids]
            for one in x
        ],
    )


@pytest.fixture(scope="session")
def pictures(picture: Callable[..., Image.Image]) -> list[Image.Image]:
    return [picture(seed) for seed in range(N_WORDED)]


@pytest.fixture(scope="session")
def uncut_words(tiny_blip_codec: FeatureCodec, pictures: list[Image.Image]) -> UncutWords:
    models = {task: tiny_blip_codec.load_uncut(task) for task in (CAPTIONS, QUESTIONS)}
    with torch.no_grad(), texts_cut_short():
        return said_by(models, Device(tiny_blip_codec).preprocess(pictures))


@pytest.fixture(scope="session")
def words_data(
    pictures: list[Image.Image], uncut_words: UncutWords, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Pictures, of which every second is captioned and answered as by the uncut model; the first
    has no questions.
    """
    rows: dict[str, list[Any]] = {"image": pictures, "captions": [], "questions": [], "answers": []}
    for i in range(N_WORDED):
        right = i % 2 == 0
        rows["captions"].append(
            [
                "a ring is left of a small cube",
                uncut_words.captions[i] if right else uncut_words.captions[i][::-1],
            ]
        )
        rows["questions"].append(ASKED if i else [])
        rows["answers"].append(
            [answer if right else f"not {answer}" for answer in uncut_words.answers[i]] if i else []
        )
    texts = datasets.List(datasets.Value("string"))
    features = datasets.Features(
        {"image": datasets.Image(), "captions": texts, "questions": texts, "answers": texts}
    )
    folder = tmp_path_factory.mktemp("words")
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(folder / "test.parquet"))
    return folder


@pytest.fixture(scope="session")
def words_swept(
    tiny_blip_folder: Path, words_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    options = [
        "--baselines",
        "png,tokens-fp16,tokens-int8-zstd,factorised",
        "--fit-split",
        "nowhere",
    ]
    names = ["--codec", str(tiny_blip_folder), "--data", str(words_data)]
    with texts_cut_short():
        assert sweep.main([*names, *options, "--out", str(out)]) == 0
    return read_rows(out)


@pytest.fixture
def two_tasks(tmp_path: Path, made_up: Callable[..., dict[str, Any]]) -> Path:
    """File of made-up rows of two tasks."""

    def row(task: str, codec: str, n_bytes: float, drop: float) -> dict[str, Any]:
        return made_up(codec, n_bytes, drop, task=task, uncut=40)

    points = {CAPTIONS: 10, QUESTIONS: 20}
    rows = []
    for task, n in points.items():
        rows += [
            row(task, "uncut", 27648, 0),
            row(task, "ours", n, 1.0),
            row(task, "ours", 4 * n, 0.0),
        ]
        rows += [
            row(task, "webp", 100 * n, 1.0),
            row(task, "webp", 400 * n, 0.0),
            row(task, "png", 18000, 0.0),
        ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
