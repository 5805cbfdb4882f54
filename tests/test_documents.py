"""README and docs are true: their Python runs, their commands exist and take these options, their
links and file names lead to something.
"""

from __future__ import annotations

import argparse
import importlib
import re
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from codec.cli.app import app
from codec.device import build_engine, command
from codec.model.checkpoint import shipped_names
from eval.zoo import page, read_line
from tests.documents import (
    ALSO_LINKED,
    PAGES,
    ROOT,
    anchors,
    blocks,
    commands,
    inline_code,
    links,
    run_block,
)
from training import backbone, blip
from training.codecs.recipe import CodecRecipe
from training.engine.recipe import read_recipe
from training.rounds.recipe import FederatedRecipe

SAMPLE = ROOT / "pretrained" / "samples" / "cifar10" / "01_cat.png"
RECIPES = {
    "training.backbone": backbone.kind_of,
    "training.blip": blip.kind_of,
    "training.federated": FederatedRecipe,
}
"""What recipe a module reads; every other reads that of a codec."""
VERBS: Any = typer.main.get_command(app)
OF_OTHERS = {
    *("accelerate", "curl", "apt-get", "cd", "git", "python3.6", "pytest", "sha256sum", "source"),
    *(
        "ray",
        "serve",
        "tensorboard",
        "torchrun",
        "uv",
        "flwr",
        "flower-superlink",
        "flower-supernode",
    ),
}
"""Commands of other projects, which are not looked into."""
PYTHON_OF_OTHERS = {"pip", "pytest", "venv"}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the small inputs that the pages name."""
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained", target_is_directory=True)
    (tmp_path / "photos").mkdir()
    for name in ("photo.png", "photo.jpg", *(f"photos/{name}.png" for name in ("b", "c", "cat"))):
        shutil.copy(SAMPLE, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_python_runs(page: Path, place: Path):
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.language == "python":
            if block.info:
                assert re.fullmatch(r"notest: \S.+", block.info), block.place
            else:
                run_block(block, names)


class Parsed(Exception):  # noqa: N818 - not an error: a command line was understood
    """The arguments of a command line, raised in the place of running the command."""


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., argparse.Namespace]:
    """Function (run a command line) -> what its parser made of it; nothing else runs."""
    for name in ("parse_args", "parse_intermixed_args"):
        understand = getattr(argparse.ArgumentParser, name)

        def stop(self: Any, args: Any = None, *_: Any, _understand: Any = understand) -> Any:
            raise Parsed(_understand(self, args))

        monkeypatch.setattr(argparse.ArgumentParser, name, stop)

    def run(start: Callable[[], object]) -> argparse.Namespace:
        with pytest.raises(Parsed) as parsed:
            start()
        return parsed.value.args[0]

    return run


@pytest.fixture
def check(parse: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Function (words of a command): fails where there is no such command or option."""

    def module(name: str, arguments: list[str]) -> None:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        given = vars(parse(lambda: runpy.run_module(name, run_name="__main__", alter_sys=False)))
        recipe = given.get("recipe") or given.get("train")
        overrides = given.get("overrides") or []
        if isinstance(recipe, list):
            recipe, *overrides = recipe
        # a recipe may read its backbone: one that ships stands for that of the reader
        overrides = [
            "backbone=backbones/vit-tiny-cifar10" if re.fullmatch("backbone=[A-Z_]+", o) else o
            for o in overrides
        ]
        if recipe and not recipe.isupper():
            read_recipe(RECIPES.get(name, CodecRecipe), recipe, overrides)

    def run(words: list[str]) -> None:
        first, rest = words[0], words[1:]
        if first == "codec":
            context = VERBS.make_context("codec", list(rest))
            _, verb, arguments = VERBS.resolve_command(context, rest)
            verb.make_context(verb.name, arguments)
        elif "-m" in rest:
            name, *arguments = rest[rest.index("-m") + 1 :]
            if name not in PYTHON_OF_OTHERS:
                module(name, arguments)
        elif rest and rest[0].endswith("taskcodec_device.py"):
            parse(lambda: command.main(rest[1:]))
        elif rest and rest[0].endswith("build_engine.py"):
            parse(lambda: build_engine.main(rest[1:]))
        elif first == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert next(word for word in rest if "=" not in word) in targets
        elif first == "pip":
            project = (ROOT / "pyproject.toml").read_text()
            for extra in re.findall(r"[\w-]+(?=[,\]])", " ".join(w for w in rest if "[" in w)):
                assert f"\n{extra} = [" in project, f"no extra {extra}"
        elif first in ("python", "python3"):
            assert (ROOT / rest[0]).is_file()
        else:
            assert first in OF_OTHERS or (ROOT / first).is_file(), f"what is {first!r}?"

    return run


