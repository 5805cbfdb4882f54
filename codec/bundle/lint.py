"""ONNX graph, target -> what its TensorRT parser would refuse, or would silently get wrong: each
with the node and the mend. `onnx` is imported when a graph is read.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from codec.bundle.lint_rules import RULES, Finding, Version
from codec.bundle.onnx_graph import Graph
from codec.bundle.targets import find_target


def lint_file(path: Path, target: str) -> list[Finding]:
    """Findings of an ONNX file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an ONNX graph that passes the full checker, or an unknown target.
    """
    find_target(target)
    import onnx

    if not path.is_file():
        raise FileNotFoundError(f"no ONNX file at {path}")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # protobuf, the checker and shape inference each raise their own
        raise ValueError(f"{path} is not a valid ONNX file: {error}") from error
    return lint(model, target)


def lint(model: Any, target: str) -> list[Finding]:
    """Findings of an `onnx.ModelProto`, in the order of the graph. Raises ValueError for an unknown
    target.
    """
    of = find_target(target)
    graph = Graph(model)
    findings = [
        Finding(
            node.label,
            "refused",
            f"operator {node.full_type} is not of ONNX",
            "write it in standard operators",
        )
        for node in graph.nodes
        if node.proto.domain not in ("", "ai.onnx")
    ]
    if of.operators is None or of.tensorrt is None:
        return findings
    findings += [
        Finding(
            node.label,
            "refused",
            f"operator {node.full_type} is not in TensorRT {_dotted(of.tensorrt)}'s table",
            _mend(node.type),
        )
        for node in graph.nodes
        if node.proto.domain in ("", "ai.onnx") and node.type not in of.operators
    ]
    for rule in RULES:
        findings += rule(graph, of.tensorrt)
    place = {node.label: i for i, node in enumerate(graph.nodes)}
    return sorted(findings, key=lambda finding: place.get(finding.node, -1))


class Alike(NamedTuple):
    """Findings that differ in nothing but the node: the first of them, and how many there are."""

    first: Finding
    n: int


def alike(findings: list[Finding]) -> list[Alike]:
    """Findings with those that are alike put together, in the order of the first of each."""
    firsts: dict[Finding, Finding] = {}
    counts: Counter[Finding] = Counter()
    for finding in findings:
        nameless = finding._replace(node="")
        firsts.setdefault(nameless, finding)
        counts[nameless] += 1
    return [Alike(first, counts[nameless]) for nameless, first in firsts.items()]


def _mend(operator: str) -> str:
    return {
        "Round": "write sign and floor of the magnitude plus a half",
        "Sign": "write the difference of two Relu branches",
        "LayerNormalization": "write mean, difference, square, mean, root and quotient",
        "GroupNormalization": "write it as a Reshape and "
        "the mean, difference, square, mean, root and quotient",
        "Gelu": "write x * (Erf(x / sqrt 2) + 1) / 2",
    }.get(operator, "write it in operators of the table")


def _dotted(release: Version) -> str:
    return f"{release[0]}.{release[1]}"
