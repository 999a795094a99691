"""Is a required text really shown? Looks into a folder, or into a page and nothing that it links to."""

import html
import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.licenses.kit import RequiredText
from weighbridge.upstream import Broken, Client, Unreachable

_FILE_BYTES_MAX = 8 << 20
_PAGE_BYTES_MAX = 16 << 20
_FETCH_S_MAX = 20.0
_READ_AS_TEXT = frozenset(
    {
        *(".html", ".htm", ".txt", ".md", ".rst", ".json", ".js", ".jsx", ".ts", ".tsx", ".vue", ".svelte"),
        *(".css", ".xml", ".svg", ".yaml", ".yml", ".toml", ".py", ".jinja", ".j2", ""),
    }
)


class Place(msgspec.Struct, frozen=True):
    """Where a required text was looked for, and where it was found (`None`: nowhere)."""

    required: RequiredText
    found_in: str | None


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON of `license obligations --check`."""

    looked_in: str
    files: int
    texts: tuple[Place, ...]


def plain(text: str) -> str:
    """What a reader of a page or file sees: no tags, scripts or comments, one space between words."""
    text = re.sub(r"(?is)<(script|style)\b.*?</\1\s*>|<!--.*?-->", " ", text)
    text = re.sub(r"(?s)<[^>]{0,2000}>", " ", text)
    return re.sub(r"\s+", " ", html.unescape(text))


def look(pages: dict[str, str], required: tuple[RequiredText, ...], where: str) -> Shown:
    """Find each text on some page; compared word for word after markup and spacing are taken away."""
    seen = {name: plain(text) for name, text in pages.items()}
    return Shown(
        looked_in=where,
        files=len(pages),
        texts=tuple(Place(one, _first(seen, one.texts)) for one in required),
    )


def _first(pages: dict[str, str], texts: tuple[str, ...]) -> str | None:
    wanted = [plain(text).strip() for text in texts]
    return next((name for name, page in pages.items() if any(text in page for text in wanted)), None)


def read_folder(folder: Path) -> dict[str, str]:
    """Text files below `folder` by relative path; files over 8 MiB and binary ones are left out."""
    pages = {}
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") or part == "node_modules" for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or path.suffix.lower() not in _READ_AS_TEXT:
            continue
        if path.stat().st_size <= _FILE_BYTES_MAX:
            pages[str(path.relative_to(folder))] = path.read_bytes().decode(errors="replace")
    return pages


async def read_page(url: str) -> dict[str, str]:
    """One page, without running its scripts. Raises `UsageError` or `WeighbridgeError`."""
    return {url: (await fetch(url)).decode(errors="replace")}


async def fetch(url: str) -> bytes:
    """What lies at an address, byte for byte. Raises `UsageError` or `WeighbridgeError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url!r} is neither a folder nor a page; write a path or http(s)://HOST/PATH")
    path = parts.path or "/"
    query = f"?{parts.query}" if parts.query else ""
    try:
        async with Client(f"{parts.scheme}://{parts.netloc}", response_bytes_max=_PAGE_BYTES_MAX) as client:
            reply = await client.get(f"{path}{query}", [(b"accept", b"text/html,*/*")], _FETCH_S_MAX)
    except TimeoutError:
        raise WeighbridgeError(f"{url} could not be read: no answer within {_FETCH_S_MAX:.0f} s") from None
    except (Unreachable, Broken) as error:
        raise WeighbridgeError(f"{url} could not be read: {error}") from None
    if reply.status != 200:
        moved = reply.header(b"location")
        to = f" (it leads to {moved.decode(errors='replace')}; name that page)" if moved is not None else ""
        raise WeighbridgeError(f"{url} answered with status {reply.status}{to}; allowed is 200")
    return reply.body
