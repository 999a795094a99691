"""What a backup says of itself: its list of members, signed by the store that it was made of."""

import msgspec

BACKUP_SCHEMA = "backup/1"
SIGNED_AS = b"weighbridge backup\n"
"""Goes before the manifest's bytes in what is signed: no signature of something else fits."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot says of itself, beside its files."""

    version: str
    """Of weighbridge."""
    made_ns: int
    signing_key: str
    """The store's public key, 64 hex digits."""
    master_key: bool
    """Whether bodies are encrypted with a key that was made in the store (else with the configuration's, or none)."""
    ledger: str
    """`sqlite`: it is in here. `postgresql`: it is not, back that database up with its own tools."""
    live: tuple[str, ...]
    """Workers that went on writing after this."""


class Member(msgspec.Struct, frozen=True, array_like=True):
    name: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    facts: Facts
    members: tuple[Member, ...]


class WriteOff(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the signed log: leases of workers whose log is lost, booked as spent in full, and who said so."""

    schema: str
    made_ns: int
    reason: str
    by: str
    rows: tuple["WrittenOff", ...]


class WrittenOff(msgspec.Struct, frozen=True, kw_only=True):
    worker: str
    budget: str
    subject: str
    """Empty for the budget itself; else one end user of it."""
    span: str
    start_ns: int
    """Of the window."""
    nanousd: int
    """Booked on top of what the log showed: the most that the worker may have spent."""


WRITE_OFF_SCHEMA = "write_off/1"
