"""Looks at every file that is not code: data that the product ships, and the links of the documentation.

Facts carry their source and the day it was read; samples are JSON Lines; nothing lies in the package that is not named
here, so that a file nobody thought of cannot be shipped. Prints what is wrong, one line each, and exits 1.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "src/weighbridge/"


def facts(file: Path) -> Iterator[str]:
    """A TOML table of facts: each says where it was read (`source`, https) and when (`read`, a day not to come)."""
    today = datetime.now(UTC).date()
    for name, row in tomllib.loads(file.read_text("utf-8")).items():
        if not str(row.get("source", "")).startswith("https://"):
            yield f"[{name}] has no `source` that starts with https://"
        try:
            if date.fromisoformat(str(row.get("read"))) > today:
                yield f"[{name}] was read on {row['read']}, a day that is still to come"
        except ValueError:
            yield f"[{name}] says `read` = {row.get('read')!r}; it must be a day such as 2026-01-31"


def json_lines(file: Path) -> Iterator[str]:
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        try:
            if not isinstance(json.loads(line), dict):
                yield f"line {number} is not a JSON object"
        except ValueError as error:
            yield f"line {number} is not JSON: {error}"


def json_document(file: Path) -> Iterator[str]:
    try:
        json.loads(file.read_text("utf-8"))
    except ValueError as error:
        yield f"is not JSON: {error}"


def toml_document(file: Path) -> Iterator[str]:
    """Read and checked, fact by fact, by the room that owns it; here only that it can be read at all."""
    try:
        tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        yield f"is not TOML: {error}"


def text(file: Path) -> Iterator[str]:
    """A template or a style sheet; whoever uses it tests what it becomes."""
    try:
        file.read_text("utf-8")
    except UnicodeDecodeError as error:
        yield f"is not UTF-8: {error}"


VENDORED = {
    # uPlot 1.6.32, MIT, from https://registry.npmjs.org/uplot: dist/uPlot.iife.min.js, dist/uPlot.min.css, LICENSE
    "uplot-1.6.32.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uplot-1.6.32.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uplot-LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
"""What others wrote and we ship as it is: file -> SHA-256."""


def vendored(file: Path) -> Iterator[str]:
    if sha256(file.read_bytes()).hexdigest() != VENDORED.get(file.name):
        yield "is not the file whose SHA-256 stands in scripts/data_files.py, with its version, licence and source"


SHIPPED: dict[str, Callable[[Path], Iterator[str]]] = {
    r"ledger/(providers|cancel|failed|market)\.toml": facts,
    r"licenses/[a-z0-9_./-]+\.toml": toml_document,
    r"app/(first|found)\.toml": text,
    r"reports/templates/[a-z]+\.(html\.j2|css|svg)": text,
    r"scan/(assumptions|candidates)\.toml": toml_document,
    r"scan/templates/scan\.(html\.j2|css|js)": text,
    r"admin/static/[a-z]+\.(css|js)": text,
    r"admin/templates/[a-z_]+\.html\.j2": text,
    r"admin/static/vendor/[a-zA-Z0-9.-]+\.(css|js|txt)": vendored,
    r"samples/[a-z_]+\.jsonl": json_lines,
    r"samples/[a-z_.]+\.json": json_document,
    r"store/runbooks/[a-z-]+\.md": text,
    r"py\.typed": text,
}
"""Every kind of file in the package that is not Python, and what must hold for it."""


def shipped_problems(name: str) -> Iterator[str]:
    inside = name.removeprefix(PACKAGE)
    looks = [look for pattern, look in SHIPPED.items() if re.fullmatch(pattern, inside)]
    if not looks:
        yield f"{name}: nobody said what this file is; name it in scripts/data_files.py, or remove it"
    for look in looks:
        for problem in look(REPOSITORY / name):
            yield f"{name}: {problem}"


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get where it is shown."""
    titles = re.findall(r"^#+\s+(.*?)\s*$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def link_problems(name: str) -> Iterator[str]:
    page = REPOSITORY / name
    for match in LINK.finditer(FENCE.sub("", page.read_text("utf-8"))):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        found = page if not path else (page.parent / path)
        if not found.exists():
            yield f"{name}: the link {target} leads nowhere"
        elif anchor and found.suffix == ".md" and anchor not in anchors(found):
            yield f"{name}: the link {target} names no heading of that page"


def unreachable(pages: list[str], index: str = "docs/README.md") -> Iterator[str]:
    """Pages of the documentation that its index does not lead to, itself or through an index of a folder."""
    listed = set(_linked(index))
    for folder_index in [name for name in listed if name.endswith("/README.md") and name in pages]:
        listed.update(_linked(folder_index))
    for name in pages:
        if name.startswith("docs/") and name != index and name not in listed:
            yield f"{name}: {index} does not lead to it"


def _linked(index: str) -> Iterator[str]:
    page = REPOSITORY / index
    for match in LINK.finditer(page.read_text("utf-8")):
        found = (page.parent / unquote((match[1] or match[2]).partition("#")[0])).resolve()
        if found.is_relative_to(REPOSITORY):
            yield str(found.relative_to(REPOSITORY))


def main() -> int:
    tracked = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    names = sorted(name for name in tracked if name and (REPOSITORY / name).is_file())
    shipped = [name for name in names if name.startswith(PACKAGE) and not name.endswith(".py")]
    pages = [name for name in names if name.endswith(".md")]
    problems = [problem for name in shipped for problem in shipped_problems(name)]
    problems += [problem for name in pages for problem in link_problems(name)]
    problems += unreachable(pages)
    print(
        "\n".join(problems) if problems else f"{len(shipped)} shipped data files, {len(pages)} pages with their links"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
