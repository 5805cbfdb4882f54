"""files of the library -> one file for devices, `taskcodec_device.py`: the same code, in the syntax
of Python 3.6 (`old_syntax`).

There is one copy of coder, context model, container and preprocessing, the library's. The one file
is their text, in the order of the data flow, less what only types need (annotations, aliases,
`TYPE_CHECKING` blocks) and the imports among themselves; a file that is read beside the library's
becomes a string, and dataclasses and cached properties come from `codec/device/old_python.py`.
Anything else that Python 3.6 does not take is left as it is, for the tests to find.
"""

from __future__ import annotations

import ast
from pathlib import Path

from codec.bundle.old_syntax import edited, edits_of, names_of, whole

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
        for name in (
            "arrays",
            "pictures",
            "preprocess",
            "taking",
            "cuda",
            "built",
            "engines",
            "npz",
            "bundle",
            "encoder",
            "post",
            "command",
        )
    ),
)
"""In the order of the data flow: each file names only what is above it."""
DEVICE_FILE, BUILD_FILE = "taskcodec_device.py", "build_engine.py"
STAND_INS = {"asdict", "dataclass"}

MISSING = """try:
{imports}except ImportError as error:
    if __name__ != "__main__":
        raise
    needed = "numpy and Pillow are needed (python3-numpy and python3-pil by apt, or pip)"
    print("{program}: error: %s: %s" % (needed, error), file=sys.stderr)
    sys.exit(2)
"""

HEAD = (
    '"""A task-codec bundle\'s runtime in one file: made of the library\'s own files by '
    'codec/bundle/onefile.py; do not edit."""\n\n'
)


def device_source() -> str:
    """The text of `taskcodec_device.py`."""
    texts, imports, taken = [], set(), dict[str, str]()
    for name in SOURCES:
        text, needed = _plain(_read(name), joined=set(SOURCES))
        for top in names_of(ast.parse(text)):
            if taken.setdefault(top, name) != name:
                raise ValueError(f"{_place(name)} and {_place(taken[top])} both define {top}")
        texts.append(f"\n\n# {'-' * 20} {_place(name)}\n\n{text.strip()}\n")
        imports |= needed
    return HEAD + _imports(imports, "taskcodec") + "".join(texts)


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
    text = edited(
        source, [edit for node in ast.walk(tree) for edit in edits_of(node, source, tree)]
    )
    tree = ast.parse(text)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    edits, imports = [], set()
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            edits.append(whole(node, ""))
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
    return edited(text, edits), imports


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
