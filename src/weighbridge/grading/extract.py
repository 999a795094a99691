"""Finding the answer in what a model wrote.

text              all of it
json:PATH         PATH (dotted, list positions as numbers) in the last JSON object that has it, fenced or not
last_number       the last number
regex:PATTERN     the first group (or the whole) of the last match
"""

import json
import re
from collections.abc import Callable
from json import JSONDecoder
from typing import Any

from weighbridge.grading.checks import last_number_text

Extractor = Callable[[str], str | None]
"""Text of an answer -> what is graded; `None` where the text does not hold it."""

Search = Callable[[str, str], str | None]
"""(pattern, text) -> the first group, or the whole, of the last match."""

KINDS = "text, json:PATH, last_number, regex:PATTERN"

TEXT_CHARS_MAX = 400_000
"""Looked at from the end: the answer comes last."""

_STARTS_MAX = 400
_OBJECT = re.compile(r'\{\s*["}]')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_LATEX_WORD = re.compile(
    r"(?:t(?:ext|imes|heta|frac|an|au|o|riangle|bf)|r(?:ight|angle|ho|m|floor|ceil)|n(?:u|eq?|otin|abla|mid)"
    r"|b(?:oxed|inom|eta|ar|ig|egin|mod|cdot)|f(?:rac|box|lat|orall)|u[a-zA-Z]+)(?![a-z])"
)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


# strict=False: models write line breaks into strings.
_decoder = JSONDecoder(strict=False, parse_constant=_no_constant)


def _restored(match: re.Match[str]) -> str:
    """One backslash escape of a JSON string as the model meant it: `\\frac` is LaTeX, `\\n` a line break."""
    letter = match[1]
    if letter in '"\\/':
        return match[0]
    if letter in "bfnrtu":
        behind = match.string[match.end() - 1 : match.end() + 9]
        if letter == "u" and re.match(r"u[0-9a-fA-F]{4}", behind):
            return match[0]
        if letter != "u" and not _LATEX_WORD.match(behind):
            return match[0]
    return "\\\\" + letter


def _decode(text: str, at: int) -> tuple[Any, int] | None:
    """The JSON value at a position and where it ends: strictly, else with the backslashes of LaTeX mended."""
    try:
        value, end = _decoder.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None
    return value, end


def json_objects(text: str) -> list[dict[str, Any]]:
    """All outermost JSON objects of a text in order; where one is broken, with its backslashes mended."""
    text = text[-TEXT_CHARS_MAX:]
    found, clean = _objects(text)
    return found if clean else _mended(text) or found


def _mended(text: str) -> list[dict[str, Any]]:
    return _objects(_ESCAPE.sub(_restored, text))[0]


def _objects(text: str) -> tuple[list[dict[str, Any]], bool]:
    """The objects, and whether every start that was tried was one."""
    starts = [match.start() for match in _OBJECT.finditer(text)][-_STARTS_MAX:]
    found: list[dict[str, Any]] = []
    clean, end = True, 0
    for start in starts:
        if start < end:
            continue
        decoded = _decode(text, start)
        if decoded is None:
            clean = False
        elif isinstance(decoded[0], dict):
            found.append(decoded[0])
            end = decoded[1]
    return found, clean


def _controls(value: Any) -> bool:
    """Does a value hold what `\\frac`, `\\boxed` or `\\text` become when read as JSON escapes?"""
    if isinstance(value, str):
        return "\x08" in value or "\x0c" in value or "\text" in value or "\times" in value or "\right" in value
    if isinstance(value, dict):
        return any(_controls(inner) for inner in value.values())
    return isinstance(value, list) and any(_controls(inner) for inner in value)


_MISSING = object()


def at_path(value: Any, path: str) -> Any:
    """The value at a dotted path, `_MISSING` where there is none. An empty path is the value itself."""
    for step in path.split(".") if path else ():
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.lstrip("-").isdigit() and -len(value) <= int(step) < len(value):
            value = value[int(step)]
        else:
            return _MISSING
    return value


def is_missing(value: object) -> bool:
    return value is _MISSING


def as_text(value: Any) -> str:
    """A JSON value as an answer: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def json_at(text: str, path: str) -> str | None:
    """PATH in the last JSON object that has it.

    A value that can be read as JSON but turned `\\frac` into a form feed is read again as the LaTeX that was meant.
    Where an object is broken beyond mending (a quote inside a string, an answer that was cut), the value behind the
    last `"KEY":` is taken, KEY being the last step of the path.
    """
    value = _last_at(json_objects(text), path)
    if value is not _MISSING and _controls(value):
        meant = _last_at(_mended(text[-TEXT_CHARS_MAX:]), path)
        value = value if meant is _MISSING else meant
    if value is not _MISSING:
        return as_text(value)
    return _behind_key(text[-TEXT_CHARS_MAX:], path.rpartition(".")[2])


def _last_at(objects: list[dict[str, Any]], path: str) -> Any:
    return next((value for found in reversed(objects) if (value := at_path(found, path)) is not _MISSING), _MISSING)


def _behind_key(text: str, key: str) -> str | None:
    if not key:
        return None
    matches = list(re.finditer(rf'"{re.escape(key)}"\s*:\s*', text))
    for match in reversed(matches[-_STARTS_MAX:]):
        rest = _ESCAPE.sub(_restored, text[match.end() : match.end() + 20_000])
        decoded = _decode(rest, 0)
        if decoded is not None:
            return as_text(decoded[0])
        if rest[:1] in "[({" and rest:
            return _balanced(rest)  # a literal of another language
        loose = re.match(r'"((?:[^"\\\n]|\\.)*)"|([^\s,}\]"]+)', rest)
        if loose is not None:
            return loose[1] if loose[1] is not None else loose[2]
    return None


def _balanced(text: str) -> str | None:
    """A bracket to its partner; quotes inside are not looked into."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character in "[({") - (character in "])}")
        if depth == 0:
            return text[: index + 1]
    return None


def last_match(pattern: str, text: str) -> str | None:
    """A `Search` that nothing ends: hostile patterns take for ever. Whoever grades hands in one with a limit."""
    last = None
    for last in re.finditer(pattern, text):  # noqa: B007 (the last one is wanted)
        pass
    if last is None:
        return None
    found: str | None = last[1] if last.re.groups else last[0]
    return found


def extractor(spec: str, search: Search = last_match) -> Extractor:
    """The extractor of a config value; `search` runs patterns. Raises `ValueError` saying what is allowed."""
    if spec == "text":
        return lambda text: text
    if spec == "last_number":
        return last_number_text
    kind, _, argument = spec.partition(":")
    if kind == "json" and argument:
        return lambda text: json_at(text, argument)
    if kind == "regex" and argument:
        try:
            re.compile(argument)
        except re.error as error:
            raise ValueError(f"extract {spec!r}: not a regular expression: {error}") from None
        return lambda text: search(argument, text[-TEXT_CHARS_MAX:])
    raise ValueError(f"extract {spec!r} is not known; allowed: {KINDS}")
