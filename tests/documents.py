"""What README and docs hold: code blocks, commands, links. `tests/test_documents.py` tries them.

A block of Python runs as a test. One that cannot run here says why, where a reader sees it too:

    ```python notest: needs a GPU

A block of `sh` holds commands, whose names and options are checked. A block without a name is
output or a diagram, and holds no commands of ours.
"""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALSO_LINKED = [ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
"""Pages whose links and commands are checked too, and whose Python is not run."""


class Block(NamedTuple):
    """A fenced block: its page, the number of its first line, its language, the rest of the info
    string, its text.
    """

    page: Path
    line: int
    language: str
    info: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, from the first to the last."""
    found = []
    fence = re.compile(r"^```([^\n`]*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
    text = page.read_text()
    for match in fence.finditer(text):
        language, _, info = match[1].strip().partition(" ")
        found.append(Block(page, text[: match.start(2)].count("\n") + 1, language, info, match[2]))
    return found


def without_blocks(page: Path) -> str:
    """The prose of a page."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(block: Block) -> list[list[str]]:
    """The commands of a block of `sh`, each as its words, without comments and variables set
    before it.
    """
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        if words:
            found.append(words)
    return found


def links(page: Path) -> list[str]:
    """Targets of all links and pictures of a page that are not on the web."""
    targets = re.findall(r"\]\(([^)\s]+)\)", without_blocks(page))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


def inline_code(page: Path) -> list[str]:
    """What stands between backticks in a page's prose, each on one line."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", without_blocks(page))]


def run_block(block: Block, names: dict[str, Any]) -> None:
    """Run a block of Python in `names`. What a comment says of its line is checked: `# "text"` or
    another literal behind an expression is its value, `# 22 bytes` behind an assignment the length.
    """
    lines = block.text.splitlines()
    for node in ast.parse(block.text).body:
        comment = lines[(node.end_lineno or 1) - 1].rpartition("  # ")[2]
        start = "\n" * (block.line + node.lineno - 2)
        source = start + "\n".join(lines[node.lineno - 1 : node.end_lineno])
        if isinstance(node, ast.Expr):
            value = eval(compile(source.strip("\n"), block.place, "eval"), names)
            try:
                said = ast.literal_eval(comment)
            except (ValueError, SyntaxError):
                continue
            assert value == said, f"{block.place}: {value!r}, and the comment says {comment}"
        else:
            exec(compile(source, block.place, "exec"), names)
            length = re.match(r"(\d+) bytes", comment)
            if length and isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                assert len(names[node.targets[0].id]) == int(length[1]), block.place