@pytest.mark.parametrize("page", [*PAGES, *ALSO_LINKED], ids=name_of)
def test_every_command_exists_and_takes_its_options(page: Path, check: Callable[..., None]):
    for block in blocks(page):
        assert block.language in ("python", "sh", "yaml", "") or page in ALSO_LINKED, block.place
        if block.language == "":
            assert not re.search(r"^(codec|make|pip|python\S*) ", block.text, re.MULTILINE), (
                f"{block.place}: name the block `sh`, then its commands are checked"
            )
        if block.language == "sh":
            for words in commands(block):
                try:
                    check(words)
                except (Exception, SystemExit) as error:
                    pytest.fail(f"{block.place}: {' '.join(words)}: {error}")


@pytest.mark.parametrize("page", [*PAGES, *ALSO_LINKED], ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page: Path):
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{name_of(page)}: no file {path}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{name_of(page)}: no heading for {target}"


def named_files(page: Path) -> Iterator[str]:
    """The files of this project that a page names in its prose."""
    for code in inline_code(page):
        yield from re.findall(
            r"^(?:codec|training|eval|tests|docs|pretrained)/[\w./-]*$", code.split(":")[0]
        )


@pytest.mark.parametrize("page", [*PAGES, *ALSO_LINKED], ids=name_of)
def test_every_file_and_module_that_is_named_exists(page: Path):
    for file in named_files(page):
        assert (ROOT / file).exists(), f"{name_of(page)}: no {file}"
    for code in inline_code(page):
        for name in re.findall(r"python -m ((?:codec|training|eval)[\w.]*)", code):
            assert importlib.util.find_spec(name), f"{name_of(page)}: no module {name}"
        words = code.split()
        if words[:1] == ["codec"] and len(words) > 1 and words[1].isalpha() and words[1].islower():
            verb = VERBS.commands[words[1]]
            known = {option for parameter in verb.params for option in parameter.opts}
            options = {word.split("=")[0] for word in words if word.startswith("--")}
            assert options <= known, f"{name_of(page)}: {code}"
        dotted = re.match(r"(?:training|eval|codec\.[a-z]+)\.[\w.]+$", code)
        if dotted and "/" not in code:
            assert found(code), f"{name_of(page)}: nothing is called {code}"


def found(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


def test_the_zoo_is_what_the_shipped_codecs_and_their_sweeps_say():
    lines = [read_line(name) for name in shipped_names()]
    assert (ROOT / "docs" / "zoo.md").read_text() == page(lines), (
        "python -m eval.zoo --out docs/zoo.md writes it anew"
    )


def test_the_results_of_the_readme_are_those_of_the_zoo():
    table = (ROOT / "README.md").read_text()
    for name in shipped_names():
        line = read_line(name)
        pictures = [
            f"{'more than ' if rate.bound == '>' else ''}{rate.n_bytes:,.0f} ({kind})"
            for rate, kind in (line.image, line.image_as_alike)
        ]
        cells = (f"{line.ours.n_bytes:.1f}", *pictures, f"{line.device_macs / 1e6:.1f} M")
        assert re.search(rf"^\| {name} \|[^|]+\| {re.escape(' | '.join(cells))} \|$", table, re.M)


def test_the_readme_has_at_most_900_words():
    assert len((ROOT / "README.md").read_text().split()) <= 900
