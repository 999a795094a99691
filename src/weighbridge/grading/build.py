"""One `[[grader]]` of the configuration made ready, or refused with the key that is wrong."""

import math
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from weighbridge.config import Loaded
from weighbridge.config.tree import GraderSection
from weighbridge.errors import ConfigError
from weighbridge.grading.children import Workers
from weighbridge.grading.code import tests_problem
from weighbridge.grading.confined import CodeGrader, SqlGrader, search_in
from weighbridge.grading.extract import Extractor, extractor
from weighbridge.grading.graders import (
    Exact,
    Grader,
    JsonGrader,
    Label,
    Normalised,
    NumberGrader,
    Reference,
    Regex,
    Similarity,
    ToolCallGrader,
)
from weighbridge.grading.judge import JudgeGrader, family_of, panel_problem
from weighbridge.grading.own import OwnGrader
from weighbridge.grading.sandbox import Limits, why_not
from weighbridge.records.evidence import GraderUse, LabelSource

KINDS = (
    "exact",
    "normalised",
    "number",
    "regex",
    "label",
    "json",
    "tool_call",
    "sql",
    "code",
    "similarity",
    "judge",
    "rubric",
)
# Which optional settings mean something for which kind; anything else written there is a mistake worth saying.
_SETTINGS: dict[str, tuple[str, ...]] = {
    "exact": (), "normalised": (), "number": ("tolerance",), "regex": ("pattern",), "label": ("labels",),
    "json": ("schema", "fields", "tolerance"), "tool_call": ("fields", "tolerance"), "python": ("time_s_max",),
    "judge": ("judges", "rubric"), "rubric": ("judges", "rubric"),
    "sql": ("setup",), "code": ("tests", "cpu_s_max", "memory_bytes_max"), "similarity": (),
}  # fmt: skip

OWN_S_ALLOWED = 3600.0

_LABEL_SOURCE: dict[Reference, LabelSource] = {"gold": "gold", "incumbent": "agreement", "none": "check"}


