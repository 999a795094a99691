"""The folder that `report --out` leaves: `index.html`, `report.json`, `summary.md`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from weighbridge.errors import WeighbridgeError
from weighbridge.reports import html, markdown
from weighbridge.reports.model import Report


@dataclass(frozen=True, slots=True)
class Written:
    html: Path
    json: Path
    markdown: Path


def to_json(report: Report) -> bytes:
    """`report.json`: the record, indented, with a final line feed."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def rendered(report: Report, kind: Literal["html", "json", "markdown"]) -> bytes:
    """One of the three files."""
    match kind:
        case "html":
            return html.render(report).encode()
        case "json":
            return to_json(report)
        case "markdown":
            return markdown.render(report).encode()


def write(report: Report, folder: Path) -> Written:
    """Write the three files, each whole or not at all. Raises `WeighbridgeError` where the folder cannot be written."""
    files = {
        "index.html": rendered(report, "html"),
        "report.json": rendered(report, "json"),
        "summary.md": rendered(report, "markdown"),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            part = folder / f".{name}.part"
            part.write_bytes(content)
            os.replace(part, folder / name)
    except OSError as error:
        raise WeighbridgeError(
            f"the report cannot be written to {folder}: {error.strerror or error}; name another folder with --out"
        ) from None
    return Written(folder / "index.html", folder / "report.json", folder / "summary.md")
