"""codec.lint: each defect, planted in a graph, is found by name, with its mend; a clean graph is
left alone.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from codec.bundle.lint import Finding, lint, lint_file
from codec.bundle.targets import TARGETS

NANO, JP5, JP6, JP7 = "jetson-nano", "jetson-orin-jp5", "jetson-orin-jp6", "jetson-jp7"
F, I64 = TensorProto.FLOAT, TensorProto.INT64


def graph(
    *nodes: onnx.NodeProto,
    opset: int = 13,
    shape: tuple[Any, ...] = (1, 3, 4, 4),
    output: int = F,
    out_shape: tuple[Any, ...] | None = None,
    inputs: tuple[Any, ...] = (),
    **constants: Any,
) -> onnx.ModelProto:
    """A graph of input x and output y."""
    made = helper.make_graph(
        nodes,
        "planted",
        [helper.make_tensor_value_info("x", F, shape), *inputs],
        [helper.make_tensor_value_info("y", output, out_shape or shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])


def node(operator: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, ["y"], name="culprit", **attributes)


def computed(name: str, shape: list[int], kind: int = F) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


AXES, ONE = np.array([3]), np.float32(1)
WEIGHT = np.zeros((3, 3, 1, 1), np.float32)
MEANS = (1, 3, 4, 1)

# defect -> graph, target, kind, words of the defect and of the mend
PLANTED: dict[str, tuple[onnx.ModelProto, str, str, str, str]] = {
    "Round": (graph(node("Round", "x")), NANO, "refused", "Round", "floor"),
    "Sign": (graph(node("Sign", "x")), NANO, "refused", "Sign", "Relu"),
    "Gelu": (graph(node("Gelu", "x"), opset=20), JP6, "refused", "Gelu", "Erf"),
    "LayerNormalization": (
        graph(node("LayerNormalization", "x", "w"), opset=17, w=np.ones(4, np.float32)),
        JP5,
        "refused",
        "8.5",
        "mean",
    ),
    "foreign": (
        graph(helper.make_node("Gelu", ["x"], ["y"], name="culprit", domain="com.microsoft")),
        NANO,
        "refused",
        "com.m",
        "standard",
    ),
    "axes input": (
        graph(node("ReduceMean", "x", "a"), opset=18, out_shape=MEANS, a=AXES),
        JP6,
        "silent",
        "reduces all axes",
        "attribute",
    ),
    "max axes": (
        graph(node("ReduceMax", "x", "a"), opset=18, out_shape=MEANS, a=AXES),
        JP5,
        "silent",
        "reduces all axes",
        "attribute",
    ),
    "computed axes": (
        graph(
            node("ReduceMean", "x", "a"),
            opset=18,
            out_shape=MEANS,
            inputs=(computed("a", [1], I64),),
        ),
        JP7,
        "refused",
        "computed axes",
        "constant",
    ),
    "allowzero": (
        graph(node("Reshape", "x", "s", allowzero=1), opset=14, s=np.array([1, 3, 4, 4])),
        NANO,
        "refused",
        "allowzero",
        "drop",
    ),
    "opset 14": (
        graph(node("Reshape", "x", "s"), opset=14, s=np.array([1, 3, 4, 4])),
        NANO,
        "refused",
        "opset 14",
        "opset 13",
    ),
    "zero shape": (
        graph(node("Reshape", "x", "s", allowzero=1), opset=18, shape=(0, 3), s=np.array([0, 3])),
        JP6,
        "silent",
        "allowzero",
        "without 0",
    ),
    "Clip bound": (
        graph(node("Clip", "x", "low"), inputs=(computed("low", []),)),
        NANO,
        "refused",
        "low is computed",
        "initialiser",
    ),
    "Clip type": (
        graph(node("Clip", "x", "low"), low=np.float64(0)),
        JP6,
        "silent",
        "DOUBLE",
        "FLOAT",
    ),
    "int8": (
        graph(node("Cast", "x", to=TensorProto.INT8), output=TensorProto.INT8),
        JP6,
        "silent",
        "Cast to INT8",
        "INT32",
    ),
    "int64": (
        graph(node("Cast", "x", to=I64), output=I64),
        NANO,
        "silent",
        "Cast to INT64",
        "INT32",
    ),
    "double": (
        graph(node("Cast", "x", to=TensorProto.DOUBLE), output=TensorProto.DOUBLE),
        JP7,
        "silent",
        "DOUBLE",
        "FLOAT",
    ),
    "kernel": (
        graph(node("Conv", "x", "w"), inputs=(computed("w", [3, 3, 1, 1]),)),
        NANO,
        "refused",
        "Conv whose input w is computed",
        "initialiser",
    ),
    "instance": (
        graph(
            node("InstanceNormalization", "x", "w", "b"),
            inputs=(computed("w", [3]),),
            b=np.zeros(3, np.float32),
        ),
        JP5,
        "refused",
        "computed",
        "initialiser",
    ),
    "zero point": (
        graph(
            node("QuantizeLinear", "x", "s", "z"), output=TensorProto.UINT8, s=ONE, z=np.uint8(3)
        ),
        JP6,
        "refused",
        "zero point",
        "symmetric",
    ),
    "slice": (
        graph(
            node("Slice", "x", "b", "e", "a"),
            out_shape=(1, 3, 4, 2),
            inputs=(computed("a", [1], I64),),
            b=np.array([0]),
            e=np.array([2]),
        ),
        JP7,
        "refused",
        "Slice",
        "initialiser",
    ),
}
OF_TENSORS = {  # the same, for what has the name of a tensor
    "float16": (
        graph(node("Cast", "w", to=F), shape=(2,), w=np.zeros(2, np.float16)),
        NANO,
        "w",
        "refused",
        "float16",
        "float32",
    ),
    "float64": (
        graph(node("Cast", "w", to=F), shape=(2,), w=np.zeros(2, np.float64)),
        JP7,
        "w",
        "silent",
        "float64",
        "float32",
    ),
    "large int64": (
        graph(
            node("Slice", "x", "b", "e", "a"),
            b=np.array([0]),
            e=np.array([2**63 - 1]),
            a=np.array([3]),
        ),
        JP6,
        "e",
        "silent",
        "beyond int32",
        "within int32",
    ),
    "int64 output": (
        graph(node("Shape", "x"), output=I64, out_shape=(4,)),
        NANO,
        "y",
        "refused",
        "output of type INT64",
        "INT32",
    ),
    "free batch": (
        graph(node("Relu", "x"), shape=("n", 3, 4, 4)),
        JP7,
        "x",
        "refused",
        "not fixed",
        "fixed batch",
    ),
}


@pytest.mark.parametrize("defect", PLANTED)
def test_each_defect_is_found_with_the_nodes_name_and_the_mend(defect: str) -> None:
    model, target, kind, what, mend = PLANTED[defect]
    found = [finding for finding in lint(model, target) if finding.node == "culprit"]
    assert [finding.kind for finding in found] == [kind], lint(model, target)
    assert what in found[0].what
    assert mend in found[0].mend


@pytest.mark.parametrize("defect", OF_TENSORS)
def test_defects_of_inputs_outputs_and_initialisers_have_their_names(defect: str) -> None:
    model, target, name, kind, what, mend = OF_TENSORS[defect]
    found = [finding for finding in lint(model, target) if finding.node == name]
    assert [finding.kind for finding in found] == [kind], lint(model, target)
    assert what in found[0].what
    assert mend in found[0].mend


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (graph(node("ReduceMean", "x", axes=[3]), out_shape=MEANS), NANO),
        (graph(node("ReduceMean", "x", "a"), opset=18, out_shape=MEANS, a=AXES), JP7),
        (graph(node("ReduceSum", "x", "a"), out_shape=MEANS, a=AXES), NANO),
        (graph(node("Reshape", "x", "s"), s=np.array([1, 3, 4, 4])), NANO),
        (graph(node("Reshape", "x", "s", allowzero=1), opset=18, s=np.array([1, 3, 4, 4])), JP6),
        (graph(node("Clip", "x", "", "high"), high=ONE), NANO),
        (graph(node("Round", "x")), JP5),
        (graph(node("Conv", "x", "w"), w=WEIGHT), NANO),
        (graph(node("Cast", "x", to=TensorProto.INT32), output=TensorProto.INT32), NANO),
        (graph(node("Round", "x"), shape=("n", 3, 4, 4)), "onnxruntime"),
    ],
)
def test_what_a_target_takes_is_left_alone(model: onnx.ModelProto, target: str) -> None:
    assert lint(model, target) == []


def test_a_constant_node_counts_as_an_initialiser() -> None:
    bound = helper.make_node(
        "Constant", [], ["low"], name="bound", value=numpy_helper.from_array(ONE)
    )
    assert lint(graph(bound, node("Clip", "x", "low")), NANO) == []


def test_findings_come_in_the_order_of_the_graph_and_nameless_nodes_by_their_place() -> None:
    first = helper.make_node("Sign", ["x"], ["s"])
    found = lint(graph(first, node("Round", "s")), NANO)
    assert [finding.node for finding in found] == ["Sign 0 of the graph", "culprit"]
    assert all(isinstance(finding, Finding) for finding in found)


def test_newer_releases_take_what_older_ones_do() -> None:
    tables = [target.operators for target in TARGETS.values() if target.operators is not None]
    assert all(older < newer for older, newer in itertools.pairwise(tables))


def test_files_that_are_no_onnx_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        lint_file(tmp_path / "nowhere.onnx", NANO)
    (tmp_path / "text.onnx").write_text("not a graph")
    with pytest.raises(ValueError, match=r"text\.onnx is not a valid ONNX file"):
        lint_file(tmp_path / "text.onnx", NANO)
    onnx.save(graph(node("Round", "x")), tmp_path / "round.onnx")
    assert [finding.node for finding in lint_file(tmp_path / "round.onnx", NANO)] == ["culprit"]
    with pytest.raises(ValueError, match="unknown target 'jetson-nana'; there are: jetson-nano"):
        lint_file(tmp_path / "round.onnx", "jetson-nana")
