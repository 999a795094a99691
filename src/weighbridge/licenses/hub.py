"""Terms by a model's card on the Hugging Face Hub: `hf:OWNER/NAME[@REVISION]`, pinned to the commit that was read.

A card's `license` is the publisher's word about a text, not the text: alone it is `reported`, so it may restrict and
never permit. A licence file beside the weights that is known word for word is `read`. Where file and card differ, the
file counts and what the card names may only restrict. What the card says it was made from (`base_model`) brings its own
terms along. Nothing here runs unless somebody writes `hf:`; it needs the extra `hub`, and it always ends in time.
"""

import re
import threading
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec

from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.licenses import catalogue, load
from weighbridge.licenses.resolve import HUB_PREFIX, Part, Recorded, Unknown, by_file, names_of, resolve
from weighbridge.licenses.rules import Reason

DEADLINE_S = 30.0
"""For one card with its licence files, whatever the network does."""
REQUEST_S_MAX = 10.0
TEXT_BYTES_MAX = 1 << 20
FILES_MAX = 8
CARDS_MAX = 5
"""Cards read for one name, those of its base models included."""

_NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_LICENCE_FILE = re.compile(r"(?:\w+[-_ ])?(?:licen[cs]e|copying)(?:[-_. ].*)?", re.IGNORECASE)


class HubError(WeighbridgeError):
    """A card could not be read."""


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A licence file. `content` is `None` where it could not be read (`why`)."""

    name: str
    content: bytes | None
    why: str = ""

    @property
    def sha256(self) -> str | None:
        return None if self.content is None else sha256(self.content).hexdigest()


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a repository says of its licence at one commit."""

    repo: str
    commit: str
    license: str | None
    license_name: str | None = None
    license_link: str | None = None
    base_models: tuple[str, ...] = ()
    texts: tuple[Text, ...] = ()

    @property
    def place(self) -> str:
        return f"model card of {self.repo} at commit {self.commit}"

    def said(self) -> str:
        """The licence as the card words it."""
        more = [one for one in (self.license_name, self.license_link) if one]
        return (self.license or "no licence") + (f" ({', '.join(more)})" if more else "")


ReadCard = Callable[[str], Card]


def is_hub_name(name: str) -> bool:
    return name.strip().lower().startswith(HUB_PREFIX)


def read_card(name: str, deadline_s: float = DEADLINE_S) -> Card:
    """The card and licence files behind `hf:OWNER/NAME[@REVISION]`. Raises `UsageError`, `HubError`; never hangs."""
    match = _NAME.fullmatch(name.strip())
    if match is None:
        raise UsageError(f"{name!r} names no repository; write hf:OWNER/NAME or hf:OWNER/NAME@REVISION")
    done: list[Card | Exception] = []

    def work() -> None:
        try:
            done.append(_fetch(match[1], match[2]))
        except Exception as error:  # noqa: BLE001 (the edge of a foreign library: `_told` says it in one sentence)
            done.append(error)

    # A name server that does not answer cannot be given a timeout; a thread that nobody waits for can.
    thread = threading.Thread(target=work, daemon=True, name="hub")
    thread.start()
    thread.join(deadline_s)
    if not done:
        raise HubError(f"the card of {match[1]} could not be read: no answer within {deadline_s:g} s")
    if isinstance(done[0], Card):
        return done[0]
    raise _told(match[1], match[2], done[0]) from None


def _fetch(repo: str, revision: str | None) -> Card:
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise HubError("reading model cards needs the package huggingface_hub; install weighbridge[hub]") from None
    info = HfApi().model_info(repo, revision=revision, timeout=REQUEST_S_MAX)
    data: dict[str, Any] = {} if info.card_data is None else vars(info.card_data)
    if info.sha is None:
        raise HubError(f"the hub named no commit for {repo}, so what was read could not be pinned")
    files = [one.rfilename for one in info.siblings or () if "/" not in one.rfilename]
    licences = [name for name in files if _LICENCE_FILE.fullmatch(name)]
    return Card(
        repo=repo,
        commit=info.sha,
        license=_text(data.get("license")),
        license_name=_text(data.get("license_name")),
        license_link=_text(data.get("license_link")),
        base_models=_several(data.get("base_model")),
        texts=tuple(_licence(repo, name, info.sha) for name in sorted(licences)[:FILES_MAX]),
    )


