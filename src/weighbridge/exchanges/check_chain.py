"""Verification of keys, of the chain's lines and signatures, and of the signed head."""

from hashlib import sha256

from weighbridge.exchanges.chain import (
    FIRST_PREV,
    Chain,
    Head,
    SigningKey,
    Snapshot,
    is_signed_by,
    public_key,
    split,
)
from weighbridge.exchanges.findings import Findings
from weighbridge.exchanges.framing import Corrupt
from weighbridge.exchanges.keys import KEY_BYTES, KEY_FILE, NONCE_BYTES, read_key_file
from weighbridge.store.layout import Layout


def check_keys(layout: Layout, findings: Findings, snapshot: Snapshot | None) -> str | None:
    """The store's public key, `None` where signatures cannot be checked."""
    public = None
    try:
        public = public_key(layout)
    except Corrupt as damage:
        findings.corrupt(damage)
    except FileNotFoundError:
        if layout.chain.exists() or layout.signing_key.exists():
            findings.problem(layout.signing_public, "the public key is gone, so no signature can be checked")
    if layout.signing_key.exists():
        try:
            derived = SigningKey(read_key_file(layout.signing_key, "signing", 32)).public
            if public is not None and derived != public:
                findings.problem(layout.signing_key, "does not belong to the public key of the store")
        except Corrupt as damage:
            findings.corrupt(damage)
    _check_body_keys(layout, findings, snapshot)
    findings.signing_key = public
    return public


def _check_body_keys(layout: Layout, findings: Findings, snapshot: Snapshot | None) -> None:
    if layout.master_key.exists():
        try:
            read_key_file(layout.master_key, "master", KEY_BYTES)
        except Corrupt as damage:
            findings.corrupt(damage)
    for path in sorted(layout.bodies.glob(f"*/*/{KEY_FILE}")):
        try:
            read_key_file(path, "wrapped", NONCE_BYTES + KEY_BYTES + 16)
        except Corrupt as damage:
            findings.corrupt(damage)
        except FileNotFoundError:
            continue
    if snapshot is not None:
        for folder in sorted({layout.root.joinpath(name).parent for name in snapshot.bodies}):
            if not folder.joinpath(KEY_FILE).exists():
                findings.problem(folder / KEY_FILE, "the key of this day and team is gone, its bodies are not")


def check_chain(layout: Layout, chain: Chain, findings: Findings, public: str | None) -> Head | None:
    """Signatures and links of all lines, and that the head is their end. Returns the head."""
    lines = chain.lines()
    digests = [FIRST_PREV]
    offset = 0
    for number, raw in enumerate(lines, 1):
        digests.append(sha256(raw).hexdigest())
        findings.counts.chain_lines += 1
        try:
            body, signature = split(raw)
        except ValueError as error:
            findings.problem(layout.chain, f"line {number}: {error}", offset)
        else:
            if public is not None and not is_signed_by(public, body, signature):
                findings.problem(layout.chain, f"line {number}: the signature does not fit", offset)
        offset += len(raw) + 1
    return _check_head(layout, chain, findings, public, digests)


def _check_head(
    layout: Layout, chain: Chain, findings: Findings, public: str | None, digests: list[str]
) -> Head | None:
    last = len(digests) - 1
    try:
        head = chain.head()
        raw = chain.head_path.read_bytes() if head is not None else b""
    except (Corrupt, FileNotFoundError) as error:
        findings.problem(chain.head_path, error.what if isinstance(error, Corrupt) else "the signed head is gone")
        return None
    if head is None:
        if last:
            findings.problem(
                chain.head_path, "the signed head is gone, so lines at the end of the chain may be missing"
            )
        return None
    body, signature = split(raw.removesuffix(b"\n"))
    if not raw.endswith(b"\n") or (public is not None and not is_signed_by(public, body, signature)):
        findings.problem(chain.head_path, "the signature does not fit")
    elif head.seq > last:
        findings.problem(layout.chain, f"the chain ends at line {last}, but line {head.seq} was signed as its head")
    elif head.digest != digests[head.seq]:
        findings.problem(layout.chain, f"line {head.seq} is not the one that was signed as the head")
    elif head.seq < last - 1:
        findings.problem(
            chain.head_path, f"the head is line {head.seq}, the chain has {last} lines: an old head was put back"
        )
    return head
