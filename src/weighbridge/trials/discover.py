"""Slices found in prompts, never in scores: system-prompt template, tools, schema, language, and what texts are about.

    prompts --form--> groups by template, tools, schema and language --words--> clusters of the large ones --> Slices

Deterministic: the same prompts give the same slices, in any order. Found slices are rules, by which later prompts are
told apart (`Slices.of`). Nothing here sees an answer or a score: slices chosen by scores would make the verdicts on
them worthless.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

import msgspec
import numpy as np
from numpy.typing import NDArray

SHARE_MIN = 0.02
"""Of all prompts; smaller groups are `other`."""
CLUSTERED_MIN = 60
CLUSTERS_MAX = 6
CLUSTER_SHARE_MIN = 0.1
"""Of its group; a cluster that falls below it is given up."""
TERMS_MAX = 2_000
ROUNDS_MAX = 25
SAMPLE_MAX = 20_000
OTHER = "other"

_VARIABLE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|https?://\S+|[\w.+-]+@[\w-]+\.\w+"
    r"|\"[^\"\n]{0,200}\"|\d[\d.,:/-]*|\b[A-Z][a-z]+(?: [A-Z][a-z]+)+\b"
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_SCRIPTS = (
    ("zh", "\u4e00", "\u9fff"), ("ja", "\u3040", "\u30ff"), ("ko", "\uac00", "\ud7af"), ("ru", "\u0400", "\u04ff"),
    ("ar", "\u0600", "\u06ff"), ("hi", "\u0900", "\u097f"), ("el", "\u0370", "\u03ff"), ("he", "\u0590", "\u05ff"),
)  # fmt: skip
# The most frequent function words that few other languages share.
_FUNCTION_WORDS = {
    "en": "the and is of to in that it was for you with this are what how does not",
    "de": "der die das und ist nicht ein eine ich zu mit auf wie für sie wird sind",
    "fr": "le les des est une dans que qui pour pas vous avec sur ce cette comment du",
    "es": "el los las una es por que para con como del no está mi se cuál",
    "it": "il che di una per con non sono della come questo è gli nel qual",
    "pt": "os uma não para com que como mais por está você ao seu em é",
    "nl": "het een van is niet de en dat op te voor met zijn hoe wat",
}
_FUNCTION_SETS = {name: frozenset(words.split()) for name, words in _FUNCTION_WORDS.items()}
_ALL_FUNCTION_WORDS = frozenset(word for words in _FUNCTION_SETS.values() for word in words)


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What of a request slices may be made of."""

    id: str
    system: str
    tools: tuple[str, ...]
    """Their names, sorted."""
    schema: str
    """Fingerprint of the response schema, `none` without one."""
    text: str
    """The last user text."""


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """A slice as a rule."""

    id: str
    """Eight hex digits of the rule: its form, and for a cluster its three telling words, so that the same
    words found again in later traffic have the same id."""
    name: str
    share: float
    prompts: int
    chars: int
    """Of the texts, the median."""
    template: str
    tools: tuple[str, ...]
    schema: str
    language: str
    centre: dict[str, float] | None = None
    """Term weights of a cluster's centre; `None` for a group that is one slice."""
    examples: tuple[str, ...] = ()
    """Ids of prompts, the most typical first."""


class Slices(msgspec.Struct, frozen=True, kw_only=True):
    prompts: int
    slices: tuple[Slice, ...]
    """Largest first, `other` last."""

    def of(self, prompt: Prompt) -> str:
        """The id of a prompt's slice, by the rules alone; `other` for what no rule holds."""
        form = form_of(prompt)
        fitting = [one for one in self.slices if (one.template, one.tools, one.schema, one.language) == form]
        if not fitting:
            return OTHER
        counts = _terms(prompt.text)
        return max(fitting, key=lambda one: (_likeness(counts, one.centre), one.id)).id


def template_of(system: str) -> str:
    """A system prompt without what changes from request to request: eight hex digits, `none` for none."""
    plain = " ".join(_VARIABLE.sub("#", system).split())
    return blake2b(plain.encode("utf-8", "replace"), digest_size=4).hexdigest() if plain else "none"


def language_of(text: str) -> str:
    """The language of a text by script, else by function words; `unknown` where neither tells."""
    letters = [char for char in text[:2000] if char.isalpha()]
    if not letters:
        return "unknown"
    for name, low, high in _SCRIPTS:
        if sum(low <= char <= high for char in letters) > 0.3 * len(letters):
            return name
    words = Counter(_WORD.findall(text[:4000].lower()))
    scores = {name: sum(words[word] for word in known) for name, known in _FUNCTION_SETS.items()}
    best = max(scores.values())
    found = [name for name, score in scores.items() if score == best]
    return found[0] if best > 0 and len(found) == 1 else "unknown"


Form = tuple[str, tuple[str, ...], str, str]


def form_of(prompt: Prompt) -> Form:
    """Template, tools, schema and language."""
    return template_of(prompt.system), prompt.tools, prompt.schema, language_of(prompt.text)


def discover(prompts: Sequence[Prompt]) -> Slices:
    """Find slices. Of more than 20,000 prompts those with the smallest hash of their id are looked at."""
    seen = sorted(prompts, key=lambda one: blake2b(one.id.encode(), digest_size=8).digest())[:SAMPLE_MAX]
    groups: dict[Form, list[Prompt]] = {}
    for prompt in seen:
        groups.setdefault(form_of(prompt), []).append(prompt)
    large = {form: rows for form, rows in groups.items() if len(rows) >= SHARE_MIN * len(seen)}
    found = [one for form, rows in large.items() for one in _split(form, rows, len(seen), len(large) > 1)]
    found.sort(key=lambda one: (-one.prompts, one.id))
    rest = len(seen) - sum(one.prompts for one in found)
    if rest:
        found.append(
            Slice(id=OTHER, name="everything else", share=rest / len(seen), prompts=rest, chars=0, template="",
                  tools=(), schema="", language="")
        )  # fmt: skip
    return Slices(prompts=len(seen), slices=tuple(found))


