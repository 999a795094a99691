"""Verification of the keeper's databases: every page, in use or free, against its checksum."""

from weighbridge.errors import StoreError
from weighbridge.exchanges.findings import Findings
from weighbridge.store.checked import examine
from weighbridge.store.layout import Layout


def check_databases(layout: Layout, findings: Findings) -> None:
    """Files only: it disturbs no keeper. What rows say is held against the log elsewhere (`ledger.agreement`)."""
    for path in (layout.database, layout.ledger):
        try:
            found = examine(path)
        except StoreError as error:
            findings.problem(path, str(error))
            continue
        if found is None:
            continue
        findings.counts.databases += 1
        for one in found.problems:
            findings.problem(path.with_name(one.file), one.what, one.offset)
        if not found.has_checksums:
            findings.notes.append(
                f"the pages of {path.name} carry no checksums, so a changed byte of it may go unnoticed: an earlier "
                "version wrote it and no keeper of this one has opened it, or this build of apsw lacks `cksumvfs`"
            )
