"""Imports follow the data flow one way: a lower layer never knows a higher one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ALLOWED: dict[str, set[str]] = {  # file of codec, low to high -> the files of codec it may import
    "bitstream": set(),
    "preprocess": set(),
    "split": set(),
    "checkpoint": set(),
    "plot": {"checkpoint"},
    "text": set(),
    "backbone": {"checkpoint"},
    "rangecoder": {"bitstream"},
    "config": {"bitstream", "preprocess"},
    "context": {"rangecoder"},
    "coding": {"bitstream", "context", "rangecoder"},
    "layers": {"bitstream", "coding", "context", "rangecoder"},
    "native_c": set(),
    "native": {"bitstream", "coding", "context", "native_c", "rangecoder"},
    "prior": {"coding", "context", "rangecoder"},
    "transforms": {"split"},
}
ALLOWED["blobs"] = {"bitstream", "coding"}
ALLOWED["networks"] = {"backbone", "config", "context", "split", "transforms"}
ALLOWED["model"] = set(ALLOWED) - {"plot", "text"}
ALLOWED["pipeline"] = ALLOWED["model"] | {"model", "text"}
ALLOWED["demo"] = ALLOWED["pipeline"] | {"pipeline", "plot", "__init__"}
ALLOWED["demo_words"] = ALLOWED["demo"] | {"demo"}
ALLOWED["facts"] = {"checkpoint", "config"}
ALLOWED["console"] = set()
# What runs on a device, without torch; it becomes one file there.
ALLOWED["old_python"] = set()
ALLOWED["engines"] = set()
ALLOWED["device"] = {"blobs", "coding", "context", "engines", "layers", "native", "preprocess", "rangecoder"}
ALLOWED["device_cli"] = {"bitstream", "blobs", "coding", "device", "native"}
ALLOWED["build_engine"] = {"device", "engines", "preprocess"}
ALLOWED["onefile"] = set()
# What makes it.
ALLOWED["targets"] = set()
ALLOWED["lint"] = {"targets"}
ALLOWED["lowering"] = {"context", "engines", "targets"}
ALLOWED["export"] = {"checkpoint", "device", "engines", "lint", "lowering", "model", "onefile", "targets"}
ALLOWED["verify"] = {"device", "model", "pipeline"}
ALLOWED["export_cli"] = ALLOWED["export"] | {"export", "verify", "console"}
ALLOWED["cli"] = ALLOWED["demo_words"] | {"demo_words", "facts", "console", "export_cli"}
ALLOWED["__init__"] = {"bitstream", "model"}  # the import face: what `from codec import ...` offers


def imports(source: str, package: str) -> Iterator[tuple[str, str]]:
    """Each import of a source file in `package`, nested ones too, as (module, name); name is "" for a plain `import`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def imports_of(file: Path) -> Iterator[tuple[str, str]]:
    return imports(file.read_text(), ".".join(file.relative_to(ROOT).parts[:-1]))


def codec_file(module: str, name: str) -> str:
    """Which file of codec an import reaches: "__init__" for a name the package itself offers."""
    _, _, rest = module.partition(".")
    if rest:
        return rest
    return name if (ROOT / "codec" / f"{name}.py").is_file() else "__init__"


def python_files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def place(file: Path) -> str:
    return ".".join(file.relative_to(ROOT / "codec").with_suffix("").parts)


def test_imports_follow_the_data_flow_one_way():
    wrong = []
    for file in python_files("codec"):
        here = place(file)
        assert here in ALLOWED, f"codec/{here}.py has no place in the data flow yet: give it one in tests/test_imports.py"
        reached = {codec_file(module, name) for module, name in imports_of(file) if module.split(".")[0] == "codec"}
        wrong += [f"codec/{here}.py imports {other}, which is not below it" for other in sorted(reached - ALLOWED[here])]
    assert not wrong, "\n".join(wrong)


def test_the_places_themselves_have_no_cycle():
    seen: set[str] = set()
    for _ in ALLOWED:
        seen |= {file for file, below in ALLOWED.items() if below - {"__init__"} <= seen}
    assert seen == set(ALLOWED)


@pytest.mark.parametrize(
    ("package", "above"),
    [("codec", {"training", "eval", "tests"}), ("training", {"eval", "tests"}), ("eval", {"tests"})],
)
def test_a_package_never_imports_one_above_it(package: str, above: set[str]):
    files = python_files(package)
    assert files
    found = [(file.relative_to(ROOT), module) for file in files for module, _ in imports_of(file)]
    wrong = [f"{file} imports {module}" for file, module in found if module.split(".")[0] in above]
    assert not wrong, "\n".join(wrong)


def test_coding_takes_only_the_error_from_the_container():
    taken = {
        name
        for file in ("rangecoder", "coding")
        for module, name in imports_of(ROOT / "codec" / f"{file}.py")
        if module == "codec.bitstream"
    }
    assert taken <= {"BitstreamError"}


def test_only_split_knows_transformers():
    wrong = []
    for file in python_files("codec"):
        for module, name in imports_of(file):
            if module.split(".")[0] != "transformers" or place(file) == "split":
                continue
            loads = module == "transformers" or (module, name) == ("transformers.utils", "logging")
            if not (place(file) == "backbone" and loads):
                wrong.append(f"codec/{place(file)}.py imports {module} {name}".rstrip())
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "reached"),
    [
        ("import codec.model", "model"),
        ("from codec.model import FeatureCodec", "model"),
        ("from codec import model", "model"),
        ("from codec import FeatureCodec", "__init__"),
        ("from . import model", "model"),
        ("from .model import FeatureCodec", "model"),
        ("def f():\n    import codec.model", "model"),
    ],
)
def test_every_way_to_write_an_import_is_seen(line: str, reached: str):
    assert [codec_file(*found) for found in imports(line, "codec")] == [reached]