def _split(form: Form, rows: list[Prompt], total: int, several: bool) -> list[Slice]:
    """A group as one slice, or as clusters of what its texts are about."""
    vectors, terms = _tf_idf([row.text for row in rows])
    labels = _clusters(vectors) if len(rows) >= CLUSTERED_MIN and len(terms) >= 10 else np.zeros(len(rows), np.int64)
    kinds = np.unique(labels)
    overall = vectors.mean(axis=0) if len(terms) else np.zeros(0)
    found = []
    for kind in kinds:
        mine = np.flatnonzero(labels == kind)
        centre = vectors[mine].mean(axis=0) if len(terms) else np.zeros(0)
        best = sorted(
            range(len(terms)), key=lambda at: (-(centre[at] - (overall[at] if len(kinds) > 1 else 0)), terms[at])
        )
        weights = {terms[at]: round(float(centre[at]), 6) for at in best[:50] if centre[at] > 0}
        words = [terms[at] for at in best[:3] if centre[at] > 0]
        typical = mine[np.lexsort((mine, -(vectors[mine] @ centre)))] if len(terms) else mine
        rule = repr((form, sorted(words) if len(kinds) > 1 else None))
        found.append(
            Slice(
                id=blake2b(rule.encode("utf-8", "replace"), digest_size=4).hexdigest(),
                name=_name(form, words, clustered=len(kinds) > 1, several=several),
                share=len(mine) / total,
                prompts=len(mine),
                chars=int(np.median([len(rows[at].text) for at in mine])),
                template=form[0],
                tools=form[1],
                schema=form[2],
                language=form[3],
                centre=weights if len(kinds) > 1 else None,
                examples=tuple(rows[at].id for at in typical[:3]),
            )
        )
    return found


def _name(form: Form, words: list[str], *, clustered: bool, several: bool) -> str:
    template, tools, schema, language = form
    parts = ["about " + ", ".join(words)] if words and (clustered or not several) else []
    if several or not parts:
        parts += [f"template {template}"] if template != "none" else ["no system prompt"]
        parts += [f"tools {', '.join(tools[:3])}{', ...' if len(tools) > 3 else ''}"] if tools else []
        parts += [f"schema {schema}"] if schema != "none" else []
        parts += [language] if language not in ("en", "unknown") else []
        parts += ["about " + ", ".join(words)] if words and not clustered and several else []
    return "; ".join(parts)


def _terms(text: str) -> Counter[str]:
    return Counter(word for word in _WORD.findall(text[:8000].lower()) if word not in _ALL_FUNCTION_WORDS)


def _likeness(counts: Counter[str], centre: dict[str, float] | None) -> float:
    if centre is None:
        return 1.0
    return sum((1.0 + math.log(counts[term])) * weight for term, weight in centre.items() if counts[term])


def _tf_idf(texts: Sequence[str]) -> tuple[NDArray[np.float64], list[str]]:
    """Unit rows (1 + ln tf) ln(N / df) over the terms in 2 texts or more and in at most half; names of the terms.

    Salton, Buckley 1988. Rows without any such term are zero.
    """
    counted = [_terms(text) for text in texts]
    documents = Counter(term for counts in counted for term in counts)
    usable = [term for term, count in documents.items() if 2 <= count <= max(2, len(texts) // 2)]
    terms = sorted(sorted(usable), key=lambda term: -documents[term])[:TERMS_MAX]
    at = {term: place for place, term in enumerate(terms)}
    vectors = np.zeros((len(texts), len(terms)))
    for row, counts in enumerate(counted):
        for term, count in counts.items():
            place = at.get(term)
            if place is not None:
                vectors[row, place] = (1.0 + np.log(count)) * np.log(len(texts) / documents[term])
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=vectors, where=norms > 0), terms


def _clusters(vectors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Spherical k-means from seeds that are far apart; the largest k whose clusters are all large enough and distinct.

    Seeds: the row nearest to the mean, then each time the row least like those before (Gonzalez 1985): no random number
    is needed.
    """
    for k in range(CLUSTERS_MAX, 1, -1):
        labels, centres = _k_means(vectors, k)
        sizes = np.bincount(labels, minlength=k)
        alike = centres @ centres.T - np.eye(k)
        if sizes.min() >= CLUSTER_SHARE_MIN * len(vectors) and alike.max() < 0.5:
            return labels
    return np.zeros(len(vectors), np.int64)


def _k_means(vectors: NDArray[np.float64], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    seeds = [int(np.argmax(vectors @ vectors.mean(axis=0)))]
    nearest = vectors @ vectors[seeds[0]]
    for _ in range(1, k):
        seeds.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, vectors @ vectors[seeds[-1]])
    centres = vectors[seeds]
    labels = np.full(len(vectors), -1, np.int64)
    for _ in range(ROUNDS_MAX):
        new = np.argmax(vectors @ centres.T, axis=1)
        if np.array_equal(new, labels):
            break
        labels = new
        for kind in range(k):
            if (labels == kind).any():
                centre = vectors[labels == kind].sum(axis=0)
                norm = np.linalg.norm(centre)
                centres[kind] = centre / norm if norm > 0 else centre
    return labels, centres
