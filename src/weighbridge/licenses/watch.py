"""`license watch`: what was accepted, by hash and date, against what is there now; what changed, in meaning.

The lock file holds, for each model in use, the recorded terms as they were accepted (the whole record, so that a later
correction can be told apart from a change of licence) and each text that belongs to it: licence file, licence of the
weights, model card, policy page. The texts themselves lie beside it by their hash, so that what was accepted can
still be read when its page is gone.
"""

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from weighbridge.errors import ConfigError, WeighbridgeError
from weighbridge.licenses.diff import Difference, compare
from weighbridge.licenses.model import Terms
from weighbridge.licenses.resolve import Recorded, resolve
from weighbridge.licenses.shown import plain

LOCK_FILE = "weighbridge-licenses.json"
TEXTS = "weighbridge-licenses"


class Text(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text as accepted: where it was read (a path or URL), and the sha256 of what a reader sees of it."""

    place: str
    sha256: str


class Accepted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was accepted for one model (or text), on which day."""

    name: str
    on: str
    terms: tuple[Terms, ...]
    texts: tuple[Text, ...] = ()


class Lock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: Literal["license-lock/1"] = "license-lock/1"
    accepted: tuple[Accepted, ...] = ()


class News(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it was accepted."""

    name: str
    kind: Literal["not accepted", "terms", "record", "text", "gone"]
    sentence: str
    differences: tuple[Difference, ...] = ()
    lines: tuple[str, ...] = ()
    """For a text: the lines that went (-) and came (+)."""


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON of `license watch`."""

    on: str
    unchanged: tuple[str, ...]
    news: tuple[News, ...]


def read_lock(file: Path) -> Lock:
    """The lock, empty where there is no file yet. Raises `ConfigError` for one that cannot be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Lock)
    except FileNotFoundError:
        return Lock()
    except msgspec.MsgspecError as error:
        raise ConfigError(
            str(file), "file", f"is not a licence lock: {error}; restore it from version control"
        ) from None


def accept(lock: Lock, file: Path, name: str, texts: Mapping[str, str], on: str) -> Lock:
    """The lock with `name` accepted as it is today. `texts`: place -> text, kept beside the lock by hash."""
    kept = []
    for place, text in texts.items():
        seen = seen_text(text)
        digest = hashlib.sha256(seen.encode()).hexdigest()
        folder = file.parent / TEXTS
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{digest}.txt").write_text(seen, encoding="utf-8")
        kept.append(Text(place=place, sha256=digest))
    one = Accepted(name=name, on=on, terms=recorded(name), texts=tuple(kept))
    others = tuple(row for row in lock.accepted if row.name != name)
    return Lock(accepted=tuple(sorted((*others, one), key=lambda row: row.name)))


def write_lock(lock: Lock, file: Path) -> None:
    """Write whole, then move into place: a reader never sees half of it."""
    part = file.with_name(f"{file.name}.part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(lock), indent=1) + b"\n")
    part.replace(file)


def compare_with(lock: Lock, file: Path, name: str, texts: Mapping[str, str | None]) -> tuple[News, ...]:
    """What is new about `name`. `texts`: place -> text now, `None` where it could not be read."""
    was = next((row for row in lock.accepted if row.name == name), None)
    if was is None:
        return (News(name=name, kind="not accepted", sentence=f"{name} was never accepted: --accept does it."),)
    return (*_terms_news(name, was), *_text_news(name, was, file.parent / TEXTS, texts))


def places(lock: Lock, name: str) -> tuple[str, ...]:
    """Where the texts of `name` were read when it was accepted."""
    return next((tuple(text.place for text in row.texts) for row in lock.accepted if row.name == name), ())


def recorded(name: str) -> tuple[Terms, ...]:
    """The recorded terms of a model, text or stack; empty where none are."""
    return tuple(part.terms for part in resolve(name) if isinstance(part, Recorded))


def seen_text(text: str) -> str:
    """A text as a reader sees it, one sentence a line: markup and line breaks do not count as changes."""
    return re.sub(r"(?<=[.;:])\s+(?=[A-Z0-9(\"])", "\n", plain(text).strip()) + "\n"


def _terms_news(name: str, was: Accepted) -> Iterable[News]:
    now = recorded(name)
    before, after = {row.id: row for row in was.terms}, {row.id: row for row in now}
    gone, come = [before[i] for i in before if i not in after], [after[i] for i in after if i not in before]
    if gone or come:
        found = compare(gone[0], come[0]).differences if len(gone) == len(come) == 1 else ()
        said = f"{_names(gone)} on {was.on}, {_names(come)} now"
        yield News(name=name, kind="terms", sentence=f"{name} came under other terms: {said}.", differences=found)
    for ident in before.keys() & after.keys():
        if before[ident] != after[ident]:
            found = compare(before[ident], after[ident]).differences
            sentence = f"The record of {ident} was corrected since {was.on}; the licence itself need not have changed."
            yield News(name=name, kind="record", sentence=sentence, differences=found)


def _text_news(name: str, was: Accepted, folder: Path, texts: Mapping[str, str | None]) -> Iterable[News]:
    for old in was.texts:
        text = texts.get(old.place)
        if text is None:
            sentence = f"{old.place} cannot be read any more; as accepted on {was.on} it lies in {old.sha256}.txt."
            yield News(name=name, kind="gone", sentence=sentence)
            continue
        now = seen_text(text)
        if hashlib.sha256(now.encode()).hexdigest() == old.sha256:
            continue
        kept = folder / f"{old.sha256}.txt"
        lines = _changed(kept.read_text(encoding="utf-8"), now) if kept.is_file() else ()
        yield News(name=name, kind="text", sentence=_said(old.place, was.on, lines), lines=lines)


def _changed(before: str, after: str) -> tuple[str, ...]:
    diff = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return tuple(line for line in diff if line[:1] in "+-" and line[:3] not in ("+++", "---"))


_FIGURE = re.compile(r"(?:US\$|\$|€|CNY|RMB)?\s?\d[\d,.]*\s?(?:thousand|million|billion|%|percent)?", re.IGNORECASE)


def _said(place: str, on: str, lines: tuple[str, ...]) -> str:
    """Which figures went and came: a moved line is what a change most often means."""
    gone, come = (_figures(lines, sign) for sign in "-+")
    moved = []
    if only := sorted(gone - come):
        moved.append(f"figures gone: {', '.join(only)}")
    if only := sorted(come - gone):
        moved.append(f"figures new: {', '.join(only)}")
    tail = f" ({'; '.join(moved)})" if moved else ""
    return f"{place} reads differently since {on}{tail}: read it, correct the record, then --accept."


def _figures(lines: tuple[str, ...], sign: str) -> set[str]:
    return {
        match.strip().rstrip(".,")
        for line in lines
        if line.startswith(sign)
        for match in _FIGURE.findall(line)
        if any(word in match.lower() for word in ("$", "million", "billion", "%", "percent", "thousand", "€"))
    }


def _names(rows: list[Terms]) -> str:
    return " + ".join(row.name for row in rows) or "none recorded"


def readable(place: str, folder: Path) -> str | None:
    """A file's text, `None` where it is not there; URLs are the caller's to fetch."""
    path = folder / place
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WeighbridgeError(f"{path} cannot be read: {error.strerror}") from None
