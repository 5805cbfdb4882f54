"""eval.sweep: rows that are counted on real blobs, baselines that are what they say, and errors in
one line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from codec.coding.container import HEADER_BYTES
from codec.model import FeatureCodec
from eval import plot, sweep
from eval.measuring.rows import KEYS, Row, read_rows, write_rows
from eval.measuring.table import overspent
from eval.methods.method import BASELINES
from tests.eval.conftest import N_IMAGES, TinyEval
from training.data.images import Images, normalise


def rows_of(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["codec"] == name]


def test_rows_have_exactly_the_promised_keys(swept: list[dict[str, Any]]) -> None:
    promised = (
        *("codec", "quality", "task", "data", "n_images", "bytes_mean", "bytes_p50", "bytes_p95"),
        *("bits_estimated", "score", "score_uncut", "drop", "agreement", "encode_ms", "decode_ms"),
        *("device_params", "device_macs"),
    )
    assert all(list(row) == [*promised, "drop_margin", "n_answers", "server_macs"] for row in swept)
    assert promised == KEYS


def test_every_quality_and_every_baseline_has_a_row(swept: list[dict[str, Any]]) -> None:
    assert [row["quality"] for row in rows_of(swept, "tiny")] == [0, 1]
    assert [row["quality"] for row in rows_of(swept, "factorised")] == [0]
    smaller = {f"{name}@{side}" for name in ("jpeg", "webp", "avif", "jxl") for side in (24, 16)}
    assert {row["codec"] for row in swept} == {"uncut", "tiny", *BASELINES} | smaller
    assert {row["data"] for row in swept} == {"pictures:test"}
    assert {row["n_images"] for row in swept} == {N_IMAGES}


def test_drop_is_the_uncut_score_minus_the_score(swept: list[dict[str, Any]]) -> None:
    (uncut,) = rows_of(swept, "uncut")
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
        for row, q in zip(rows_of(swept, "tiny"), codec.qualities, strict=True):
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
    for row in rows_of(swept, "tiny"):
        ideal, real = row["bits_estimated"] / 8, row["bytes_mean"] - HEADER_BYTES
        assert ideal - 1 < real <= 1.01 * ideal + 2
        assert not overspent(Row(**row))
        assert overspent(Row(**{**row, "bytes_mean": 1.02 * ideal + 2.1 + HEADER_BYTES}))


def test_lossless_baselines_lose_nothing(swept: list[dict[str, Any]]) -> None:
    for name in ("png", "webp-lossless"):
        (row,) = rows_of(swept, name)
        assert row["drop"] == 0
        assert row["agreement"] == 100
        assert row["bits_estimated"] is None


def test_float16_tokens_take_two_bytes_a_value_and_agree(swept: list[dict[str, Any]]) -> None:
    (row,) = rows_of(swept, "tokens-fp16")
    assert row["bytes_mean"] == 17 * 32 * 2
    assert row["agreement"] >= 90
    assert row["quality"] == 1  # the cut
    assert row["device_macs"] > rows_of(swept, "tiny")[0]["device_macs"]


def test_the_factorised_baseline_differs_from_the_codec_in_bytes_only(
    swept: list[dict[str, Any]],
) -> None:
    for own, other in zip(rows_of(swept, "tiny")[::3], rows_of(swept, "factorised"), strict=True):
        for key in ("quality", "score", "drop", "agreement", "device_params", "device_macs"):
            assert own[key] == other[key]
        assert other["bytes_mean"] > HEADER_BYTES


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
    assert (
        len([line for line in lines if line.startswith("eval.sweep: error: ") and said in line])
        == 1
    )
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


def test_pictures_are_chosen_on_other_images_than_the_measured_ones(
    tiny_eval_codec: TinyEval, tmp_path: Path, swept: list[dict[str, Any]]
) -> None:
    out = tmp_path / "rows.jsonl"
    options = ["--baselines", "jpeg,webp,png", "--split", "test[:4]", "--choose-on", "test[4:]"]
    where = ["--codec", str(tiny_eval_codec.codec), "--data", str(tiny_eval_codec.data)]
    assert sweep.main([*where, *options, "--out", str(out)]) == 0
    rows = read_rows(out)
    lossy = [row for row in rows if row["codec"].startswith(("jpeg", "webp"))]
    known = [row for row in swept if row["codec"].startswith(("jpeg", "webp"))]
    assert 0 < len(lossy) < len(known) / 4
    assert rows_of(rows, "png")
    assert {row["n_images"] for row in rows} == {4}


def test_the_server_does_nothing_for_the_device_alone_and_all_for_a_file(
    swept: list[dict[str, Any]],
) -> None:
    macs = {row["codec"]: row["server_macs"] for row in swept}
    assert macs["device-alone"] == 0
    assert macs["uncut"] == macs["jpeg"] == macs["source-file"] > macs["tokens-fp16"] > 0
    (alone,) = (row for row in swept if row["codec"] == "device-alone")
    assert alone["bytes_mean"] == 1
    assert alone["device_macs"] > 0


def test_the_source_file_is_the_uncut_models_score_in_the_files_bytes(
    swept: list[dict[str, Any]], tiny_eval_codec: TinyEval
) -> None:
    (source,) = (row for row in swept if row["codec"] == "source-file")
    (uncut,) = (row for row in swept if row["codec"] == "uncut")
    assert source["score"] == uncut["score"]
    files = list((tiny_eval_codec.data / "test").rglob("*.png"))
    assert source["bytes_mean"] == sum(f.stat().st_size for f in files) / len(files)


def test_its_rows_are_drawn(
    swept: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "rows.jsonl", tmp_path / "figures" / "rows.png"
    write_rows([Row(**row) for row in swept], file)
    assert plot.main([str(file), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 500
