"""a file of the library -> what changes in it, so that Python 3.6 takes it: annotations, aliases
and `TYPE_CHECKING` blocks go, `zip(strict=)` loses its argument, and a file of codec/coding that it
reads becomes a string.

What a file needs beyond that is in `codec/device/old_python.py`.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

Place = tuple[int, int]


class Edit(NamedTuple):
    """A part of a text and what takes its place."""

    start: Place  # line, counted from 1, and byte within it
    end: Place
    text: str


def names_of(tree: ast.Module) -> list[str]:
    """What a file defines at its top level."""
    defined = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    for node in tree.body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        defined += [
            name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
        ]
    return defined


def edits_of(node: ast.AST, source: str, tree: ast.Module) -> list[Edit]:
    """What becomes of one node."""
    if isinstance(node, ast.arg) and node.annotation:
        return [
            Edit((node.lineno, node.col_offset + len(node.arg.encode())), _end(node.annotation), "")
        ]
    if isinstance(node, ast.FunctionDef) and node.returns:
        return [Edit(_arrow(source, node.returns), _end(node.returns), "")]
    if isinstance(node, ast.ClassDef):
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
        return [
            Edit(_start(part.annotation), _end(part.annotation), repr(ast.unparse(part.annotation)))
            for part in fields
        ]
    if (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    ):
        return [whole(node, "")]
    if (
        isinstance(node, ast.Assign)
        and node in tree.body
        and ast.unparse(node.value).startswith("NDArray[")
    ):
        return [whole(node, "")]
    if (
        isinstance(node, ast.AnnAssign)
        and node in tree.body
        and ast.unparse(node.annotation) == "TypeAlias"
    ):
        return [whole(node, "")]
    if isinstance(node, ast.AnnAssign) and not _in_class(node, tree):
        if node.value is None:
            raise ValueError(f"line {node.lineno} declares a type and nothing else")
        return [Edit(_end(node.target), _end(node.annotation), "")]
    if isinstance(node, ast.Assign) and node in tree.body and _read_beside(node.value):
        return [Edit(_start(node.value), _end(node.value), _text_of(_read_beside(node.value)))]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip":
        strict = [word for word in node.keywords if word.arg == "strict"]
        return [Edit(_end(node.args[-1]), _end(word.value), "") for word in strict]
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "functools"
    ):
        instead = {
            "cached_property": "cached_property",
            "cache": "functools.lru_cache(maxsize=None)",
        }.get(node.attr)
        return [Edit(_start(node), _end(node), instead)] if instead else []
    return []


def _read_beside(value: ast.expr) -> str:
    """The file that `(Path(__file__).parent / "name").read_text(...)` reads; else ""."""
    start, _, rest = ast.unparse(value).partition("(Path(__file__).parent / '")
    name, _, end = rest.partition("').read_text(")
    return name if not start and end else ""


def _text_of(name: str) -> str:
    """A file of codec/coding as a string of Python."""
    text = (Path(__file__).parent.parent / "coding" / name).read_text(encoding="utf-8")
    if '"""' in text or text.endswith("\\"):
        raise ValueError(f"codec/coding/{name} cannot be a string between three quotes")
    return f'r"""{text}"""'


def _in_class(node: ast.AnnAssign, tree: ast.Module) -> bool:
    return any(node in part.body for part in ast.walk(tree) if isinstance(part, ast.ClassDef))


def _start(node: ast.expr | ast.stmt) -> Place:
    return node.lineno, node.col_offset


def _end(node: ast.expr | ast.stmt) -> Place:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return node.end_lineno, node.end_col_offset


def whole(node: ast.stmt, text: str) -> Edit:
    """A statement with the line break behind it."""
    return Edit((node.lineno, 0), (_end(node)[0] + 1, 0), text)


def _arrow(source: str, returns: ast.expr) -> Place:
    """Where the `->` of a function begins, with the blank before it."""
    lines = source.encode().splitlines(keepends=True)
    line, column = _start(returns)
    before = lines[line - 1][:column].rindex(b"->")
    return line, len(lines[line - 1][:before].rstrip())


def edited(source: str, edits: list[Edit]) -> str:
    """The text after edits, of which those inside another one are dropped."""
    lines = source.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    starts.append(starts[-1])  # of the line behind the last
    spans = [
        (starts[e.start[0] - 1] + e.start[1], starts[e.end[0] - 1] + e.end[1], e.text)
        for e in edits
    ]
    spans.sort(key=lambda span: (span[0], -span[1]))
    out, at, data = [], 0, source.encode()
    for start, end, text in spans:
        if start >= at:
            out += [data[at:start], text.encode()]
            at = end
    return b"".join([*out, data[at:]]).decode()
