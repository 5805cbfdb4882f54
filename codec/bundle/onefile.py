"""files of the library -> one file for devices, `taskcodec_device.py`: the same code, in the syntax
of Python 3.6.

There is one copy of coder, context model, container and preprocessing, the library's. The one file
is their text, in the order of the data flow, less what only types need (annotations, aliases,
`TYPE_CHECKING` blocks) and the imports among themselves; `zip(strict=)` loses its argument, a file
that is read beside the library's becomes a string, and dataclasses and cached properties come from
`codec/device/old_python.py`. Anything else that Python 3.6 does not take is left as it is, for the
tests to find.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

SOURCES = (
    "device.old_python",
    "files",
    *(
        f"coding.{name}"
        for name in (
            "container",
            "tables",
            "portable",
            "constriction",
            "coders",
            "exact",
            "passes",
            "context",
            "places",
            "integer_prior",
            "progressive",
            "compiled",
            "native",
            "opening",
            "budget",
            "blobs",
        )
    ),
    *(
        f"device.{name}"
        for name in ("pictures", "preprocess", "cuda", "engines", "encoder", "command")
    ),
)
"""In the order of the data flow: each file names only what is above it."""
DEVICE_FILE, BUILD_FILE = "taskcodec_device.py", "build_engine.py"
STAND_INS = {"asdict", "dataclass"}

MISSING = """try:
{imports}except ImportError as error:
    if __name__ != "__main__":
        raise
    print(
        "{program}: error: numpy and Pillow are needed (python3-numpy and python3-pil by apt, or "
        "pip): %s" % error,
        file=sys.stderr,
    )
    sys.exit(2)
