"""What `weighbridge doctor` finds: rows of a table."""

from typing import Literal

import msgspec

Status = Literal["ok", "warn", "fail"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table. `next_step` is empty where there is nothing to do."""

    name: str
    status: Status
    says: str
    next_step: str = ""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of `doctor --json`. `status` is that of the worst check."""

    status: Status
    checks: tuple[Check, ...]
