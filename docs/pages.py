"""Pages of the repository -> pages of the site: what MkDocs is told beyond `mkdocs.yml`, the pages
outside docs/, the notebook as a page, and the links between them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).parent.parent
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Pages at the root of the repository, and their names on the site."""
COPIED = ("CITATION.cff",)
NOTEBOOK = "tutorial.ipynb"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/, the notebook as a page, and the colours of code."""
    for name, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=_at_the_site(ROOT / name)))
    for name in COPIED:
        files.append(File.generated(config, name, content=(ROOT / name).read_text()))
    colours = HtmlFormatter().get_style_defs(".highlight")
    files.append(File.generated(config, "pygments.css", content=colours))
    notebook = json.loads((ROOT / "docs" / NOTEBOOK).read_text())
    files.append(File.generated(config, "tutorial.md", content=_as_page(notebook)))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """A link to the notebook leads to its page; why a block is no test is not for the site."""
    if page.file.src_uri != "tutorial.md":
        markdown = markdown.replace(f"]({NOTEBOOK})", "](tutorial.md)")
    return re.sub(r"^```(\w+) notest: .*$", r"```\1", markdown, flags=re.MULTILINE)


def _at_the_site(path: Path) -> str:
    """The text of a page at the root, with its links as they are in docs/."""
    text = path.read_text().replace("](docs/", "](")
    for name, page in OUTSIDE.items():
        text = text.replace(f"]({name})", f"]({page})")
    return text


def _as_page(notebook: dict[str, Any]) -> str:
    """The cells of a notebook as markdown."""
    cells = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        cells.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(cells) + f"\n\n[This page as a notebook]({NOTEBOOK})\n"
