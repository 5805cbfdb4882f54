"""What eval promises: rows that are counted on real blobs, baselines that are what they say, and
errors in one line.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("datasets")
pytest.importorskip("compressai")
pytest.importorskip("zstandard")

from transformers import ViTConfig, ViTForImageClassification

from codec.coding.container import HEADER_BYTES
from codec.device.preprocess import Preprocess
from codec.model import FeatureCodec
from codec.model.backbone import load_backbone
from codec.model.config import CodecConfig
from codec.model.density import ContextPrior
from codec.model.freezing import freeze
from eval import plot, report, sweep
from eval.measuring.asked import Labels
from eval.measuring.measure import overspent
from eval.measuring.rows import KEYS, Row, read_rows, write_rows
from eval.methods.factorised import fit_bottleneck
from eval.methods.method import BASELINES, Coded, Cost, DecodeError, device_cost
from eval.methods.untrained import Picture, QuantisedTokens
from training.data.images import Images, normalise

N_IMAGES = 10


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


@pytest.fixture(scope="module")
def tiny_eval_codec(tmp_path_factory: pytest.TempPathFactory) -> TinyEval:
    folder = tmp_path_factory.mktemp("eval")
    return TinyEval(save_codec(folder), save_pictures(folder / "pictures"))


@pytest.fixture(scope="module")
def swept(
    tiny_eval_codec: TinyEval, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    code = sweep.main(
        [
            "--codec",
            str(tiny_eval_codec.codec),
            "--data",
            str(tiny_eval_codec.data),
            "--out",
            str(out),
        ]
    )
    assert code == 0
    assert [p.name for p in out.parent.iterdir()] == ["rows.jsonl"]
    return [json.loads(line) for line in out.read_text().splitlines()]


def of(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["codec"] == name]


def test_rows_have_exactly_the_promised_keys(swept: list[dict[str, Any]]) -> None:
    promised = (
        "codec quality task data n_images bytes_mean bytes_p50 bytes_p95 bits_estimated score "
        "score_uncut drop agreement "
        "encode_ms decode_ms device_params device_macs"
    )
    assert all(list(row) == promised.split() for row in swept)
    assert promised.split() == list(KEYS)


def test_every_quality_and_every_baseline_has_a_row(swept: list[dict[str, Any]]) -> None:
    assert [row["quality"] for row in of(swept, "tiny")] == [0, 1]
    assert [row["quality"] for row in of(swept, "factorised")] == [0]
    assert {row["codec"] for row in swept} == {"uncut", "tiny", *BASELINES}
    assert {row["data"] for row in swept} == {"pictures:test"}
    assert {row["n_images"] for row in swept} == {N_IMAGES}


def test_drop_is_the_uncut_score_minus_the_score(swept: list[dict[str, Any]]) -> None:
    (uncut,) = of(swept, "uncut")
    assert uncut["drop"] == 0
    assert uncut["agreement"] == 100
    assert uncut["bytes_mean"] == 3 * 32 * 32
    for row in swept:
        assert row["score_uncut"] == uncut["score"]
        assert row["drop"] == row["score_uncut"] - row["score"]
        assert 0 <= row["score"] <= 100


def test_scores_and_bytes_are_those_of_real_blobs(
    tiny_eval_codec: TinyEval, swept: list[dict[str, Any]]
) -> None:
    codec = FeatureCodec.from_pretrained(tiny_eval_codec.codec)
    images = Images(str(tiny_eval_codec.data), "test", codec.config.preprocess)
    pixels, labels = (
        torch.stack([images[i][0] for i in range(N_IMAGES)]),
        torch.tensor(images.labels),
    )
    x = normalise(pixels, codec.config.preprocess)
    with torch.inference_mode():
        uncut = codec.load_uncut()(x).logits.argmax(-1)
        for row, q in zip(of(swept, "tiny"), codec.qualities, strict=True):
            blobs = codec.encode(x, q)
            answers = codec.tail(codec.decode(blobs)).logits.argmax(-1)
            sizes = [len(blob) for blob in blobs]
            assert row["bytes_mean"] == pytest.approx(np.mean(sizes))
            assert row["bytes_p50"] == pytest.approx(np.percentile(sizes, 50))
            assert row["bytes_p95"] == pytest.approx(np.percentile(sizes, 95))
            assert row["score"] == pytest.approx(100 * float((answers == labels).double().mean()))
            assert row["agreement"] == pytest.approx(
                100 * float((answers == uncut).double().mean())
            )
            assert row["bits_estimated"] == pytest.approx(
                codec.prior.bits(codec.symbols(x, q), q).mean()
            )


def test_real_payloads_take_hardly_more_than_the_estimate(swept: list[dict[str, Any]]) -> None:
    for row in of(swept, "tiny"):
        ideal, real = row["bits_estimated"] / 8, row["bytes_mean"] - HEADER_BYTES
        assert ideal - 1 < real <= 1.01 * ideal + 2
        assert not overspent(Row(**row))
        assert overspent(Row(**{**row, "bytes_mean": 1.02 * ideal + 2.1 + HEADER_BYTES}))


def test_lossless_baselines_lose_nothing(swept: list[dict[str, Any]]) -> None:
    for name in ("png", "webp-lossless"):
        (row,) = of(swept, name)
        assert row["drop"] == 0
        assert row["agreement"] == 100
        assert row["bits_estimated"] is None


def test_float16_tokens_take_two_bytes_a_value_and_agree(swept: list[dict[str, Any]]) -> None:
    (row,) = of(swept, "tokens-fp16")
    assert row["bytes_mean"] == 17 * 32 * 2
    assert row["agreement"] >= 90
    assert row["quality"] == 1  # the cut
    assert row["device_macs"] > of(swept, "tiny")[0]["device_macs"]


def test_the_factorised_baseline_differs_from_the_codec_in_bytes_only(
    swept: list[dict[str, Any]],
) -> None:
    for own, other in zip(of(swept, "tiny")[::3], of(swept, "factorised"), strict=True):
        for key in ("quality", "score", "drop", "agreement", "device_params", "device_macs"):
            assert own[key] == other[key]
        assert other["bytes_mean"] > HEADER_BYTES


def test_int8_tokens_come_back_within_half_a_step(tiny_eval_codec: TinyEval) -> None:
    codec = FeatureCodec.from_pretrained(tiny_eval_codec.codec)
    baseline = QuantisedTokens(sweep.load_uncut(codec), 1, Cost(0, 0), codec.config.preprocess)
    tokens = np.random.default_rng(0).normal(size=(17, 32)).astype(np.float32)
    tokens[:, 3] = 0
    error = np.abs(baseline.unpack(baseline.pack(tokens)) - tokens)
    assert np.all(error <= 0.51 * np.abs(tokens).max(0) / 127 + 1e-3 * np.abs(tokens).max(0))


def test_a_fitted_bottleneck_codes_integers_near_their_entropy_and_gives_them_back() -> None:
    rng = np.random.default_rng(0)
    symbols = np.rint(rng.laplace(scale=[[0.2], [1.0], [3.0]], size=(200, 3, 64))).astype(np.int32)
    bottleneck = fit_bottleneck(symbols)
    with torch.inference_mode():
        strings = bottleneck.compress(torch.from_numpy(symbols).float())
        back = bottleneck.decompress(strings, (64,)).numpy()
    assert np.array_equal(back, symbols)
    entropy = 0.0
    for channel in range(3):
        p = np.unique(symbols[:, channel], return_counts=True)[1] / symbols[:, channel].size
        entropy -= float((p * np.log2(p)).sum()) * 64
    mean_bits = 8 * np.mean([len(s) for s in strings])
    assert entropy - 8 < mean_bits < 1.03 * entropy + 48  # its coder ends on whole 32-bit words


def test_a_wrongly_decoded_blob_is_noticed(tiny_eval_codec: TinyEval) -> None:
    codec = FeatureCodec.from_pretrained(tiny_eval_codec.codec)
    method = Coded(codec, 1, Cost(0, 0))
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    blobs = method.encode(pixels)
    with torch.inference_mode():
        assert method.check(pixels, blobs) > 0
        with pytest.raises(DecodeError, match="does not hold the symbols"):
            method.check(pixels, blobs[::-1])
    png = Picture("png", None, sweep.load_uncut(codec), codec.config.preprocess)
    with pytest.raises(DecodeError, match="lossless"):
        png.check(pixels, png.encode(255 - pixels))


def test_the_interval_of_the_drop_is_the_paired_one() -> None:
    labels = Labels(SimpleNamespace(label_column="label", labels=[0, 0, 0, 1]), 2)  # type: ignore[arg-type]
    assert labels.score([0, 1, 1, 1], [0, 0, 1, 1])[:4] == (4, 50, 75, 75)
    # differences 0, 1, 0, 0
    assert labels.score([0, 1, 1, 1], [0, 0, 1, 1]).margin == pytest.approx(196 * 3**0.5 / 4 / 2)


def test_multiply_accumulates_are_counted_by_hand_the_same() -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3, stride=2, padding=1), torch.nn.Flatten(2), torch.nn.Linear(16, 7)
    )
    assert device_cost(network, 8) == (3 * 5 * 9 + 5 + 16 * 7 + 7, 16 * 5 * 3 * 9 + 5 * 16 * 7)


def test_attention_counts_in_the_cost_of_a_head(tiny_eval_codec: TinyEval) -> None:
    model = FeatureCodec.from_pretrained(tiny_eval_codec.codec).load_uncut()
    n, d = 17, 32
    block = n * d * 4 * d + 2 * n * n * d + 2 * n * d * 64
    assert device_cost(sweep.split(model, 1).head, 32).macs == 16 * d * 3 * 64 + block


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"--split": "nowhere"}, "nowhere"),
        ({"--data": "no-such-folder/deep/inside"}, "no-such-folder"),
        ({"--codec": "no-such-codec"}, "no-such-codec"),
        ({"--baselines": "jpeg,gif"}, "gif"),
        ({"--limit": "0"}, "--limit"),
        ({"--out": "."}, "folder"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    tiny_eval_codec: TinyEval,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, str],
    said: str,
) -> None:
    out = tmp_path / "rows.jsonl"
    options = {
        "--codec": str(tiny_eval_codec.codec),
        "--data": str(tiny_eval_codec.data),
        "--out": str(out),
    } | changed
    assert sweep.main([word for pair in options.items() for word in pair]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("eval.sweep: ") and said in line]) == 1
    assert not any("Traceback" in line for line in lines)
    assert not out.exists()


def test_two_codecs_of_one_name_are_refused(
    tiny_eval_codec: TinyEval, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codec = str(tiny_eval_codec.codec)
    out = tmp_path / "rows.jsonl"
    assert (
        sweep.main(
            ["--codec", f"{codec},{codec}", "--data", str(tiny_eval_codec.data), "--out", str(out)]
        )
        == 2
    )
    assert "same name" in capsys.readouterr().err


def test_the_factorised_prior_falls_back_to_measured_images(
    tiny_eval_codec: TinyEval, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows.jsonl"
    options = [
        "--baselines",
        "factorised",
        "--fit-split",
        "nowhere",
        "--limit",
        "4",
        "--out",
        str(out),
    ]
    assert (
        sweep.main(
            ["--codec", str(tiny_eval_codec.codec), "--data", str(tiny_eval_codec.data), *options]
        )
        == 0
    )
    assert "2 of the measured images" in capsys.readouterr().out
    assert [row["codec"] for row in read_rows(out)] == ["uncut", "tiny", "tiny", "factorised"]


def made_up(codec: str, n_bytes: float, drop: float, quality: int | None = 0) -> dict[str, Any]:
    row = dict.fromkeys(KEYS, 0) | {
        "codec": codec,
        "quality": quality,
        "task": "image-classification",
        "data": "made:up",
    }
    return row | {
        "bytes_mean": n_bytes,
        "score": 90 - drop,
        "score_uncut": 90,
        "drop": drop,
        "bits_estimated": None,
    }


def test_plot_writes_a_picture(
    swept: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "rows.jsonl", tmp_path / "figures" / "rows.png"
    write_rows([Row(**row) for row in swept], file)
    assert plot.main([str(file), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 500


@pytest.mark.parametrize(
    "text", [None, "", "\n", "{}", "not json", "[1]", '"codec"', json.dumps(made_up("jpeg", -1, 0))]
)
def test_a_file_that_holds_no_rows_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    file = tmp_path / "rows.jsonl"
    if text is not None:
        file.write_text(text)
    for command in (
        lambda: plot.main([str(file), "--out", str(tmp_path / "p.png")]),
        lambda: report.main([str(file)]),
    ):
        assert command() == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "p.png").exists()


def test_the_report_interpolates_bytes_at_a_drop_on_a_log_scale() -> None:
    rows = [made_up("jpeg", 100, 1.0), made_up("jpeg", 400, 0.0)]
    assert report.rate_at(rows, 0.5).n_bytes == pytest.approx(200)
    assert report.rate_at(rows, 0.5).bound == ""
    assert report.rate_at(rows, 2) == (100, "<=")
    assert report.rate_at(rows, -1) == (400, ">")
    noisy = [
        made_up("a", 50, 0.4),
        made_up("a", 100, 0.6),
        made_up("a", 200, 0.5),
        made_up("a", 400, 0.1),
    ]
    assert 100 <= report.rate_at(noisy, 0.5).n_bytes <= 200


def test_the_report_prints_a_table_and_how_many_times_more_bytes_pictures_need(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [made_up("uncut", 3072, 0, None), made_up("ours", 10, 1.0), made_up("ours", 40, 0.0)]
    rows += [
        made_up("jpeg", 100, 1.0),
        made_up("jpeg", 400, 0.0),
        made_up("webp", 90, 3),
        made_up("webp", 300, 1),
    ]
    rows += [made_up("bottleneck", 25, 1.0), made_up("bottleneck", 100, 0.0)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert report.main([str(file)]) == 0
    printed = capsys.readouterr().out
    assert len([line for line in printed.splitlines() if line.startswith("| ")]) == 1 + len(rows)
    assert "ours needs 20 bytes" in printed
    assert "JPEG needs 200 bytes: 10.0 times as many" in printed
    assert "WebP needs more than 300 bytes: more than 15.0 times as many" in printed
    assert "The linear bottleneck needs 50 bytes: 2.5 times as many" in printed
    assert "The best picture codec is JPEG" in printed
    assert printed.count("needs 50 bytes") == 1, "it is held against the codec, not taken for one"