def _licence(repo: str, name: str, commit: str) -> Text:
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers

    url = hf_hub_url(repo, name, revision=commit)
    content = b""
    with get_session().stream("GET", url, headers=build_hf_headers(), timeout=REQUEST_S_MAX) as reply:
        if reply.status_code != 200:
            return Text(name=name, content=None, why=f"the hub answered with status {reply.status_code}")
        for chunk in reply.iter_bytes():
            content += chunk
            if len(content) > TEXT_BYTES_MAX:
                return Text(name=name, content=None, why=f"it is longer than {TEXT_BYTES_MAX >> 20} MiB")
    return Text(name=name, content=content)


def _told(repo: str, revision: str | None, error: Exception) -> WeighbridgeError:
    if isinstance(error, WeighbridgeError):
        return error
    kind = type(error).__name__
    at = f"revision {revision!r} of {repo}" if revision else repo
    if kind == "OfflineModeIsEnabled":
        return HubError(f"the card of {repo} was not read: offline mode is on (HF_HUB_OFFLINE)")
    if kind in ("RepositoryNotFoundError", "RevisionNotFoundError"):
        return HubError(f"the hub has no {at}, or it is private and no token for it is set")
    status = getattr(getattr(error, "response", None), "status_code", None)
    why = f"the hub answered with status {status}" if status is not None else f"{str(error).strip() or kind}"
    return HubError(f"the card of {repo} could not be read: {' '.join(why.split())}")


def _text(value: object) -> str | None:
    if isinstance(value, list):
        return " AND ".join(str(one) for one in value) or None
    return str(value).strip() or None if value is not None else None


def _several(value: object) -> tuple[str, ...]:
    rows = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(str(one).strip() for one in rows if str(one).strip())


# --- from a card to terms ---------------------------------------------------------------------------------------------


def parts(query: str, read: ReadCard = read_card) -> tuple[Part, ...]:
    """As `resolve`, and each `hf:` part of a stack through its card. What cannot be read is `Unknown`, with the reason.

    Raises `UsageError` where `query` names nothing.
    """
    found: list[Part] = []
    left = [CARDS_MAX]
    for name in names_of(query):
        more = _of_card(name, read, left, frozenset()) if is_hub_name(name) else resolve(name)
        found += [part for part in more if part not in found]
    return tuple(found)


def _of_card(name: str, read: ReadCard, left: list[int], above: frozenset[str]) -> tuple[Part, ...]:
    try:
        left[0] -= 1
        card = read(name)
    except HubError as error:
        return (Unknown(name, str(error), _recorded_hint(name) + _WITHOUT, name),)
    found = list(_own(card))
    for base in card.base_models:
        found += _of_base(base, card, read, left, above | {card.repo.lower()})
    return tuple(found)


_WITHOUT = "go on with the licence file that came with the weights: `weighbridge license check --license-file LICENSE`"


def _recorded_hint(name: str) -> str:
    match = _NAME.fullmatch(name.strip())
    model = None if match is None else catalogue.find(match[1])
    return "" if model is None else f"what is recorded of {model.name}: `weighbridge license check {model.name}`; or "


def _own(card: Card) -> tuple[Part, ...]:
    model = catalogue.find(card.repo)
    known = {text.name: by_file(text.content) for text in card.texts if text.content is not None}
    read: list[Part] = []
    for text in card.texts:
        ident = known.get(text.name)
        if ident is not None:
            said = f"{text.name} (sha256 {text.sha256}) of {card.repo} at commit {card.commit} is {ident}"
            read.append(
                Recorded(terms=load.terms(ident), model=model, said=Reason(f"{said}.", "card", card.place, "read"))
            )
    strange = [text for text in card.texts if known.get(text.name) is None]
    tagged = _tagged(card)
    if read and not strange:
        have = {part.terms.id for part in read if isinstance(part, Recorded)}
        differing = [ident for ident in tagged if ident not in have]
        return (*read, *(_claimed(card, ident, model, strange, may_only_restrict=True) for ident in differing))
    if tagged:
        return (*read, *(_claimed(card, ident, model, strange) for ident in tagged if ident not in known.values()))
    return (*read, _nothing(card, strange))


