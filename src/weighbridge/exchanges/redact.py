"""Secrets are taken out of bodies before they touch the disk. It reduces what is stored; it guarantees nothing.

Rules work on the JSON bytes as sent. A secret is replaced by `[redacted KIND]`, which needs no escaping in JSON, so a
body that parsed before still parses. The rules look for credentials with a recognisable form: vendor prefixes, private
key blocks, JSON Web Tokens, bearer values, passwords in URLs, and values of fields named like `api_key`.

Nearly every body holds none, so that answer must be cheap. Credentials are long unbroken runs of letters, digits and a
few signs: one `translate` and one `find` skip everything else, about 1.3 us per KiB, where a search for each known
prefix would take 15 us. Rules are tried on such runs and the few bytes before them, nowhere else.

It runs in the gateway's loop, so no body may take long: work is counted, and a body that would take more than
`WORK_MAX` is not cleaned at all. Its caller must not keep it.
"""

import re
from collections.abc import Iterator, Sequence
from operator import itemgetter

RULES = ("secrets",)
"""What `capture.redact` may name in this version."""

_RUN_BYTES_MIN = 16
_RUN_BYTES_MAX = 8192
"""A longer run is data (an image in base64): only its start is looked at."""
_RUN_START_BYTES = 1024

WORK_MAX = 1 << 20
"""In bytes that patterns look at; about 0.1 s on one core. Long prompts and streams take a tenth of it; only a body
made of runs, some megabytes of them, takes more."""
_RUN_WORK = 6
_PLACE_WORK = 32
"""What looking at a place costs where a pattern may begin, besides the bytes that it then reads."""
_SEEN_BYTES_MAX = 64
_SEEN_MAX = 4096

_TOKEN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.+/="
_CLASSES = bytes(0x61 if byte in _TOKEN else 0x20 for byte in range(256))
_RUN = b"a" * _RUN_BYTES_MIN
_HARMLESS = frozenset(
    b"prompt_tokens_details completion_tokens completion_tokens_details system_fingerprint chat.completion.chunk "
    b"max_completion_tokens response_format presence_penalty frequency_penalty parallel_tool_calls reasoning_content "
    b"accepted_prediction_tokens rejected_prediction_tokens reasoning_tokens additionalProperties tool_call_id "
    b"prompt_cache_hit_tokens prompt_cache_miss_tokens reasoning_effort".split()
)
"""Long runs that stand in nearly every body of this dialect."""

# A token begins where no letter, digit, `_` or `-` stands before it, or right after a JSON escape such as `\n`. Those
# that begin with a letter which is an escape itself (`n`, `r`) do not begin within one.
_LEFT = rb"(?:(?<![A-Za-z0-9_\-])|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{4}))"

