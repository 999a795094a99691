"""Is the store what was written? One changed byte, a cut tail or a missing file is named.

Everything durable is walked: keys, the chain's signatures and links, the signed head, every sealed file against its
digest, every page of the databases, frames and their checksums, what open segments had signed, bodies against their
commitments, and the way from each verdict over its evidence to the exchanges. It finds changes; it does not prove that
the world was as recorded.
"""

from hashlib import sha256

from weighbridge.exchanges.chain import Chain, fingerprint
from weighbridge.exchanges.check_bodies import BodyCheck
from weighbridge.exchanges.check_chain import check_chain, check_keys
from weighbridge.exchanges.check_databases import check_databases
from weighbridge.exchanges.check_evidence import EvidenceCheck
from weighbridge.exchanges.check_log import check_log
from weighbridge.exchanges.findings import Counts, Findings, Problem, VerifyReport
from weighbridge.exchanges.framing import Corrupt
from weighbridge.store.database import Remembered
from weighbridge.store.layout import Layout

__all__ = ["Counts", "Problem", "VerifyReport", "verify"]

_TRIES = 3


def verify(layout: Layout, *, master: bytes | None = None, known: Remembered | None = None) -> VerifyReport:
    """Check a store, also while it is in use.

    `master` is the 32-byte master key, needed to hold bodies against their commitments. `known` is what somebody
    outside the log's files remembered of it, read before this call: a log put back to an older state, or signed anew
    with another key, is found by it.
    """
    for tries in range(_TRIES):
        chain = Chain(layout)
        before = _state(chain)
        report = _verify(layout, chain, master, known)
        # The keeper may have sealed, and so moved, what was being looked at.
        if report.ok or tries == _TRIES - 1 or _state(Chain(layout)) == before:
            return report
    raise AssertionError("unreachable")


def _state(chain: Chain) -> object:
    try:
        return chain.head(), chain.snapshot().seq
    except Corrupt:
        return None


def _verify(layout: Layout, chain: Chain, master: bytes | None, known: Remembered | None) -> VerifyReport:
    findings = Findings(layout)
    if not layout.root.is_dir():
        findings.problem(layout.root, "there is no store here")
        return findings.report()
    check_databases(layout, findings)
    try:
        snapshot = chain.snapshot()
    except Corrupt as damage:
        # Nothing that the chain says can be used: its own lines are checked, so that the place is named.
        findings.corrupt(damage)
        check_chain(layout, chain, findings, check_keys(layout, findings, None))
        findings.notes.append("the chain cannot be followed, so the files that it names were not checked")
        return findings.report()
    public = check_keys(layout, findings, snapshot)
    head = check_chain(layout, chain, findings, public)
    if known is not None:
        _check_known(layout, chain, findings, known)
    facts = check_log(layout, chain, findings, () if head is None else head.open)
    BodyCheck(layout, findings, chain.snapshot(), master).run(facts)
    EvidenceCheck(layout, findings, chain.snapshot(), facts).run()
    if master is None and facts.bodies:
        findings.notes.append("bodies were not decrypted: the master key was not given")
    return findings.report()


def _check_known(layout: Layout, chain: Chain, findings: Findings, known: Remembered) -> None:
    if known.mistrust is not None:
        findings.problem(layout.chain, known.mistrust)
    public = findings.signing_key
    if public is not None and known.signing_key is not None and known.signing_key != public:
        findings.problem(
            layout.signing_public,
            f"is key {fingerprint(public)}; the keeper remembers {fingerprint(known.signing_key)}, so all of it may "
            "have been signed anew",
        )
    head = known.head
    if head is None:
        return
    lines = chain.lines()
    if head.seq > len(lines):
        findings.problem(layout.chain, f"the chain ends at line {len(lines)}; the keeper remembers line {head.seq}")
    elif head.seq and sha256(lines[head.seq - 1]).hexdigest() != head.digest:
        findings.problem(layout.chain, f"line {head.seq} is not the one that the keeper remembers")
    try:
        mark = chain.mark()
    except Corrupt:
        return  # named already
    changed = None if mark is None else mark.older_than(head.number, head.head_digest)
    if mark is None:
        findings.problem(chain.head_path, f"the signed head is gone; the keeper remembers head {head.number}")
    elif changed is not None:
        findings.problem(chain.head_path, changed)