"""

Place = tuple[int, int]


class _Edit(NamedTuple):
    start: Place  # line, counted from 1, and byte within it
    end: Place
    text: str


def device_source() -> str:
    """The text of `taskcodec_device.py`."""
    texts, imports, taken = [], set(), dict[str, str]()
    for name in SOURCES:
        text, needed = _plain(_read(name), joined=set(SOURCES))
        for top in _names(ast.parse(text)):
            if taken.setdefault(top, name) != name:
                raise ValueError(f"{_place(name)} and {_place(taken[top])} both define {top}")
        texts.append(f"\n\n# {'-' * 20} {_place(name)}\n\n{text.strip()}\n")
        imports |= needed
    head = "A task-codec bundle's runtime in one file: made of the library's own files by\n"
    head = f'"""{head}codec/bundle/onefile.py; do not edit.\n"""\n\n'
    return head + _imports(imports, "taskcodec") + "".join(texts)


def build_source() -> str:
    """The text of `build_engine.py`, which imports `taskcodec_device`."""
    text, imports = _plain(_read("device.build_engine"), joined=set())
    doc = ast.parse(text).body[0]
    lines = text.splitlines(keepends=True)
    head, rest = "".join(lines[: doc.end_lineno]), "".join(lines[doc.end_lineno :])
    return head + "\n" + _imports(imports, "build_engine") + "\n\n" + rest.strip() + "\n"


def _read(name: str) -> str:
    return (Path(__file__).parent.parent.parent / _place(name)).read_text(encoding="utf-8")


def _place(name: str) -> str:
    """Path of a file of the library, from the folder that `codec` is in."""
    return f"codec/{name.replace('.', '/')}.py"


def _imports(lines: set[str], program: str) -> str:
    """Imports in order; where a package is missing and the file is run as a program, that ends in
    one line and exit code 2.
    """
    ordered = sorted(lines | {"import sys"}, key=_import_order)
    own = [line for line in ordered if not _import_order(line)[0]]
    others = [f"    {line}\n" for line in ordered if _import_order(line)[0]]
    return "\n".join(own) + "\n\n" + MISSING.format(imports="".join(others), program=program)


def _import_order(line: str) -> tuple[bool, bool, str]:
    return (
        line.split()[1].split(".")[0] in ("numpy", "PIL", Path(DEVICE_FILE).stem),
        line.startswith("from"),
        line,
    )


def _plain(source: str, joined: set[str]) -> tuple[str, set[str]]:
    """A file without what only types need -> its text without top-level imports, and those it
    needs.

    Args:
        joined: the files of the library that are in the same text; what is taken from another one
            comes from the one file.
    """
    tree = ast.parse(source)
    text = _edited(source, [edit for node in ast.walk(tree) for edit in _edits(node, source, tree)])
    tree = ast.parse(text)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    edits, imports = [], set()
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            edits.append(_whole(node, ""))
            imports |= {
                line
                for alias in node.names
                if (line := _import(node, alias, joined)) and _bound(alias) in used
            }
    for inner in ast.walk(tree):
        if (
            isinstance(inner, ast.ImportFrom)
            and inner not in tree.body
            and (inner.module or "").split(".")[0] == "codec"
        ):
            raise ValueError(f"an import inside a function, of {inner.module}, cannot be joined")
    return _edited(text, edits), imports


def _import(node: ast.Import | ast.ImportFrom, alias: ast.alias, joined: set[str]) -> str:
    """An import as a line of its own; none where it is in the same text."""
    renamed = f" as {alias.asname}" if alias.asname else ""
    if isinstance(node, ast.Import):
        return f"import {alias.name}{renamed}"
    package, _, name = (node.module or "").partition(".")
    if package == "codec":
        if renamed or not name:
            raise ValueError(
                f"an import from {node.module} cannot be joined: write `from codec.file import "
                "name`"
            )
        return "" if name in joined else f"from {Path(DEVICE_FILE).stem} import {alias.name}"
    if package == "dataclasses" and joined:
        if alias.name not in STAND_INS:
            raise ValueError(f"codec/device/old_python.py has no {alias.name}")
        return ""
    return "" if package == "__future__" else f"from {node.module} import {alias.name}{renamed}"


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.split(".")[0]


def _names(tree: ast.Module) -> list[str]:
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


def _edits(node: ast.AST, source: str, tree: ast.Module) -> list[_Edit]:
    """What becomes of one node."""
    if isinstance(node, ast.arg) and node.annotation:
        return [
            _Edit(
                (node.lineno, node.col_offset + len(node.arg.encode())), _end(node.annotation), ""
            )
        ]
    if isinstance(node, ast.FunctionDef) and node.returns:
        return [_Edit(_arrow(source, node.returns), _end(node.returns), "")]
    if isinstance(node, ast.ClassDef):
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
        return [
            _Edit(
                _start(part.annotation), _end(part.annotation), repr(ast.unparse(part.annotation))
            )
            for part in fields
        ]
    if (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    ):
        return [_whole(node, "")]
    if (
        isinstance(node, ast.Assign)
        and node in tree.body
        and ast.unparse(node.value).startswith("NDArray[")
    ):
        return [_whole(node, "")]
    if (
        isinstance(node, ast.AnnAssign)
        and node in tree.body
        and ast.unparse(node.annotation) == "TypeAlias"
    ):
        return [_whole(node, "")]
    if isinstance(node, ast.AnnAssign) and not _in_class(node, tree):
        if node.value is None:
            raise ValueError(f"line {node.lineno} declares a type and nothing else")
        return [_Edit(_end(node.target), _end(node.annotation), "")]
    if isinstance(node, ast.Assign) and node in tree.body and _read_beside(node.value):
        return [_Edit(_start(node.value), _end(node.value), _text_of(_read_beside(node.value)))]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip":
        strict = [word for word in node.keywords if word.arg == "strict"]
        return [_Edit(_end(node.args[-1]), _end(word.value), "") for word in strict]
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "functools"
    ):
        instead = {
            "cached_property": "cached_property",
            "cache": "functools.lru_cache(maxsize=None)",
        }.get(node.attr)
        return [_Edit(_start(node), _end(node), instead)] if instead else []
    return []


def _read_beside(value: ast.expr) -> str:
    """The name of the file in `(Path(__file__).parent / "name").read_text(...)`, else ""."""
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


def _whole(node: ast.stmt, text: str) -> _Edit:
    """A statement with the line break behind it."""
    return _Edit((node.lineno, 0), (_end(node)[0] + 1, 0), text)


def _arrow(source: str, returns: ast.expr) -> Place:
    """Where the `->` of a function begins, with the blank before it."""
    lines = source.encode().splitlines(keepends=True)
    line, column = _start(returns)
    before = lines[line - 1][:column].rindex(b"->")
    return line, len(lines[line - 1][:before].rstrip())


def _edited(source: str, edits: list[_Edit]) -> str:
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
