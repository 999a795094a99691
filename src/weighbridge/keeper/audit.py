"""The book of changes: each entry's bytes are signed and name the entry before, so that an edit is found."""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256

from weighbridge.clock import Clock
from weighbridge.records.canonical import canonical, parse
from weighbridge.records.people import AUDIT_SCHEMA, AuditEntry
from weighbridge.store.people import PeopleTable, SignedEntry

SIGNED_AS = b"weighbridge audit\n"
"""Stands before the bytes that are signed, so that no signature of one kind is one of another."""
TEXT_CHARS_MAX = 2_000


class AuditBook:
    def __init__(self, table: PeopleTable, clock: Clock, sign: Callable[[bytes], bytes]) -> None:
        """sign: Ed25519, with the key that signs the log's heads."""
        self._table, self._clock, self._sign = table, clock, sign

    def write(
        self,
        *,
        by: str,
        via: str,
        action: str,
        subject: str,
        before: str | None = None,
        after: str | None = None,
        why: str = "",
        refused: str | None = None,
    ) -> None:
        """Raises `StoreError` where it cannot be written."""
        last = self._table.last_entry()
        entry = AuditEntry(
            schema=AUDIT_SCHEMA,
            seq=1 if last is None else last.seq + 1,
            time_ns=self._clock.wall_ns(),
            by=by,
            via=via,
            action=action,
            subject=subject[:TEXT_CHARS_MAX],
            before=None if before is None else before[:TEXT_CHARS_MAX],
            after=None if after is None else after[:TEXT_CHARS_MAX],
            why=why[:TEXT_CHARS_MAX],
            refused=None if refused is None else refused[:TEXT_CHARS_MAX],
            prev="" if last is None else sha256(last.body).hexdigest(),
        )
        body = canonical(entry)
        self._table.append(SignedEntry(entry.seq, body, self._sign(SIGNED_AS + body)))

    def entries(self, before_seq: int | None, rows_max: int) -> tuple[AuditEntry, ...]:
        """Newest first."""
        return tuple(parse(row.body, AuditEntry) for row in self._table.entries(before_seq, rows_max))


def problems(rows: Iterable[SignedEntry], signed: Callable[[bytes, bytes], bool]) -> Iterator[tuple[int, str]]:
    """(number, what is wrong) of each entry, oldest first, that is not as it was written.

    signed: is this signature (second) the store's, of these bytes (first)?
    """
    prev, expected = "", 1
    for row in rows:
        if row.seq != expected:
            yield row.seq, f"entries {expected} to {row.seq - 1} are missing"
        if not signed(SIGNED_AS + row.body, row.signature):
            yield row.seq, "it was changed after it was signed, or signed with another key"
        try:
            entry = parse(row.body, AuditEntry)
        except ValueError as error:
            yield row.seq, str(error)
        else:
            if entry.seq != row.seq:
                yield row.seq, f"it stands in the place of entry {entry.seq}"
            elif entry.prev != prev:
                yield row.seq, "it does not follow the entry before it"
        prev, expected = sha256(row.body).hexdigest(), row.seq + 1
