"""Reference answers that people vouch for, imported from JSONL and matched to requests.

A line is `{"prompt_sha256" | "prompt" | "tags", "answer"}`. Prompts are kept as hashes only. A file is stored whole or
not at all; later imports override earlier ones, line by line.
"""

from collections.abc import Iterable, Mapping

import msgspec

from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.exchanges.lines import rows_of
from weighbridge.grading.answers import prompt_sha256
from weighbridge.records.canonical import canonical, digest, parse
from weighbridge.store.control import ControlClient, ListObjects, ObjectList, ObjectRow, PutObject
from weighbridge.store.layout import Layout

GOLD_SCHEMA = "gold/1"
STORED_BYTES_MAX = 128 << 20
"""One import fits into one message to the keeper."""


class GoldRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One reference answer; exactly one of `prompt_sha256` and `tags` is set."""

    answer: str
    prompt_sha256: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    """Sorted by name; an exchange matches when it carries all of them."""


class GoldFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    schema: str
    rows: tuple[GoldRow, ...]
    again: int = 0
    """Counts up when the same rows are imported again after others, so that they are the latest once more."""


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    answer: msgspec.Raw = msgspec.Raw(b"")
    prompt_sha256: str | None = None
    prompt: str | None = None
    tags: dict[str, str] | None = None


_line = msgspec.json.Decoder(_Line)


def read_gold(name: str, lines: Iterable[bytes]) -> GoldFile:
    """Check a whole gold file. Raises `UsageError` with the first problems, each with its line, field and rule."""
    nothing = (
        'A gold file is JSON lines such as {"prompt": "What is 6 x 7?", "answer": "42"}; '
        "prompt_sha256 or tags may stand in for prompt."
    )
    rows = rows_of(name, lines, lambda _, line: _row(line), nothing=nothing)
    return GoldFile(schema=GOLD_SCHEMA, rows=tuple(rows))


def _row(line: bytes) -> GoldRow:
    try:
        row = _line.decode(line)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`") or "line"
        raise ValueError(
            f"{field}: {message[0].lower()}{message[1:]}; allowed are answer and one of prompt_sha256, prompt, tags"
        ) from None
    except msgspec.DecodeError as error:
        raise ValueError(f"line: not a JSON object: {error}") from None
    given = [name for name in ("prompt_sha256", "prompt", "tags") if getattr(row, name) is not None]
    if len(given) != 1:
        raise ValueError(f"exactly one of prompt_sha256, prompt, tags is needed, found {' and '.join(given) or 'none'}")
    answer = _answer(row.answer)
    if row.tags is not None:
        if not row.tags or not all(row.tags):
            raise ValueError('tags: must name one tag or more, e.g. {"ticket": "4711"}')
        return GoldRow(answer=answer, tags=tuple(sorted(row.tags.items())))
    if row.prompt is not None:
        if not row.prompt.strip():
            raise ValueError("prompt: must not be empty; it is the last user text of the request")
        return GoldRow(answer=answer, prompt_sha256=prompt_sha256(row.prompt))
    given_hash = (row.prompt_sha256 or "").lower()
    if len(given_hash) != 64 or not all(c in "0123456789abcdef" for c in given_hash):
        raise ValueError(f"prompt_sha256: must be 64 hex digits, found {row.prompt_sha256!r}")
    return GoldRow(answer=answer, prompt_sha256=given_hash)


def _answer(raw: msgspec.Raw) -> str:
    """Strings as they are; numbers, booleans, objects and lists as their JSON text."""
    if not bytes(raw):
        raise ValueError("answer: is missing")
    value: object = msgspec.json.decode(raw)
    text = value if isinstance(value, str) else bytes(raw).decode()
    if value is None or not text.strip():
        raise ValueError("answer: must not be empty or null: an empty answer would be right by mistake")
    return text


class GoldBook:
    """All reference answers in force. The prompt's hash is looked for first, then the row with the most tags."""

    def __init__(self, files: Iterable[GoldFile] = ()) -> None:
        self._by_prompt: dict[str, str] = {}
        self._by_tags: dict[tuple[str, ...], dict[tuple[str, ...], str]] = {}
        for file in files:
            self.add(file)

    def add(self, file: GoldFile) -> None:
        """A later file: its rows override."""
        for row in file.rows:
            if row.prompt_sha256 is not None:
                self._by_prompt[row.prompt_sha256] = row.answer
            else:
                names = tuple(name for name, _ in row.tags)
                self._by_tags.setdefault(names, {})[tuple(value for _, value in row.tags)] = row.answer

    def __len__(self) -> int:
        return len(self._by_prompt) + sum(len(rows) for rows in self._by_tags.values())

    def find(self, prompt: str | None, tags: Iterable[tuple[str, str]]) -> str | None:
        """The reference for a request: its last user text and its tags; `None` where there is none."""
        if prompt is not None and self._by_prompt:
            found = self._by_prompt.get(prompt_sha256(prompt))
            if found is not None:
                return found
        return self._by_tag(dict(tags)) if self._by_tags else None

    def _by_tag(self, tags: Mapping[str, str]) -> str | None:
        for names in sorted(self._by_tags, key=lambda one: (-len(one), one)):
            if all(name in tags for name in names):
                found = self._by_tags[names].get(tuple(tags[name] for name in names))
                if found is not None:
                    return found
        return None


def store_gold(control: ControlClient, label: str, file: GoldFile) -> ObjectRow:
    """Put a checked file into the store. Raises `UsageError` where it is too large for one import."""
    stored = [row.digest for row in control.call(ListObjects(kind="gold"), ObjectList).rows]
    body = canonical(file)
    while digest(body) in stored[:-1]:
        file = msgspec.structs.replace(file, again=file.again + 1)
        body = canonical(file)
    if len(body) > STORED_BYTES_MAX:
        raise UsageError(
            f"{label}: {len(file.rows):,} rows take {len(body) >> 20} MiB; at most {STORED_BYTES_MAX >> 20} MiB go "
            "into one import. Split the file; imports add up."
        )
    return control.call(PutObject(kind="gold", label=label, body=body), ObjectRow)


def load_gold(control: ControlClient, layout: Layout) -> tuple[GoldBook, tuple[str, ...]]:
    """Everything imported so far, oldest first, and the digests of its files."""
    rows = control.call(ListObjects(kind="gold"), ObjectList).rows
    return gold_of(layout, tuple(row.digest for row in rows))


def gold_of(layout: Layout, digests: tuple[str, ...]) -> tuple[GoldBook, tuple[str, ...]]:
    """The reference answers of these stored files. Raises `WeighbridgeError` where one is gone or was changed."""
    book = GoldBook()
    for name in digests:
        try:
            stored = layout.object(name).read_bytes()
        except OSError as error:
            raise WeighbridgeError(f"gold file {name[:12]} cannot be read from the store: {error.strerror}") from None
        if digest(stored) != name:
            raise WeighbridgeError(f"the gold file {name[:12]} in the store was changed; run `weighbridge verify`")
        book.add(parse(stored, GoldFile))
    return book, digests