_PREFIXED: tuple[tuple[str, bytes], ...] = (
    ("jwt", rb"eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}"),
    ("api_key", rb"sk-[A-Za-z0-9_\-]{16,}"),
    ("aws_key", rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("github_token", rb"(?:gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{40,255})"),
    ("gitlab_token", rb"glpat-[A-Za-z0-9_\-]{20,}"),
    ("slack_token", rb"xox[abeoprs]-[A-Za-z0-9\-]{11,}"),
    ("google_key", rb"AIza[A-Za-z0-9_\-]{35}"),
    ("google_token", rb"ya29\.[A-Za-z0-9_\-]{20,}"),
    ("stripe_key", rb"(?:sk|(?<!\\)rk)_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}"),
    ("npm_token", rb"(?<!\\)npm_[A-Za-z0-9]{36}"),
    ("pypi_token", rb"pypi-[A-Za-z0-9_\-]{50,}"),
    ("hf_token", rb"hf_[A-Za-z0-9]{30,}"),
    ("sendgrid_key", rb"SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}"),
    ("groq_key", rb"gsk_[A-Za-z0-9]{30,}"),
    ("xai_key", rb"xai-[A-Za-z0-9]{40,}"),
)
_ANY_PREFIXED = re.compile(
    rb"(?=[esArghxywnpS])"
    + _LEFT
    + rb"(?:"
    + rb"|".join(b"(?P<%b>%b)" % (kind.encode(), rule) for kind, rule in _PREFIXED)
    + rb")"
)

_NAME_LEFT = rb"(?:(?<![A-Za-z])|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{4}))"
_NAMES_END = (
    b"bearer", b"basic", b"key", b"secret", b"secrets", b"token", b"password", b"passwd", b"passphrase", b"pwd",
    b"credential", b"credentials",
)  # fmt: skip
"""How the text before a named credential ends: cheap to ask, decided by `_NAMED_VALUE`."""
_BETWEEN = b" \"'\\:=>"
_NAMED_VALUE = re.compile(
    rb"((?:"
    + _NAME_LEFT
    + rb"(?:bearer|basic)[ ]+|(?:"
    + _NAME_LEFT
    + rb"(?:api|access|private|secret|auth|account|refresh|session|service|client)?"
    rb"[ _\-]?(?:key|token|secret)|passw(?:or)?d|passphrase|pwd|credentials?)"
    rb"(?:\\?[\"'])?[ ]*(?:[:=]|=>)[ ]*(?:\\?[\"'])?))[A-Za-z0-9_\-.+/=]{16,}",
    re.IGNORECASE,
)
_NAMED_BYTES_MAX = 32

_BACKSLASH = 0x5C
_KEY_BEGIN = b"-----BEGIN "
_KEY_HEAD = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_URL_PASSWORD = re.compile(rb"(://[^\s/:@\"\\<>]{0,64}:)[^\s/@\"\\<>]{3,200}(?=@[A-Za-z0-9.\-\[])")

_Span = tuple[int, int, str]
"""Start and end of a secret, and its kind."""


class _TooMuchWorkError(Exception):
    pass


def redact(names: Sequence[str], body: bytes) -> tuple[bytes | None, bool]:
    """The body without what the rules in `names` look for, and whether anything was taken out.

    `None` in place of the body: looking through it would take too long (see `WORK_MAX`), so nobody knows what it holds.
    """
    if "secrets" not in names:
        return body, False
    classes = body.translate(_CLASSES)
    run = classes.find(_RUN)
    if run < 0 and b"@" not in body:
        return body, False
    try:
        spans = _spans(body, classes, run)
    except _TooMuchWorkError:
        return None, False
    if not spans:
        return body, False
    spans.sort(key=itemgetter(0))  # stable: of two kinds that begin at one place the first found gives the name
    pieces: list[bytes] = []
    at = 0
    for start, end, kind in spans:
        if start >= at:
            pieces += (body[at:start], b"[redacted %b]" % kind.encode())
        at = max(at, end)
    pieces.append(body[at:])
    return b"".join(pieces), True


def _spans(body: bytes, classes: bytes, start: int) -> list[_Span]:
    """All secrets, in no order. `classes` tells letters of tokens apart from others, `start` is its first long run."""
    spans: list[_Span] = []
    work = 0
    if b"@" in body:
        work = _PLACE_WORK * body.count(b"://")
        if work > WORK_MAX:
            raise _TooMuchWorkError
        spans += ((found.end(1), found.end(), "password") for found in _URL_PASSWORD.finditer(body))
    seen: set[bytes] | None = None
    while start >= 0:
        end = classes.find(b" ", start + _RUN_BYTES_MIN)
        if end < 0:
            end = len(body)
        work += _RUN_WORK
        if end - start > _SEEN_BYTES_MAX or body[start:end] not in _HARMLESS:
            if seen is None:
                seen = set()
                if b"PRIVATE KEY" in body:  # a private key is lines of runs: without a run there is none
                    work += _PLACE_WORK * body.count(_KEY_BEGIN)
                    if work > WORK_MAX:
                        raise _TooMuchWorkError
                    spans += _private_keys(body)
            work += _look_at(body, start, end, seen, spans)
        if work > WORK_MAX:
            raise _TooMuchWorkError
        start = classes.find(_RUN, end)
    return spans


def _look_at(body: bytes, start: int, end: int, seen: set[bytes], spans: list[_Span]) -> int:
    """Add what a run holds to `spans`; how much work it was."""
    work = 0
    upto = end if end - start <= _RUN_BYTES_MAX else start + _RUN_START_BYTES
    known = body[max(0, start - 1) : end] if end - start <= _SEEN_BYTES_MAX else b""
    if not known or known not in seen:
        work += upto - start + _PLACE_WORK
        count = len(spans)
        for found in _ANY_PREFIXED.finditer(body, start, upto):
            spans.append((found.start(), end if found.end() == upto else found.end(), found.lastgroup or ""))
        if known and count == len(spans) and len(seen) < _SEEN_MAX:
            seen.add(known)
    before = max(0, start - _NAMED_BYTES_MAX)
    # NAME=VALUE is one run
    if body.find(b"=", start, upto - 2) >= 0 or body[before:start].rstrip(_BETWEEN).lower().endswith(_NAMES_END):
        work += upto - before + _PLACE_WORK
        for found in _NAMED_VALUE.finditer(body, before, upto):
            spans.append((found.end(1), end if found.end() == upto else found.end(), "credential"))
    return work


def _private_keys(body: bytes) -> Iterator[_Span]:
    """From each first line to the last one, to the end of the JSON string where that is missing."""
    start = body.find(_KEY_BEGIN)
    quote = last = 0  # found once each, however many first lines stand before them
    while start >= 0:
        head = _KEY_HEAD.match(body, start)
        if head is None:
            start = body.find(_KEY_BEGIN, start + 1)
            continue
        if quote < head.end():
            quote = _found(body, b'"', head.end())
        if last < head.end():
            last = _found(body, b"-----END", head.end())
        end = min(quote, last)
        if end == quote:
            while body[end - 1] == _BACKSLASH:
                end -= 1  # the quote is one of a string within the string: its backslashes belong to it
        tail = _KEY_END.match(body, last) if last < quote else None
        if tail is not None:
            end = tail.end()
        yield start, end, "private_key"
        start = body.find(_KEY_BEGIN, end)


def _found(body: bytes, what: bytes, start: int) -> int:
    """Where it stands, the body's end where it does not."""
    at = body.find(what, start)
    return len(body) if at < 0 else at
