"""graph as the exporter wrote it -> the same operators in the forms that a target takes.

onnx.version_converter does not bring such graphs below opset 18, so the forms are rewritten here,
operator by operator; whatever is not known to mean the same in both opsets is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from codec.bundle.targets import Target
from codec.device.engines import PIXELS

_SAME_FORM = """
    Add AveragePool Cast Clip Concat Conv Div Erf Exp Expand Floor Gather Gemm GlobalAveragePool
    Identity InstanceNormalization LayerNormalization MatMul Max Min Mul Neg Pow ReduceMax
    ReduceMean Relu Reshape Sigmoid Slice Softmax Sqrt Squeeze Sub Tanh Transpose Unsqueeze
    Where"""
"""Operators written alike in opsets 13 and 18, for float32 and with constant axes, once norms and
reductions are.
"""


class LoweredGraph:
    """A graph that is written node by node.

    Attributes:
        latent: name of the value that the encoder ends in; of a classifier, its logits.
        shapes: of each value, by name.
        constants: values that are known before the graph runs, by name.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.source = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        if [value.name for value in self.source.input] != [PIXELS] or len(self.source.output) != 1:
            raise ValueError(
                "an encoder's graph takes pixel_values alone and gives the latent alone"
            )
        self.latent = self.source.output[0].name
        self.shapes = {
            value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
            for value in (*self.source.value_info, *self.source.input, *self.source.output)
        }
        self.batch = self.shapes[PIXELS][0]
        if not all(self.shapes[PIXELS]) or not all(self.shapes[self.latent]):
            raise ValueError("an encoder's graph has a fixed batch")
        self.constants = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in self.source.initializer
        }
        self.nodes: list[onnx.NodeProto] = []
        self.n_norms = 0

    def add(self, node: onnx.NodeProto, decompose: bool) -> None:
        """Append a node of the source in its lowered form."""
        if node.domain not in ("", "ai.onnx") or node.op_type not in _SAME_FORM.split():
            raise ValueError(
                f"no form of {node.domain or 'ONNX'} {node.op_type} is known for every opset: "
                f"{node.name}"
            )
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type in ("InstanceNormalization", "LayerNormalization"):
            self.normalise(node, attributes, decompose)
            return
        if (
            node.op_type == "Reshape"
            and attributes.pop("allowzero", 0)
            and 0 in self.constants.get(node.input[1], np.zeros(1))
        ):
            raise ValueError(f"{node.name} reshapes to 0, or to a computed shape")
        if node.op_type in ("ReduceMax", "ReduceMean") and decompose and len(node.input) == 2:
            # opset 13 has the axes as an attribute
            attributes["axes"] = self.constants[node.input[1]].tolist()
            attributes.pop("noop_with_empty_axes", 0)
            del node.input[1]
        # "to the end" is written as the largest int64
        for name in node.input if node.op_type == "Slice" else ():
            if self.constants.get(name, np.zeros(1)).dtype == np.int64:
                self.constants[name] = self.constants[name].clip(-(2**31) + 1, 2**31 - 1)
        self.nodes.append(
            helper.make_node(node.op_type, node.input, node.output, name=node.name, **attributes)
        )

    def normalise(self, node: onnx.NodeProto, attributes: dict[str, Any], decompose: bool) -> None:
        """An Instance- or LayerNormalization: kept where the parser computes it in float32, else
        written out.
        """
        name, self.n_norms = f"norm{self.n_norms}", self.n_norms + 1
        shape = self.shapes[node.input[0]]
        layer = node.op_type == "LayerNormalization"
        if layer and attributes.get("axis", -1) not in (-1, len(shape) - 1):
            raise ValueError(f"{node.name} normalises over more than the last axis")
        if not decompose:
            self.nodes.append(
                helper.make_node(
                    node.op_type,
                    node.input,
                    node.output,
                    name=f"{name}/{node.op_type}",
                    **attributes,
                )
            )
            return
        axes = [len(shape) - 1] if layer else list(range(2, len(shape)))
        x = node.input[0]
        mean = self.step(name, "ReduceMean", [x], "mean", axes=axes, keepdims=1)
        centred = self.step(name, "Sub", [x, mean], "centred")
        square = self.step(name, "Mul", [centred, centred], "square")
        variance = self.step(name, "ReduceMean", [square], "variance", axes=axes, keepdims=1)
        epsilon = self.constant(f"{name}/epsilon", np.float32(attributes.get("epsilon", 1e-5)))
        deviation = self.step(
            name, "Sqrt", [self.step(name, "Add", [variance, epsilon], "sum")], "deviation"
        )
        y = self.step(name, "Div", [centred, deviation], "unit")
        # the affine part, against (B, G, ...) or (..., D)
        spread = (-1, *[1] * (len(shape) - 2)) if not layer else (-1,)
        weight, bias = (
            self.constants[i].reshape(spread) if i else None for i in (*node.input[1:], "")[:2]
        )
        if weight is not None and (weight != 1).any():
            y = self.step(name, "Mul", [y, self.constant(f"{name}/weight", weight)], "scaled")
        if bias is not None and bias.any():
            y = self.step(name, "Add", [y, self.constant(f"{name}/bias", bias)], "shifted")
        self.nodes[-1].output[0] = node.output[0]

    def step(
        self, name: str, operator: str, inputs: list[str], output: str, **attributes: Any
    ) -> str:
        """Append a node `name`/`output`; returns what its output is called."""
        self.nodes.append(
            helper.make_node(
                operator, inputs, [f"{name}/{output}"], name=f"{name}/{output}", **attributes
            )
        )
        return f"{name}/{output}"

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def name_projection(self) -> None:
        """Name the linear map that ends in the latent, back to its Conv or MatMul."""
        makers = {node.output[0]: node for node in self.nodes}
        wanted, n = self.latent, 0
        while wanted in makers:
            node, n = makers[wanted], n + 1
            node.name = f"project/{n}/{node.op_type}"
            if node.op_type in ("Conv", "Gemm", "MatMul"):
                return
            wanted = next(name for name in node.input if name in makers)
        raise ValueError("an encoder's graph ends in a linear map")

    def finish(
        self, target: Target, name: str, outputs: Mapping[str, tuple[int, list[int]]]
    ) -> onnx.ModelProto:
        """The model, checked; `outputs` have types and shapes."""
        used = {one for node in self.nodes for one in node.input}
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(PIXELS, TensorProto.FLOAT, self.shapes[PIXELS])],
            [helper.make_tensor_value_info(out, *kind) for out, kind in outputs.items()],
            [
                numpy_helper.from_array(np.asarray(value, order="C"), constant)
                for constant, value in self.constants.items()
                if constant in used
            ],
        )
        model = helper.make_model(
            graph, producer_name="task-codec", opset_imports=[helper.make_opsetid("", target.opset)]
        )
        model.ir_version = target.ir
        onnx.checker.check_model(model, full_check=True)
        return model
