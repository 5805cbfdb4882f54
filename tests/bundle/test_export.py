"""codec.export and codec.lowering: each encoder, for each target, in the forms it takes, with the
codec's symbols.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from codec.bundle.export import export_bundle, make_graph
from codec.bundle.lint import lint
from codec.bundle.lowering import FLOAT32, lower, products_in_half, weights_as_half
from codec.bundle.targets import TARGETS
from codec.bundle.tracing import trace
from codec.files import sha256
from codec.model import FeatureCodec
from codec.model.checkpoint import shipped_names, shipped_root
from codec.pipeline import Device, Server

Traced = Callable[[str], tuple[FeatureCodec, Any]]
# BLIP's student is ViT's: the graph of neither holds anything of the backbone.
ENCODERS = ("student", "folded-student", "blocks", "blip-blocks")


def run(model: Any, pixel_values: torch.Tensor) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Symbols (n, Q, M, C) and latents (n, M, C) of pictures, one at a time."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rows = [
        session.run(["symbols", "latent"], {"pixel_values": image[None].numpy()})
        for image in pixel_values
    ]
    return np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])


def symbols_of(codec: FeatureCodec, pixel_values: torch.Tensor) -> NDArray[np.int32]:
    return np.stack([codec.symbols(pixel_values, q) for q in codec.qualities], axis=1)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_target_gets_the_codecs_symbols_of_every_quality(
    traced: Traced, encoder: str, target: str
) -> None:
    codec, graph = traced(encoder)
    pixels = torch.randn(60, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    symbols, latent = run(make_graph(codec, graph, target), pixels)
    expected = symbols_of(codec, pixels)
    assert symbols.dtype == np.int32
    assert symbols.shape == (60, 3, 16, 6)
    assert np.abs(expected).max() > 3
    assert (symbols == expected).mean() >= 0.9999
    np.testing.assert_allclose(latent, codec.latent(pixels).numpy(), atol=2e-5)


@pytest.mark.long
@pytest.mark.parametrize("name", shipped_names())
def test_shipped_codecs_export_for_every_target(name: str) -> None:
    codec = FeatureCodec.from_pretrained(name)
    pixels = Device(codec).preprocess(sorted((shipped_root() / "samples").rglob("*.png")))
    graph, expected = trace(codec.encoder, codec.config.preprocess.size), symbols_of(codec, pixels)
    for target in TARGETS:
        symbols, _ = run(make_graph(codec, graph, target), pixels)
        assert (symbols == expected).mean() >= 0.9999, target


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_target_gets_the_forms_it_takes(traced: Traced, encoder: str, target: str) -> None:
    codec, graph = traced(encoder)
    model, of = make_graph(codec, graph, target), TARGETS[target]
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import] == [of.opset]
    assert model.ir_version == of.ir
    assert lint(model, target) == []
    operators = Counter(node.op_type for node in model.graph.node)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert all(any(name.startswith(kept) for name in names) for kept in FLOAT32)
    if of.opset == 13:
        assert not {
            "LayerNormalization",
            "InstanceNormalization",
            "Round",
            "Sign",
            "Pow",
            "Gelu",
        } & set(operators)
        assert all(
            helper.get_node_attr_value(node, "axes")
            for node in model.graph.node
            if node.op_type == "ReduceMean"
        )
        assert {tensor.data_type for tensor in model.graph.initializer} == {
            TensorProto.FLOAT,
            TensorProto.INT64,
        }
    else:
        assert "ReduceMean" not in operators
    assert not [a for node in model.graph.node if node.op_type == "Reshape" for a in node.attribute]


def test_no_path_of_this_machine_is_in_the_graph(traced: Traced) -> None:
    codec, graph = traced("student")
    data = make_graph(codec, graph, "jetson-nano").SerializeToString()
    assert b"site-packages" not in data
    assert str(Path(__file__).parent.parent.parent).encode() not in data


def test_symbols_end_at_127_and_zero_is_zero(traced: Traced) -> None:
    _, graph = traced("student")
    gain, half = np.full((2, 6), 1e6, dtype=np.float32), np.array([0.3, 0.5], dtype=np.float32)
    gain[1] = 0
    symbols, _ = run(lower(graph, TARGETS["jetson-nano"], gain, half), torch.randn(4, 3, 32, 32))
    assert set(np.unique(symbols[:, 0])) == {-127, 127}
    assert not symbols[:, 1].any()


def test_norms_that_are_written_out_are_the_operators(traced: Traced) -> None:
    _, graph = traced("blocks")
    gain, half = np.ones((1, 6), dtype=np.float32), np.full(1, 0.5, dtype=np.float32)
    pixels = 30 * torch.randn(8, 3, 32, 32)
    kept, written = (
        run(lower(graph, TARGETS[name], gain, half), pixels)[1]
        for name in ("jetson-jp7", "jetson-nano")
    )
    np.testing.assert_allclose(written, kept, atol=1e-4)


def test_a_graph_with_a_form_that_is_not_known_is_refused_by_name(traced: Traced) -> None:
    _, graph = traced("student")
    gain, half = np.ones((1, 6), dtype=np.float32), np.full(1, 0.5, dtype=np.float32)
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    relu = next(node for node in changed.graph.node if node.op_type == "Relu")
    relu.op_type, relu.name = "Round", "culprit"
    with pytest.raises(ValueError, match="Round is known for every opset: culprit"):
        lower(changed, TARGETS["jetson-nano"], gain, half)
    for wrong in (np.zeros(1, np.float32), np.ones(1, np.float32), np.full(2, 0.5, np.float32)):
        with pytest.raises(ValueError, match="quantiser"):
            lower(graph, TARGETS["jetson-nano"], gain, wrong)


def test_weights_stored_as_float16_change_no_bit_of_the_result(traced: Traced) -> None:
    codec, graph = traced("student")
    full = make_graph(codec, graph, "jetson-jp7")
    half = weights_as_half(make_graph(codec, graph, "jetson-jp7"))
    assert half.ByteSize() < 0.75 * full.ByteSize()
    pixels = torch.randn(8, 3, 32, 32)
    for ours, theirs in zip(run(half, pixels), run(full, pixels), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_that_float16_does_not_hold_stay_float32(traced: Traced) -> None:
    codec, graph = traced("blocks")  # the backbone's own weights are not rounded
    model = make_graph(codec, graph, "onnxruntime")
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds["head.embeddings.patch_embeddings.projection.weight"] == TensorProto.FLOAT
    assert TensorProto.FLOAT16 in kinds.values()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_only_products_are_in_float16_in_the_typed_graph(traced: Traced, encoder: str) -> None:
    codec, graph = traced(encoder)
    model = products_in_half(make_graph(codec, graph, "jetson-jp7"))
    assert lint(model, "jetson-jp7") == []
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    halves = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Cast" and node.name.endswith("/float16")
    }
    for node in model.graph.node:
        half = any(name in halves or kinds.get(name) == TensorProto.FLOAT16 for name in node.input)
        product = node.op_type in ("Conv", "MatMul") and not node.name.startswith(FLOAT32)
        assert half == product, node.name
    pixels = torch.randn(8, 3, 32, 32)
    assert (run(model, pixels)[0] == symbols_of(codec, pixels)).mean() > 0.98


@pytest.mark.parametrize("k", [0, 3])
def test_blips_embeddings_alone_and_its_whole_tower_are_heads_too(
    make_blip_codec: Callable[..., FeatureCodec], k: int
) -> None:
    codec = make_blip_codec(encoder="blocks", k=k)
    pixels = torch.randn(20, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    graph, expected = trace(codec.encoder, 32), symbols_of(codec, pixels)
    for target in ("jetson-nano", "jetson-jp7"):
        symbols, _ = run(make_graph(codec, graph, target), pixels)
        assert (symbols == expected).mean() >= 0.9999, target


def test_a_constant_without_dimensions_stays_one(traced: Traced) -> None:
    """A scalar index takes an axis away, an index of one element does not: BLIP's attention picks
    its queries, keys and values so.
    """
    codec, graph = traced("blip-blocks")
    model = make_graph(codec, graph, "jetson-nano")
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    assert [shapes[node.input[1]] for node in model.graph.node if node.op_type == "Gather"] == [
        [],
        [],
        [],
    ]


@pytest.mark.parametrize("encoder", ["student", "blip-blocks"])
def test_a_batch_is_fixed_in_the_graph(traced: Traced, encoder: str) -> None:
    codec, _ = traced(encoder)
    model = make_graph(codec, trace(codec.encoder, 32, 3), "jetson-nano")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = torch.randn(3, 3, 32, 32)
    symbols, latent = session.run(["symbols", "latent"], {"pixel_values": pixels.numpy()})
    assert latent.shape == (3, 16, 6)
    assert (symbols == symbols_of(codec, pixels)).mean() > 0.999
    assert lint(model, "jetson-nano") == []


@pytest.mark.parametrize("target", ["jetson-nano", "jetson-jp7", "onnxruntime"])
def test_a_bundle_is_whole(bundles: Callable[[str], Path], traced: Traced, target: str) -> None:
    folder, (codec, _) = bundles(target), traced("student")
    manifest = json.loads((folder / "manifest.json").read_text())
    # a runtime that ran there keeps its coder in a folder
    files = {file.name for file in folder.iterdir() if file.is_file()}
    assert set(manifest["sha256"]) == files - {"manifest.json", "SHA256SUMS"}
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    assert (folder / "SHA256SUMS").read_text().count("\n") == len(files) - 1
    assert {
        "encoder.onnx",
        "tables.npz",
        "samples.npz",
        "taskcodec_device.py",
        "build_engine.py",
        "README.md",
    } <= files
    assert ("encoder.fp16.onnx" in files) == (target == "jetson-jp7")
    assert all(sha256(folder / name) == value for name, value in manifest["sha256"].items())
    assert manifest["fingerprint"] == codec.fingerprint.hex()
    assert manifest["shapes"] == {
        "pixel_values": [1, 3, 32, 32],
        "symbols": [1, 3, 16, 6],
        "latent": [1, 16, 6],
    }
    for name in ("tables.npz", "samples.npz"):
        with np.load(folder / name, allow_pickle=False) as arrays:
            assert all(arrays[key].dtype.kind in "iu" for key in arrays.files)
    readme = (folder / "README.md").read_text()
    assert ("trtexec" in readme) == (target != "onnxruntime")
    assert "{" not in readme
    assert "<!--" not in readme


def test_the_readmes_server_answers_outside_of_the_event_loop(
    bundles: Callable[[str], Path],
    traced: Traced,
    picture: Callable[..., Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The example runs, on stand-ins for FastAPI; another thread decodes."""
    codec, _ = traced("student")
    readme = (bundles("onnxruntime") / "README.md").read_text()
    rest: list[str] = []
    for line in readme[readme.index("    from fastapi import") :].splitlines():
        if line and not line.startswith("    "):
            break
        rest.append(line[4:])
    posted: dict[str, Any] = {}
    threads: list[threading.Thread] = []
    fastapi, concurrency = types.ModuleType("fastapi"), types.ModuleType("fastapi.concurrency")

    class FastAPI:
        def post(self, path: str) -> Callable[[Any], None]:
            return lambda function: posted.update({path: function})

    class HTTPException(Exception):  # noqa: N818
        pass

    async def run_in_threadpool(function: Any, *values: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, function, *values)

    class Request:
        def __init__(self, data: bytes) -> None:
            self.data = data

        async def body(self) -> bytes:
            return self.data

    vars(fastapi).update(FastAPI=FastAPI, HTTPException=HTTPException, Request=Request)
    vars(concurrency).update(run_in_threadpool=run_in_threadpool)
    monkeypatch.setitem(sys.modules, "fastapi", fastapi)
    monkeypatch.setitem(sys.modules, "fastapi.concurrency", concurrency)
    monkeypatch.setattr(Server, "from_pretrained", lambda name: Server(codec))
    decode = FeatureCodec.decode_symbols
    monkeypatch.setattr(
        FeatureCodec,
        "decode_symbols",
        lambda *values: (threads.append(threading.current_thread()), decode(*values))[1],
    )
    exec("\n".join(rest), {})
    blob = Device(codec)(picture(1))
    answer = asyncio.run(posted["/blob"](Request(blob)))
    assert answer == Server(codec)(blob, top_k=1)[0]
    assert threads[0] is not threading.main_thread()
    with pytest.raises(HTTPException):
        asyncio.run(posted["/blob"](Request(b"damaged")))