def _claimed(
    card: Card, ident: str, model: catalogue.Model | None, strange: list[Text], *, may_only_restrict: bool = False
) -> Recorded:
    without = "; no licence file lies beside the weights" if not card.texts else ""
    beside = f"; beside the weights lies {', '.join(map(_strange, strange))}" if strange else without
    text = f"The card of {card.repo} at commit {card.commit} says {card.said()}, taken for {ident}{beside}."
    return Recorded(
        terms=load.terms(ident),
        model=model,
        confidence="reported",
        may_only_restrict=may_only_restrict,
        said=Reason(text, "card", card.place, "reported"),
    )


def _strange(text: Text) -> str:
    if text.content is None:
        return f"{text.name}, which could not be read: {text.why}"
    return f"{text.name} (sha256 {text.sha256}), which is no recorded text"


def _nothing(card: Card, strange: list[Text]) -> Unknown:
    why = f"the card of {card.repo} at commit {card.commit} says {card.said()}, which names no recorded text"
    beside = f"; beside the weights lies {', '.join(map(_strange, strange))}" if strange else ""
    step = "read the text that came with the weights, or let counsel read it"
    return Unknown(
        f"{HUB_PREFIX}{card.repo}", why + beside, _recorded_hint(f"{HUB_PREFIX}{card.repo}") + step, card.place
    )


def _tagged(card: Card) -> tuple[str, ...]:
    """Terms ids that the card's words mean: an SPDX id, the hub's own name for a licence, or a name with `other`."""
    if card.license is None:
        return ()
    if card.license.lower() != "other":
        found = resolve(card.license)
        ids = [part.terms.id for part in found if isinstance(part, Recorded) and part.model is None]
        return tuple(ids) if ids and len(ids) == len(found) else _by_tag(card.license)
    return () if card.license_name is None else _by_tag(card.license_name)


def _by_tag(tag: str) -> tuple[str, ...]:
    """The hub writes `llama3.1` and `gemma` (of any version); with `other`, publishers write names of their own."""
    plain = re.sub(r"[^a-z0-9.]", "", tag.lower().removesuffix("-license"))
    found = []
    for record in load.everything():
        names = {record.id, record.name}
        if record.hub_tag is not None and record.hub_tag != "other":
            names.add(record.hub_tag.removeprefix("other / ").removeprefix("license_name "))
        if plain and plain in {re.sub(r"[^a-z0-9.]", "", one.lower().removesuffix("-license")) for one in names}:
            found.append(record.id)
    return tuple(found)


def _of_base(base: str, card: Card, read: ReadCard, left: list[int], above: frozenset[str]) -> tuple[Part, ...]:
    """What the model was made from keeps its terms. A recorded model is not looked up again."""
    if base.lower() in above:
        return ()
    if catalogue.find(base) is not None:
        return resolve(base)
    if left[0] <= 0 or _NAME.fullmatch(f"{HUB_PREFIX}{base}") is None:
        why = f"{card.repo} says that it was made from {base}, and nobody looked up under which terms that came"
        return (Unknown(base, why, f"check it by itself: `weighbridge license check {HUB_PREFIX}{base}`", card.place),)
    return _of_card(f"{HUB_PREFIX}{base}", read, left, above)


def watched_text(card: Card) -> str:
    """What `license watch` compares: the card's words about the licence, and the licence files. The commit is not."""
    lines = [
        f"license: {card.license}",
        f"license_name: {card.license_name}",
        f"license_link: {card.license_link}",
        *(f"base_model: {base}" for base in card.base_models),
    ]
    for text in card.texts:
        content = f"(not read: {text.why})" if text.content is None else text.content.decode(errors="replace")
        lines += [f"file: {text.name}", content]
    return "\n\n".join(lines)