class _Settings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything of a grader that can change a score. Later fields are left out where they say nothing."""

    kind: str
    version: str
    extract: str
    reference: str
    tolerance: float
    labels: tuple[str, ...]
    pattern: str | None
    schema_sha256: str | None
    fields: tuple[str, ...]
    critical: bool
    setup_sha256: str | None = None
    tests_sha256: str | None = None
    limits: Limits | None = None
    judges: tuple[str, ...] = ()
    rubric_sha256: str | None = None


class SliceGrader(msgspec.Struct, frozen=True, kw_only=True):
    """A grader in use for the slices that `pattern` matches."""

    pattern: str
    grader: Grader
    extract: str
    reference: Reference
    settings_digest: str
    critical: bool = False

    @property
    def label_source(self) -> LabelSource:
        if isinstance(self.grader, JudgeGrader):
            return "judge"
        return _LABEL_SOURCE[self.reference]

    @property
    def slow(self) -> bool:
        """Does grading wait for a process, so that an event loop should not?"""
        return isinstance(self.grader, SqlGrader | CodeGrader | Regex | OwnGrader) or self.extract.startswith("regex:")

    def use(self, slice_name: str) -> GraderUse:
        """As the evidence of a slice names it."""
        return GraderUse(
            slice=slice_name,
            kind=self.grader.kind,
            version=self.grader.version,
            extract=self.extract,
            reference=self.reference,
            settings_digest=self.settings_digest,
        )


def compile_grader(loaded: Loaded, section: GraderSection, where: str, workers: Workers) -> SliceGrader:
    """One `[[grader]]` made ready. Raises `ConfigError` naming the key."""
    file, kind = loaded.file, section.kind.partition(":")[0]
    _no_idle_settings(file, where, kind, section)
    tolerance = 0.0 if section.tolerance is None else section.tolerance
    if not (math.isfinite(tolerance) and tolerance >= 0.0):
        raise ConfigError(file, f"{where}.tolerance", "is not a tolerance", value=tolerance, allowed="0 or more")
    schema = _schema(loaded, section, where)
    setup, tests = _text(loaded, where, "setup", section.setup), _text(loaded, where, "tests", section.tests)
    rubric = _text(loaded, where, "rubric", section.rubric)
    parts = _Parts(
        rubric, tolerance, None if schema is None else schema[0], setup, tests, _limits(loaded.file, section, where)
    )
    grader = _built(loaded, section, where, kind, parts, workers)
    reference: Reference = section.reference if grader.needs_reference else "none"
    if grader.needs_reference and section.reference == "none":
        raise ConfigError(
            file, f"{where}.reference", f"kind {section.kind!r} compares with a reference", value="none",
            allowed="gold, incumbent (agreement only)",
        )  # fmt: skip
    settings = _Settings(
        kind=section.kind,
        version=grader.version,
        extract=section.extract,
        reference=reference,
        tolerance=tolerance,
        labels=section.labels,
        pattern=section.pattern,
        schema_sha256=None if schema is None else schema[1],
        fields=section.fields,
        critical=section.critical,
        setup_sha256=None if setup is None else sha256(setup.encode()).hexdigest(),
        tests_sha256=None if tests is None else sha256(tests.encode()).hexdigest(),
        limits=parts.limits if kind == "code" else None,
        # Another model under a judge's name is another judge.
        judges=tuple(f"{name}={loaded.arm_identity(name)}" for name in section.judges),
        rubric_sha256=None if rubric is None else sha256(rubric.encode()).hexdigest(),
    )
    return SliceGrader(
        pattern=section.slice,
        grader=grader,
        extract=section.extract,
        reference=reference,
        settings_digest=sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest(),
        critical=section.critical,
    )


def _no_idle_settings(file: str, where: str, kind: str, section: GraderSection) -> None:
    for name in (
        "tolerance",
        "labels",
        "pattern",
        "schema",
        "fields",
        "setup",
        "tests",
        "cpu_s_max",
        "memory_bytes_max",
        "time_s_max",
    ):
        value = getattr(section, name)
        if value not in (None, ()) and name not in _SETTINGS[kind]:
            raise ConfigError(file, f"{where}.{name}", f"means nothing for kind {kind!r}; remove it", value=value)


def _schema(loaded: Loaded, section: GraderSection, where: str) -> tuple[dict[str, Any], str] | None:
    if section.schema is None:
        return None
    stored = loaded.path(section.schema).read_bytes()
    try:
        tree = msgspec.json.decode(stored)
    except msgspec.DecodeError as error:
        raise ConfigError(loaded.file, f"{where}.schema", f"is not JSON: {error}", value=section.schema) from None
    if not isinstance(tree, dict):
        raise ConfigError(loaded.file, f"{where}.schema", "is not a JSON object", value=section.schema)
    return tree, sha256(stored).hexdigest()


class _Parts(NamedTuple):
    """What a grader is built from, read and checked."""

    rubric: str | None
    tolerance: float
    schema: dict[str, Any] | None
    setup: str | None
    tests: str | None
    limits: Limits


def _text(loaded: Loaded, where: str, key: str, name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return loaded.path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(loaded.file, f"{where}.{key}", f"cannot be read: {error}", value=name) from None


def _limits(file: str, section: GraderSection, where: str) -> Limits:
    limits = Limits()
    if section.cpu_s_max is not None:
        if not 1 <= section.cpu_s_max <= 600:
            raise ConfigError(
                file, f"{where}.cpu_s_max", "is out of range", value=section.cpu_s_max, allowed="1 to 600"
            )
        limits = msgspec.structs.replace(limits, cpu_s=section.cpu_s_max)
    if section.memory_bytes_max is not None:
        if not 64 << 20 <= section.memory_bytes_max <= 16 << 30:
            raise ConfigError(
                file, f"{where}.memory_bytes_max", "is out of range", value=section.memory_bytes_max,
                allowed="67108864 (64 MiB) to 17179869184 (16 GiB)",
            )  # fmt: skip
        limits = msgspec.structs.replace(limits, memory_bytes=section.memory_bytes_max)
    return limits


def _built(loaded: Loaded, section: GraderSection, where: str, kind: str, parts: _Parts, workers: Workers) -> Grader:
    file, tolerance = loaded.file, parts.tolerance
    try:
        extract = extractor(section.extract, search_in(workers, "last"))
    except ValueError as error:
        raise ConfigError(file, f"{where}.extract", str(error)) from None
    match kind:
        case "exact":
            return Exact(extract)
        case "normalised":
            return Normalised(extract)
        case "number":
            return NumberGrader(extract, tolerance)
        case "regex":
            return Regex(extract, _pattern(file, where, section.pattern), search_in(workers))
        case "similarity":
            return Similarity(extract)
        case "sql":
            return _sql(file, where, extract, parts.setup, workers)
        case "code":
            return _code(file, where, section, extract, parts, workers)
        case "label":
            return Label(extract, _labels(file, where, section.labels))
        case "judge" | "rubric":
            return _judge(loaded, where, section, parts.rubric)
        case "python":
            return _own(loaded, section, where, workers)
    if kind == "tool_call":
        if section.extract != "text":
            raise ConfigError(
                file, f"{where}.extract", "tool calls are read from the answer itself; remove it", value=section.extract
            )
        return ToolCallGrader(section.fields, tolerance)
    return _json(file, where, section, parts.schema, tolerance)


def _sql(file: str, where: str, extract: Extractor, setup: str | None, workers: Workers) -> SqlGrader:
    if setup is None:
        raise ConfigError(
            file, f"{where}.setup", "kind 'sql' runs queries; name a file of SQL that makes the tables they read"
        )
    from weighbridge.grading.sql import setup_problem  # duckdb is loaded by those who grade SQL

    problem = setup_problem(setup)
    if problem is not None:
        raise ConfigError(file, f"{where}.setup", f"cannot make the tables: {problem}")
    return SqlGrader(workers, extract, setup)


def _code(
    file: str, where: str, section: GraderSection, extract: Extractor, parts: _Parts, workers: Workers
) -> CodeGrader:
    problem = None if parts.tests is None else tests_problem(parts.tests)
    if problem is not None:
        raise ConfigError(file, f"{where}.tests", f"cannot be used: {problem}", value=section.tests)
    if parts.tests is None and section.reference != "gold":
        raise ConfigError(
            file, f"{where}.reference", "kind 'code' runs tests: name them in `tests`, or let gold answers be tests",
            value=section.reference, allowed="gold",
        )  # fmt: skip
    why = why_not()
    if why is not None:
        raise ConfigError(file, f"{where}.kind", f"code cannot be isolated on this machine, so it is not run: {why}")
    return CodeGrader(workers, extract, parts.tests, parts.limits)


def _own(loaded: Loaded, section: GraderSection, where: str, workers: Workers) -> OwnGrader:
    limit_s = section.time_s_max
    if limit_s is not None and not 0.0 < limit_s <= OWN_S_ALLOWED:
        raise ConfigError(
            loaded.file, f"{where}.time_s_max", "is out of range", value=limit_s, allowed="above 0, at most 3600"
        )
    return OwnGrader(loaded, section.kind, where, section.reference != "none", limit_s, workers)


def _json(file: str, where: str, section: GraderSection, schema: dict[str, Any] | None, tolerance: float) -> JsonGrader:
    extract, _, path = section.extract.partition(":")
    if extract not in ("text", "json"):
        raise ConfigError(
            file, f"{where}.extract", "does not give a JSON object", value=section.extract, allowed="text, json:PATH"
        )
    if schema is None and section.reference == "none":
        raise ConfigError(file, f"{where}.schema", "without a reference, kind 'json' needs a schema to check against")
    try:
        return JsonGrader(path, schema, section.fields, tolerance, section.reference != "none")
    except ValueError as error:
        raise ConfigError(file, f"{where}.schema", str(error), value=section.schema) from None


def _judge(loaded: Loaded, where: str, section: GraderSection, rubric: str | None) -> JudgeGrader:
    file = loaded.file
    if section.extract != "text":
        raise ConfigError(file, f"{where}.extract", "a judge reads the whole answer; remove it", value=section.extract)
    families = [loaded.arm(name).family or family_of(loaded.arm(name).model) for name in section.judges]
    route = next(row for row in loaded.config.route if row.name == section.route)
    incumbent = loaded.arm(route.incumbent)
    problem = panel_problem(families, incumbent.family or family_of(incumbent.model))
    if problem is not None:
        raise ConfigError(file, f"{where}.judges", problem, value=list(section.judges))
    if section.kind == "rubric" and rubric is None:
        raise ConfigError(file, f"{where}.rubric", "kind 'rubric' checks criteria; name a file with one a line")
    try:
        return JudgeGrader(section.kind, section.judges, rubric or "")
    except ValueError as error:
        raise ConfigError(file, f"{where}.rubric", str(error), value=section.rubric) from None


def _pattern(file: str, where: str, pattern: str | None) -> str | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(file, f"{where}.pattern", f"is not a regular expression: {error}", value=pattern) from None
    if compiled.search(""):
        raise ConfigError(
            file, f"{where}.pattern", "matches the empty text, so every answer would be right", value=pattern
        )
    return pattern


def _labels(file: str, where: str, labels: Sequence[str]) -> Sequence[str]:
    spelled = [re.sub(r"[\s_-]+", " ", label.casefold()).strip() for label in labels]
    if len(labels) < 2 or "" in spelled:
        raise ConfigError(
            file, f"{where}.labels", "is not a closed set", value=list(labels), allowed="two labels or more, none empty"
        )
    twice = next((label for label, one in zip(labels, spelled, strict=True) if spelled.count(one) > 1), None)
    if twice is not None:
        raise ConfigError(file, f"{where}.labels", "holds two spellings of one label", value=twice)
    return labels