def test_the_manifest_has_the_calibration(bundles: Callable[[str], Path], traced: Traced) -> None:
    codec, _ = traced("student")
    manifest = json.loads((bundles("jetson-nano") / "manifest.json").read_text())
    assert len(manifest["calibration"]) == len(codec.qualities)
    assert manifest["calibration"][2] == {
        "n_images": 100,
        "bytes_mean": 40.0,
        "drop": 0.25,
        "agreement": 95.0,
    }


def test_the_exporter_keeps_quiet_about_torchvision(
    traced: Traced, caplog: pytest.LogCaptureFixture
) -> None:
    class Complaining(torch.nn.Identity):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            log = logging.getLogger("torch.onnx._internal.exporter._registration")
            log.warning("torchvision is not installed")
            return 2 * x

    trace(Complaining(), 8)
    said = [record.getMessage() for record in caplog.records]
    assert not [text for text in said if "torchvision" in text]


def test_a_folder_that_holds_something_is_left_alone(traced: Traced, tmp_path: Path) -> None:
    codec, graph = traced("student")
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ValueError, match="not an empty folder"):
        export_bundle(codec, tmp_path, "jetson-nano", traced=graph)
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_a_graph_that_gives_other_symbols_leaves_nothing_behind(
    traced: Traced, tmp_path: Path
) -> None:
    codec, graph = traced("student")
    wrong = onnx.ModelProto()
    wrong.CopyFrom(graph)
    weight = next(tensor for tensor in wrong.graph.initializer if tensor.name == "project.weight")
    weight.CopyFrom(numpy_helper.from_array(1.1 * numpy_helper.to_array(weight), weight.name))
    with pytest.raises(ValueError, match="the graph is wrong"):
        export_bundle(codec, tmp_path / "bundle", "jetson-nano", traced=wrong)
    assert not list(tmp_path.iterdir())


def test_bad_wishes_are_refused_before_anything_is_made(traced: Traced, tmp_path: Path) -> None:
    codec, graph = traced("student")
    with pytest.raises(ValueError, match="unknown target 'pi'; there are: jetson-nano, "):
        export_bundle(codec, tmp_path / "bundle", "pi", traced=graph)
    with pytest.raises(ValueError, match="at least one picture"):
        export_bundle(codec, tmp_path / "bundle", "jetson-nano", batch=0, traced=graph)
    assert not list(tmp_path.iterdir())
