"""The documentation as a site: `scripts/docs site` builds it with Sphinx, without a network; a warning is an error.

The pages are the repository's own, read where they lie, so that a link is the same on the site and in a checkout.
docs/README.md is the one index: the navigation is made of its tables.
"""

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from pygments.lexers.special import TextLexer

if TYPE_CHECKING:
    from sphinx.application import Sphinx

REPOSITORY = Path(__file__).resolve().parent.parent
INDEX = "docs/README"
VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["version"]

project = "Weighbridge"
author = "the Weighbridge authors"
version = release = VERSION
extensions = ["myst_parser"]
root_doc = "README"
BESIDE = [
    "CHANGELOG",
    "CONTRIBUTING",
    "SECURITY",
    "examples/README",
    "docs/example/summary",
    "tests/scan/fixtures/README",
]
include_patterns = ["README.md", *(f"{name}.md" for name in BESIDE), "docs/**"]
exclude_patterns = ["docs/conf.py"]
myst_heading_anchors = 4
nitpicky = True
suppress_warnings = [
    "myst.header",  # generated pages of commands go from the title to the second level
]
html_theme = "furo"
html_title = f"Weighbridge {VERSION}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
templates_path: list[str] = []
html_static_path: list[str] = []

_SECTION = re.compile(r"^\*\*(.+?)\*\*|^\| \[[^\]]*\]\(([^)#]+)\)", re.MULTILINE)


def toctrees(index: str, folder: str) -> str:
    """The tables of an index page as toctrees, each under the bold words before its table."""
    captions: dict[str, list[str]] = {}
    caption = "Pages"
    for bold, page in _SECTION.findall(index):
        if bold:
            caption = bold.rstrip(".:")
        elif page.endswith(".md"):
            captions.setdefault(caption, []).append(f"/{folder}/{page.removesuffix('.md')}")
    return "".join(toctree(name, pages) for name, pages in captions.items())


def toctree(caption: str, pages: list[str]) -> str:
    return f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"


def _with_navigation(app: "Sphinx", name: str, source: list[str]) -> None:
    if name == root_doc:
        source[0] += toctree("Documentation", [f"/{INDEX}"])
        source[0] += toctrees((REPOSITORY / f"{INDEX}.md").read_text("utf-8"), "docs")
        source[0] += toctree("Working on it", [f"/{name}" for name in BESIDE])
    elif name == "docs/runbooks/README":
        source[0] += toctrees(source[0], "docs/runbooks")


def setup(app: "Sphinx") -> None:
    app.connect("source-read", _with_navigation)
    app.add_lexer("mermaid", TextLexer)  # drawn where the repository is shown; here its source, which reads as a table
