"""Standard texts are told by their words: MIT and Apache-2.0 carry a copyright line, so no file is like another.

What is compared is the body of a text, word for word without case, punctuation and spacing, from its first fixed word
to its end. Anything before the body that is not a title or a copyright line, and anything behind it, makes it another
text: a modified MIT licence is an MIT licence with a paragraph more.
"""

import re
from hashlib import sha256

import msgspec


class _Standard(msgspec.Struct, frozen=True):
    terms: str
    begins: str
    ends: str
    sha256: str
    """Of the body's words, joined by one space."""
    titles: tuple[str, ...]
    """What may stand before the body, besides a copyright line."""
    tails: tuple[str, ...]
    """sha256 of the words that may stand behind it, without the copyright holder."""


_NOTHING = sha256(b"").hexdigest()
_STANDARDS = (
    _Standard(
        "mit", "permission is hereby granted", "or other dealings in the software",
        "0cf21bdfd1964a97a8615e128534845826afbc887edc95aa5c925cbf64386b5c",
        ("", "mit license", "the mit license", "the mit license mit"), (_NOTHING,),
    ),
    _Standard(
        "apache-2.0", "apache license version 2 0 january 2004", "end of terms and conditions",
        "f45538b138cf9aea39fa205de037a0bede8305e68281650e7ab809a8b3ebb2f0", ("",),
        (_NOTHING, "739f4c91632cc6490a188fa38fa4a01b104c4f4031f898336542367a11c62fe2"),  # the appendix: how to apply it
    ),
)  # fmt: skip
_SAYS_MORE = r"modif\w*|commercial\w*|licen[cs]e\w*|you|your|must|shall|may|not|no|unless|only|except|if"
_COPYRIGHT = re.compile(rf"copyright (?:(?!\b(?:{_SAYS_MORE})\b).){{1,200}}")
_HOLDER = re.compile(r"copyright .{0,120}? (?=licensed under the apache license)")


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.lower().replace("https://", "http://")))


def standard_terms(text: bytes) -> str | None:
    """The terms id of the standard text that a file holds and nothing else; `None` where it holds anything more."""
    words = _words(text.decode(errors="replace"))
    for one in _STANDARDS:
        start, end = words.find(one.begins), words.rfind(one.ends) + len(one.ends)
        if start < 0 or end < start:
            continue
        body = sha256(words[start:end].encode()).hexdigest()
        head = _COPYRIGHT.sub("", words[:start]).strip()
        tail = sha256(_HOLDER.sub("", words[end:].strip()).encode()).hexdigest()
        if body == one.sha256 and head in one.titles and tail in one.tails:
            return one.terms
    return None
