"""The kinds of grader. Each has a version: change what a kind says about any answer, and its version goes up.

A grader never raises on an answer, however odd: what it cannot read scores 0. It does say beforehand whether a
reference makes sense for it (`reference_problem`): a gold answer that it cannot use would score 0 for both arms and
look like agreement, so such an item is left out and counted.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from weighbridge.grading import checks
from weighbridge.grading.answers import Answer, Question, ToolCall
from weighbridge.grading.extract import Extractor, Search, as_text, at_path, is_missing, json_objects
from weighbridge.grading.similarity import chrf

Reference = Literal["gold", "incumbent", "none"]

NO_ANSWER = "no answer found in the text"
DIFFERS = "differs from the reference"


class Grade(msgspec.Struct, frozen=True):
    score: float
    """In [0, 1]."""
    note: str = ""
    """Why not 1, without quoting the answer."""


class Grader(Protocol):
    """Judges answers of one slice."""

    @property
    def kind(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def needs_reference(self) -> bool: ...

    def reference_problem(self, reference: str) -> str | None:
        """Why a reference answer cannot be used, in a few words; `None` where it can."""
        ...

    def reference_of(self, answer: Answer) -> str | None:
        """An answer in the form of a reference (for agreement with the incumbent); `None` where there is none in it."""
        ...

    def grade(self, answer: Answer, reference: str | None, question: Question) -> Grade: ...


class _TextGrader:
    """Base of graders that compare an extracted text with a reference."""

    kind = ""
    version = "1"
    needs_reference = True

    def __init__(self, extract: Extractor) -> None:
        self._extract = extract

    def reference_problem(self, reference: str) -> str | None:
        return None if reference.strip() else "it is empty"

    def reference_of(self, answer: Answer) -> str | None:
        found = self._extract(answer.text)
        return found if found is not None and self.reference_problem(found) is None else None

    def grade(self, answer: Answer, reference: str | None, question: Question) -> Grade:
        found = self._extract(answer.text)
        if found is None:
            return Grade(0.0, f"{NO_ANSWER} (it ended at its token limit)" if answer.cut else NO_ANSWER)
        if reference is None:
            return Grade(0.0, "no reference")
        return self._compare(found, reference)

    def _compare(self, found: str, reference: str) -> Grade:
        raise NotImplementedError


class Exact(_TextGrader):
    kind = "exact"

    def _compare(self, found: str, reference: str) -> Grade:
        return Grade(1.0) if checks.exact_equal(found, reference) else Grade(0.0, DIFFERS)


class Normalised(_TextGrader):
    kind = "normalised"

    def _compare(self, found: str, reference: str) -> Grade:
        return Grade(1.0) if checks.normalised_equal(found, reference) else Grade(0.0, DIFFERS)


class NumberGrader(_TextGrader):
    """`tolerance` is absolute, in the unit of the answer."""

    kind = "number"

    def __init__(self, extract: Extractor, tolerance: float) -> None:
        super().__init__(extract)
        self._tolerance = tolerance

    def reference_problem(self, reference: str) -> str | None:
        return None if checks.number_of(reference) is not None else "there is no number in it"

    def _compare(self, found: str, reference: str) -> Grade:
        got, want = checks.number_of(found), checks.number_of(reference)
        if got is None or want is None:
            return Grade(0.0, "no number in the answer")
        return Grade(1.0) if checks.numbers_equal(got, want, self._tolerance) else Grade(0.0, "another number")


class Regex(_TextGrader):
    """With a pattern of its own: 1 where the answer holds it, no reference needed. Without, the reference is one.

    Patterns are people's: each search runs where it can be ended (`confined.search`), and one that takes too long
    finds nothing.
    """

    kind = "regex"
    version = "2"

    def __init__(self, extract: Extractor, pattern: str | None, search: Search) -> None:
        super().__init__(extract)
        self._pattern, self._search = pattern, search
        self.needs_reference = pattern is None

    def reference_problem(self, reference: str) -> str | None:
        try:
            pattern = re.compile(reference)
        except re.error:
            return "it is not a regular expression"
        return "it matches the empty text, so it matches everything" if pattern.search("") else None

    def reference_of(self, answer: Answer) -> str | None:
        found = self._extract(answer.text)
        return re.escape(found) if found else None

    def grade(self, answer: Answer, reference: str | None, question: Question) -> Grade:
        found = self._extract(answer.text)
        if found is None:
            return Grade(0.0, NO_ANSWER)
        pattern = self._pattern if self._pattern is not None else reference
        if pattern is None:
            return Grade(0.0, "no reference")
        hit = self._search(pattern, found[-checks.ANSWER_CHARS_MAX :])
        return Grade(1.0) if hit is not None else Grade(0.0, "the pattern is not in it")


class Similarity(_TextGrader):
    """Likeness of wording with a reference, chrF2 (`similarity.chrf`): a proxy, for texts that have no other check."""

    kind = "similarity"

    def _compare(self, found: str, reference: str) -> Grade:
        score = chrf(found, reference)
        return Grade(score, "" if score == 1.0 else "worded differently")


class Label(_TextGrader):
    """A closed set of labels. An answer that names several is wrong: it did not choose."""

    kind = "label"

    def __init__(self, extract: Extractor, labels: Sequence[str]) -> None:
        super().__init__(extract)
        self._labels = tuple(labels)

    def reference_problem(self, reference: str) -> str | None:
        return None if len(checks.labels_in(reference, self._labels)) == 1 else "it is not one of the labels"

    def reference_of(self, answer: Answer) -> str | None:
        found = self._extract(answer.text)
        named = checks.labels_in(found, self._labels) if found is not None else []
        return named[0] if len(named) == 1 else None

    def _compare(self, found: str, reference: str) -> Grade:
        named = checks.labels_in(found, self._labels)
        if len(named) != 1:
            return Grade(0.0, "names no label" if not named else f"names {len(named)} labels")
        return Grade(1.0) if named == checks.labels_in(reference, self._labels) else Grade(0.0, "another label")


def validator(schema: dict[str, Any]) -> Any:
    """A validator that fetches nothing. Raises `ValueError` where the schema or a `$ref` in it is wrong."""
    # Loading this library takes more than a second; only those who have a schema wait for it.
    import jsonschema
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.exceptions.SchemaError as error:
        raise ValueError(f"is not a JSON schema: {error.message[:200]}") from None
    registry: Registry[Any] = Registry()
    root = DRAFT202012.create_resource(schema)
    resolver = registry.with_resource("", root).resolver()
    for reference in _references(schema):
        try:
            if not reference.startswith("#"):
                raise ValueError(f"$ref {reference!r} leaves the file; put the definition under $defs")
            resolver.lookup(reference)
        except Unresolvable:
            raise ValueError(f"$ref {reference!r} points at nothing") from None
    return kind(schema, registry=registry)


def _references(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [one for value in schema.values() for one in _references(value)]
    return [one for value in schema for one in _references(value)] if isinstance(schema, list) else []


class JsonGrader:
    """A JSON object: it must satisfy the schema, if there is one, and then scores the share of fields that are equal.

    Fields are dotted paths; without any, the top-level keys of the reference. Equal means by type and value: "1" is
    not 1, true is not 1. Numbers may differ by `tolerance`. What breaks the schema scores 0.
    """

    kind = "json"
    version = "1"

    def __init__(
        self, extract_path: str, schema: dict[str, Any] | None, fields: Sequence[str], tolerance: float, compare: bool
    ) -> None:
        self._path, self._fields, self._tolerance = extract_path, tuple(fields), tolerance
        self.needs_reference = compare
        self._validator: Any = None if schema is None else validator(schema)

    def _object(self, text: str) -> Any:
        """The last object of the text (that has the path); the missing mark where there is none."""
        for found in reversed(json_objects(text)):
            value = at_path(found, self._path)
            if not is_missing(value):
                return value
        return at_path(None, "missing")

    def reference_problem(self, reference: str) -> str | None:
        value = self._reference(reference)
        if not isinstance(value, dict) or not value:
            return "it is not a JSON object with fields"
        absent = [field for field in self._fields if is_missing(at_path(value, field))]
        if absent:
            return f"it lacks the field {absent[0]}"
        if not self._fields and self._validator is not None and not self._validator.is_valid(value):
            return "it breaks the schema"
        return None

    def _reference(self, reference: str) -> Any:
        try:
            return msgspec.json.decode(reference)
        except (msgspec.DecodeError, RecursionError):
            return None

    def reference_of(self, answer: Answer) -> str | None:
        found = self._object(answer.text)
        if is_missing(found):
            return None
        text = as_text(found)
        return text if self.reference_problem(text) is None else None

    def grade(self, answer: Answer, reference: str | None, question: Question) -> Grade:
        found = self._object(answer.text)
        if is_missing(found):
            return Grade(0.0, "no JSON object" + (" (it ended at its token limit)" if answer.cut else ""))
        if self._validator is not None:
            import jsonschema

            error = jsonschema.exceptions.best_match(self._validator.iter_errors(found))
            if error is not None:
                where = ".".join(str(step) for step in error.absolute_schema_path)
                return Grade(0.0, f"breaks the schema at {where[:80]}")
        if not self.needs_reference:
            return Grade(1.0)
        if reference is None:
            return Grade(0.0, "no reference")
        return self._fields_equal(found, self._reference(reference))

    def _fields_equal(self, found: Any, reference: Any) -> Grade:
        names = self._fields or tuple(reference)
        wrong = []
        for name in names:
            # Without configured fields the reference's own keys are meant, dots and all.
            got = at_path(found, name) if self._fields else _key(found, name)
            want = at_path(reference, name) if self._fields else _key(reference, name)
            if is_missing(got) or not checks.values_equal(got, want, self._tolerance):
                wrong.append(name)
        if not wrong:
            return Grade(1.0)
        shown = ", ".join(wrong[:4]) + (", ..." if len(wrong) > 4 else "")
        return Grade(1.0 - len(wrong) / len(names), f"{len(wrong)} of {len(names)} fields differ: {shown}"[:200])


def _key(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, dict) and name in value else at_path(None, "missing")


class ToolCallGrader:
    """The tools called, by name and arguments, type-aware. All right or 0: half a payment order is no payment order.

    The reference is `{"name": ..., "arguments": {...}}` or a list of one or more of these (whether an answer without
    any call is good, its text says, not this grader). Order counts only where the request forbids parallel calls.
    With `fields`, only these arguments are compared.
    """

    kind = "tool_call"
    version = "1"
    needs_reference = True

    def __init__(self, fields: Sequence[str], tolerance: float) -> None:
        self._fields, self._tolerance = tuple(fields), tolerance

    def reference_problem(self, reference: str) -> str | None:
        calls = _calls_of(reference)
        if calls is None:
            return 'it is not {"name", "arguments"} or a list of these'
        return None if calls else "it calls no tool"

    def reference_of(self, answer: Answer) -> str | None:
        if not answer.tool_calls:
            return None
        calls = [(call.name, _object_of(call.arguments)) for call in answer.tool_calls]
        if any(arguments is None for _, arguments in calls):
            return None
        return msgspec.json.encode([{"name": name, "arguments": arguments} for name, arguments in calls]).decode()

    def grade(self, answer: Answer, reference: str | None, question: Question) -> Grade:
        want = _calls_of(reference) if reference is not None else None
        if want is None:
            return Grade(0.0, "no reference")
        if len(answer.tool_calls) != len(want):
            return Grade(0.0, f"{len(answer.tool_calls)} tool calls instead of {len(want)}")
        left = list(want)
        for call in answer.tool_calls:
            choices = left if question.parallel_tool_calls else left[:1]
            match = next((at for at, one in enumerate(choices) if self._equal(call, one)), None)
            if match is None:
                named = any(call.name == name for name, _ in choices)
                return Grade(0.0, "other arguments" if named else "another tool")
            del left[match]
        return Grade(1.0)

    def _equal(self, call: ToolCall, want: tuple[str, dict[str, Any]]) -> bool:
        arguments = _object_of(call.arguments)
        if call.name != want[0] or arguments is None:
            return False
        if not self._fields:
            return checks.values_equal(arguments, want[1], self._tolerance)
        return all(
            (is_missing(at_path(want[1], field)) and is_missing(at_path(arguments, field)))
            or checks.values_equal(at_path(arguments, field), at_path(want[1], field), self._tolerance)
            for field in self._fields
        )


def _object_of(text: str) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _calls_of(reference: str) -> list[tuple[str, dict[str, Any]]] | None:
    try:
        value = msgspec.json.decode(reference)
    except (msgspec.DecodeError, RecursionError):
        return None
    calls: list[tuple[str, dict[str, Any]]] = []
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            return None
        arguments = one.get("arguments", {})
        arguments = _object_of(arguments) if isinstance(arguments, str) else arguments
        if not isinstance(arguments, dict):
            return None
        calls.append((one["name"], arguments))
    return calls
