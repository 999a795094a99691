"""The obligations kit: what a finding asks for, as files ready to use, and what must be shown where."""

import re
from collections.abc import Iterable

import msgspec

from weighbridge.licenses import load
from weighbridge.licenses.answer import PartAnswer
from weighbridge.licenses.check import parts_of
from weighbridge.licenses.model import Duty
from weighbridge.licenses.profile import Profile
from weighbridge.licenses.rules import DutyState
from weighbridge.licenses.words import duty_sentence, required_texts


class RequiredText(msgspec.Struct, frozen=True):
    """A text that must be shown: any one of `texts` does."""

    terms: str
    kind: str
    texts: tuple[str, ...]
    clause: str


class Kit(msgspec.Struct, frozen=True, kw_only=True):
    """Files by name, and what has to be visible in the product."""

    query: str
    files: dict[str, str]
    required: tuple[RequiredText, ...]


_SHOWN = ("display_text", "notice_file", "statement", "trademark_statement")
_MAILED = ("notify_licensor", "written_authorisation", "separate_agreement", "security_review")


def kit(query: str, who: Profile, on: str) -> Kit:
    """Everything that the terms named by `query` ask of `who`, as files. Raises `UsageError`."""
    parts = parts_of(query, who, on)
    files = {"OBLIGATIONS.md": _checklist(query, parts, on)}
    if notice := _notice(parts):
        files["NOTICE"] = notice
    if shown := _attribution(parts):
        files["ATTRIBUTION.txt"] = shown
    if names := _names(parts):
        files["MODEL-NAME.txt"] = names
    files.update(_mails(parts, query))
    return Kit(query=query, files=files, required=required(parts))


def required(parts: Iterable[PartAnswer]) -> tuple[RequiredText, ...]:
    """What must be visible to users now, with exact words."""
    found = []
    for part in parts:
        for state in part.duties:
            texts = required_texts(state.duty, part.model)
            if state.state == "due" and state.duty.kind == "display_text" and texts:
                found.append(RequiredText(part.terms, state.duty.kind, texts, state.duty.clause or "not recorded"))
    return tuple(found)


def _checklist(query: str, parts: Iterable[PartAnswer], on: str) -> str:
    lines = [
        f"# What the terms of {query} ask for",
        "",
        f"As of {on}, from recorded facts. Not legal advice: counsel confirms.",
    ]
    headings = {
        "due": "Now",
        "open": "If a missing fact makes it apply (see `weighbridge license check`)",
        "later": "Once it happens",
    }
    for state, heading in headings.items():
        rows = [(part, one.duty) for part in parts for one in part.duties if one.state == state]
        if rows:
            lines += ["", f"## {heading}", ""]
            lines += [f"- [ ] {duty_sentence(duty, part.model)} — {_cited(part.terms, duty)}" for part, duty in rows]
    return "\n".join(lines) + "\n"


def _cited(terms: str, duty: Duty) -> str:
    source = load.sources()[duty.source]
    mark = "" if source.how == "read" and duty.confidence in (None, "read") else ", reported"
    return f"{terms}, clause {duty.clause or 'not recorded'} ({source.ref}{mark})"


def _states(parts: Iterable[PartAnswer], kinds: tuple[str, ...]) -> list[tuple[PartAnswer, DutyState]]:
    return [(part, one) for part in parts for one in part.duties if one.duty.kind in kinds and one.state != "open"]


def _notice(parts: Iterable[PartAnswer]) -> str:
    texts = [one.duty.show for _, one in _states(parts, ("notice_file",)) if one.duty.show is not None]
    return "\n\n".join(dict.fromkeys(texts)) + "\n" if texts else ""


def _attribution(parts: Iterable[PartAnswer]) -> str:
    found = [
        required_texts(one.duty, part.model) for part, one in _states(parts, ("display_text",)) if one.state == "due"
    ]
    texts = [options[0] for options in found if options]
    return "\n".join(dict.fromkeys(texts)) + "\n" if texts else ""


def _names(parts: Iterable[PartAnswer]) -> str:
    prefixes = [one.duty.show for _, one in _states(parts, ("name_prefix",)) if one.duty.show is not None]
    if not prefixes:
        return ""
    lines = [f"The name of a published derivative begins with: {prefix}" for prefix in dict.fromkeys(prefixes)]
    if len(lines) > 1:
        lines.append("No name can begin with two of them: ask the licensors before you publish.")
    return "\n".join(lines) + "\n"


def _mails(parts: Iterable[PartAnswer], query: str) -> dict[str, str]:
    mails = {}
    for part, one in _states(parts, _MAILED):
        duty = one.duty
        if duty.mail is None or one.state != "due":
            continue
        subject = duty.mail.subject or f"{_purpose(duty)}: {load.terms(part.terms).name}"
        name = f"mail-{re.sub(r'[^a-z0-9.]+', '-', part.terms)}-{duty.kind.replace('_', '-')}.txt"
        mails[name] = (
            f"To: {duty.mail.to}\nSubject: {subject}\n\n"
            f"{_purpose(duty)} under {load.terms(part.terms).name}, clause {duty.clause or '(see text)'}.\n\n"
            f"Organisation: [legal name, seat]\nModel: {query}\nUse: [what the product does with it, for whom]\n"
            f"Contact: [name, mail]\n\n{_request(duty)}\n"
        )
    return mails


def _purpose(duty: Duty) -> str:
    return {
        "notify_licensor": "Notice of commercial use",
        "written_authorisation": "Request for written authorisation",
        "separate_agreement": "Request for a separate agreement",
        "security_review": "Request for a security review",
    }[duty.kind]


def _request(duty: Duty) -> str:
    if duty.kind == "notify_licensor":
        return "This is the notice that the licence asks for. Please confirm that you received it."
    return "Please tell us on which conditions you grant it. We will not use the model commercially before."
