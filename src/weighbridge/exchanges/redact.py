"""Secrets are taken out of bodies before they touch the disk. It reduces what is stored; it guarantees nothing.

Rules work on the JSON bytes as sent. A secret is replaced by `[redacted KIND]`, which needs no escaping in JSON, so a
body that parsed before still parses. The rules look for credentials with a recognisable form: vendor prefixes, private
key blocks, JSON Web Tokens, bearer values, passwords in URLs, and values of fields named like `api_key`.

Nearly every body holds none, so that answer must be cheap. Credentials are long unbroken runs of letters, digits and a
few signs: one `translate` and one `find` skip everything else, about 1.3 us per KiB, where a search for each known
prefix would take 15 us.
"""

import re
from collections.abc import Sequence

RULES = ("secrets",)
"""What `capture.redact` may name in this version."""

_RUN_BYTES_MIN = 16
_RUN_BYTES_MAX = 8192
"""A longer run is data (an image in base64): only its start is looked at."""
_RUN_START_BYTES = 1024

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

# A token begins where no letter, digit, `_` or `-` stands before it, or right after a JSON escape such as `\n`.
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
    ("stripe_key", rb"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}"),
    ("npm_token", rb"npm_[A-Za-z0-9]{36}"),
    ("pypi_token", rb"pypi-[A-Za-z0-9_\-]{50,}"),
    ("hf_token", rb"hf_[A-Za-z0-9]{30,}"),
    ("sendgrid_key", rb"SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}"),
    ("groq_key", rb"gsk_[A-Za-z0-9]{30,}"),
    ("xai_key", rb"xai-[A-Za-z0-9]{40,}"),
)
_ANY_PREFIXED = re.compile(rb"(?=[esArghxywnpS])" + _LEFT + rb"(?:" + rb"|".join(rule for _, rule in _PREFIXED) + rb")")
_RULES = tuple((kind, re.compile(_LEFT + rb"(?:" + rule + rb")")) for kind, rule in _PREFIXED)

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

_PRIVATE_KEY = re.compile(
    rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    rb"(?:[^-\"]|-(?!-{4}END))*(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
)
_URL_PASSWORD = re.compile(rb"(://[^\s/:@\"\\<>]{0,64}:)[^\s/@\"\\<>]{3,200}(?=@[A-Za-z0-9.\-\[])")


def redact(names: Sequence[str], body: bytes) -> tuple[bytes, bool]:
    """The body without what the rules in `names` look for, and whether anything was taken out."""
    if "secrets" not in names:
        return body, False
    in_url = b"@" in body and _URL_PASSWORD.search(body) is not None
    if not in_url and not _has_secret(body):
        return body, False
    cleaned = _PRIVATE_KEY.sub(b"[redacted private_key]", body)
    for kind, rule in _RULES:
        cleaned = rule.sub(b"[redacted %b]" % kind.encode(), cleaned)
    cleaned = _NAMED_VALUE.sub(rb"\1[redacted credential]", cleaned)
    cleaned = _URL_PASSWORD.sub(rb"\1[redacted password]", cleaned)
    return cleaned, cleaned != body


def _has_secret(body: bytes) -> bool:
    classes = body.translate(_CLASSES)
    start = classes.find(_RUN)
    looked_for_key = False
    while start >= 0:
        end = classes.find(b" ", start + _RUN_BYTES_MIN)
        if end < 0:
            end = len(body)
        if body[start:end] in _HARMLESS:
            start = classes.find(_RUN, end)
            continue
        upto = end if end - start <= _RUN_BYTES_MAX else start + _RUN_START_BYTES
        if _ANY_PREFIXED.search(body, start, upto) is not None:
            return True
        before = body[max(0, start - _NAMED_BYTES_MAX) : start]
        if body.find(b"=", start, upto - 2) >= 0 and _NAMED_VALUE.search(body, start - len(before), end):
            return True  # NAME=VALUE is one run
        if before.rstrip(_BETWEEN).lower().endswith(_NAMES_END) and _NAMED_VALUE.search(body, start - len(before), end):
            return True
        if not looked_for_key:
            # A private key is lines of such runs: without a run there is none.
            looked_for_key = True
            if b"PRIVATE KEY" in body and _PRIVATE_KEY.search(body) is not None:
                return True
        start = classes.find(_RUN, end)
    return False
