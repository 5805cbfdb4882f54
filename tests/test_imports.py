"""Imports go one way, from the rooms above to those below; one rule a room, and what a room may
take from outside.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ROOMS = {  # of each package, from the lowest to the highest: a room may import those before it
    "codec": (
        "files",
        "coding",
        "device",
        "link",
        "tasks",
        "model",
        "pipeline",
        "updates",
        "bundle",
        "serve",
        "show",
        "cli",
    ),
    "training": (
        "scenes",
        "data",
        "engine",
        "backbones",
        "codecs",
        "backbone",
        "blip",
        "train",
        "calibrate",
        "alone",
        "rounds",
        "federated",
        "flower",
    ),
    "eval": (
        "methods",
        "measuring",
        "updates",
        "link",
        "studies",
        "report",
        "plot",
        "samples",
        "zoo",
        "sweep",
        "federated",
    ),
}
PACKAGES = ("codec", "training", "eval")
FACE = {"coding", "device", "model", "pipeline"}
"""What `from codec import ...` offers is from these."""
WITHOUT_TORCH = ("files.py", "coding", "device", "link")


def imports(source: str, package: str) -> Iterator[tuple[str, str]]:
    """Each import of a source file in `package`, nested ones too, as (module, name); name is "" for
    a plain `import`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = (
                package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            )
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def imports_of(file: Path) -> Iterator[tuple[str, str]]:
    return imports(file.read_text(), ".".join(file.relative_to(ROOT).parts[:-1]))


def python_files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def room_of(file: Path) -> str:
    """The room that a file is in; one directly in its package is a room of its own, "__init__" its
    face.
    """
    return file.relative_to(ROOT).with_suffix("").parts[1]


def reached(module: str, name: str, package: str) -> str:
    """The room of `package` that an import reaches: "__init__" for a name that the package itself
    offers.
    """
    _, _, rest = module.partition(".")
    if rest:
        return rest.split(".")[0]
    if not name:
        return "__init__"
    here = ROOT / package / name
    return name if here.is_dir() or here.with_suffix(".py").is_file() else "__init__"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_imports_only_those_below_it(package: str):
    order, wrong = ROOMS[package], []
    for file in python_files(package):
        here = room_of(file)
        if here == "__init__":
            below = FACE
        else:
            assert here in order, (
                f"{file.relative_to(ROOT)} is in no room yet: give it one in tests/test_imports.py"
            )
            below = {*order[: order.index(here) + 1], "__init__"}
        for module, name in imports_of(file):
            if (
                module.split(".")[0] == package
                and (other := reached(module, name, package)) not in below
            ):
                wrong.append(f"{file.relative_to(ROOT)} imports {other}, which is not below it")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_never_imports_one_above_it(package: str):
    above = {*PACKAGES[PACKAGES.index(package) + 1 :], "tests"}
    files = python_files(package)
    assert files
    found = [(file.relative_to(ROOT), module) for file in files for module, _ in imports_of(file)]
    wrong = [f"{file} imports {module}" for file, module in found if module.split(".")[0] in above]
    assert not wrong, "\n".join(wrong)


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_file_imports_itself_over_others():
    files = {module_of(file): file for package in PACKAGES for file in python_files(package)}
    below = {
        module: {
            name
            for found in imports_of(file)
            for name in (found[0], ".".join(found))
            if name in files and name != module
        }
        for module, file in files.items()
    }
    below = {
        module: {n for n in names if not module.startswith(f"{n}.") and n not in PACKAGES}
        for module, names in below.items()
    }
    lazy = {"codec", "codec.model"}  # their faces import when they are asked
    seen: set[str] = set(lazy)
    for _ in below:
        seen |= {module for module, names in below.items() if names <= seen}
    assert seen == set(below), f"a circle among {sorted(set(below) - seen)}"


SPLIT_FILES = tuple(
    f"codec/model/{name}.py" for name in ("split", "split_names", "split_tower", "split_text")
)
INSIDES = set(
    [
        "vision_model",
        "text_model",
        "text_encoder",
        "text_decoder",
        "bert",
        "vit",
        "deit",
        "dinov2",
        "embeddings",
        "patch_embeddings",
        "patch_embedding",
        "position_embeddings",
        "position_embedding",
        "num_patches",
        "projection",
        "cls_token",
        "pooler",
        "attention",
        "crossattention",
        "q_proj",
        "k_proj",
        "v_proj",
        "cls",
        "base_model_prefix",
        "_supports_sdpa",
    ]
)
"""Parts of transformers' models: no output, configuration or public call has these names."""


def insides(source: str) -> Iterator[str]:
    """Attributes of transformers' models that a source file reads or sets, also by `getattr` and
    the like.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            by_name = node.func.id in ("getattr", "hasattr", "setattr", "delattr")
            values = [arg.value for arg in node.args[1:2] if isinstance(arg, ast.Constant)]
            names = [str(value) for value in values] if by_name else []
        else:
            continue
        yield from (name for name in names if name in INSIDES)


def test_only_split_imports_transformers():
    wrong = []
    for file in python_files("codec"):
        for module, name in imports_of(file):
            here = file.relative_to(ROOT).as_posix()
            if module.split(".")[0] != "transformers" or here in SPLIT_FILES:
                continue
            loads = module == "transformers" or (module, name) == ("transformers.utils", "logging")
            if not (here == "codec/model/backbone.py" and loads):
                wrong.append(f"{here} imports {module} {name}".rstrip())
    assert not wrong, "\n".join(wrong)


def test_only_split_knows_the_insides_of_transformers():
    files = [file for package in PACKAGES for file in python_files(package)]
    here = {file.relative_to(ROOT).as_posix(): file for file in files}
    wrong = [
        f"{name} knows {inside}"
        for name, file in here.items()
        if name not in SPLIT_FILES
        for inside in insides(file.read_text())
    ]
    assert not wrong, "\n".join(wrong)
    assert all(list(insides(here[name].read_text())) for name in SPLIT_FILES)


@pytest.mark.parametrize(
    "line",
    [
        "model.vision_model(pixels)",
        "model.vit.layers[0].attention.q_proj.weight",
        "head.embeddings = Identity()",
        'getattr(model, "text_decoder", None)',
        "if model._supports_sdpa: pass",
    ],
)
def test_every_way_to_reach_inside_is_seen(line: str):
    assert list(insides(line))
    assert not list(insides("model(pixel_values=x).last_hidden_state; model.config.hidden_size"))


def test_what_runs_on_a_device_never_imports_torch():
    wrong = [
        f"{file.relative_to(ROOT)} imports {module}"
        for room in WITHOUT_TORCH
        for file in (python_files(f"codec/{room}") or [ROOT / "codec" / room])
        for module, _ in imports_of(file)
        if module.split(".")[0] in ("torch", "transformers", "safetensors")
    ]
    assert not wrong, "\n".join(wrong)


def test_only_show_and_cli_write_for_people():
    wrong = [
        f"{file.relative_to(ROOT)} imports {module}"
        for package in ("codec", "training")
        for file in python_files(package)
        for module, _ in imports_of(file)
        if module.split(".")[0] in ("rich", "matplotlib", "typer")
        and room_of(file) not in ("show", "cli")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "room"),
    [
        ("import codec.model", "model"),
        ("from codec.model import FeatureCodec", "model"),
        ("from codec.coding.context import LIMIT", "coding"),
        ("from codec import model", "model"),
        ("from codec import pipeline", "pipeline"),
        ("from codec import FeatureCodec", "__init__"),
        ("from . import model", "model"),
        ("from .model import FeatureCodec", "model"),
        ("def f():\n    import codec.model", "model"),
    ],
)
def test_every_way_to_write_an_import_is_seen(line: str, room: str):
    assert [reached(*found, "codec") for found in imports(line, "codec")] == [room]
