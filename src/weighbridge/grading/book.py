"""Which grader judges which slice: the `[[grader]]` tables of a route, compiled."""

import importlib.util
import math
import re
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from weighbridge.config import Loaded
from weighbridge.config.tree import GraderSection
from weighbridge.errors import ConfigError, WeighbridgeError
from weighbridge.grading.answers import Answer, Question
from weighbridge.grading.extract import extractor
from weighbridge.grading.graders import (
    Exact,
    Grade,
    Grader,
    JsonGrader,
    Label,
    Normalised,
    NumberGrader,
    Reference,
    Regex,
    ToolCallGrader,
)
from weighbridge.records.evidence import GraderUse, LabelSource

KINDS = ("exact", "normalised", "number", "regex", "label", "json", "tool_call")
LATER_KINDS = ("sql", "code", "similarity", "rubric", "judge")
_LABEL_SOURCE: dict[Reference, LabelSource] = {"gold": "gold", "incumbent": "agreement", "none": "check"}
# Which optional settings mean something for which kind; anything else written there is a mistake worth saying.
_SETTINGS: dict[str, tuple[str, ...]] = {
    "exact": (), "normalised": (), "number": ("tolerance",), "regex": ("pattern",), "label": ("labels",),
    "json": ("schema", "fields", "tolerance"), "tool_call": ("fields", "tolerance"), "python": (),
}  # fmt: skip


class GraderError(WeighbridgeError):
    """A grader of one's own raised, or did not give a score."""


class _Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a grader that can change a score."""

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
        return _LABEL_SOURCE[self.reference]

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


class GraderBook:
    """The graders of one route. Raises `ConfigError` for a grader that cannot be built."""

    def __init__(self, loaded: Loaded, route: str) -> None:
        self._rows: list[SliceGrader] = []
        for index, section in enumerate(loaded.config.grader):
            if section.route == route:
                if any(row.pattern == section.slice for row in self._rows):
                    raise ConfigError(
                        loaded.file,
                        f"grader[{index}].slice",
                        f"route {route!r} has another grader for the same slice; keep one",
                        value=section.slice,
                    )
                self._rows.append(compile_grader(loaded, section, f"grader[{index}]"))

    def of(self, slice_name: str) -> SliceGrader | None:
        """The grader of a slice: the one that names it, else the first whose pattern (`task=*`) fits, `*` last."""
        exact = next((row for row in self._rows if row.pattern == slice_name), None)
        if exact is not None:
            return exact
        fitting = [row for row in self._rows if fnmatchcase(slice_name, row.pattern)]
        return min(fitting, key=lambda row: row.pattern == "*", default=None)


def grade(row: SliceGrader, answer: Answer, reference: str | None, question: Question) -> Grade:
    """Grade one answer. One nested past all reason scores 0. Raises `GraderError` for a grader of one's own."""
    try:
        return row.grader.grade(answer, reference, question)
    except RecursionError:
        return Grade(0.0, "nested too deeply to be compared")


def compile_grader(loaded: Loaded, section: GraderSection, where: str) -> SliceGrader:
    """One `[[grader]]` made ready. Raises `ConfigError` naming the key."""
    file, kind = loaded.file, section.kind.partition(":")[0]
    if kind in LATER_KINDS:
        raise ConfigError(
            file, f"{where}.kind", "is not in this version", value=section.kind,
            allowed=", ".join((*KINDS, "python:module:function")),
        )  # fmt: skip
    _no_idle_settings(file, where, kind, section)
    tolerance = 0.0 if section.tolerance is None else section.tolerance
    if not (math.isfinite(tolerance) and tolerance >= 0.0):
        raise ConfigError(file, f"{where}.tolerance", "is not a tolerance", value=tolerance, allowed="0 or more")
    schema = _schema(loaded, section, where)
    grader = _built(loaded, section, where, kind, tolerance, None if schema is None else schema[0])
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
    for name in ("tolerance", "labels", "pattern", "schema", "fields", "tests"):
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


def _built(
    loaded: Loaded, section: GraderSection, where: str, kind: str, tolerance: float, schema: dict[str, Any] | None
) -> Grader:
    file = loaded.file
    try:
        extract = extractor(section.extract)
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
            return Regex(extract, _pattern(file, where, section.pattern))
        case "label":
            return Label(extract, _labels(file, where, section.labels))
        case "python":
            return OwnGrader(loaded, section.kind, where, section.reference != "none")
    if kind == "tool_call":
        if section.extract != "text":
            raise ConfigError(
                file, f"{where}.extract", "tool calls are read from the answer itself; remove it", value=section.extract
            )
        return ToolCallGrader(section.fields, tolerance)
    return _json(file, where, section, schema, tolerance)


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


def _pattern(file: str, where: str, pattern: str | None) -> re.Pattern[str] | None:
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
    return compiled


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


class OwnGrader:
    """`python:module:function`, called with (`Answer`, reference or None, `Question`), gives a score in [0, 1].

    The module is looked for beside the configuration file first. Its version is the hash of its source file.
    """

    def __init__(self, loaded: Loaded, kind: str, where: str, needs_reference: bool) -> None:
        self.kind, self.needs_reference = kind, needs_reference
        _, _, rest = kind.partition(":")
        module_name, _, function_name = rest.partition(":")
        if not module_name or not function_name:
            raise ConfigError(
                loaded.file, f"{where}.kind", "is not known", value=kind, allowed="python:module:function"
            )
        module, source = _module(loaded.folder, module_name, loaded.file, where, kind)
        function = getattr(module, function_name, None)
        if not callable(function):
            raise ConfigError(
                loaded.file, f"{where}.kind", f"{module_name} has no function {function_name!r}", value=kind
            )
        self._function: Callable[[Answer, str | None, Question], object] = function
        self.version = "sha256:" + sha256(source).hexdigest()[:16]

    def reference_problem(self, reference: str) -> str | None:
        return None if reference.strip() else "it is empty"

    def reference_of(self, answer: Answer) -> str | None:
        return answer.text or None

    def grade(self, answer: Answer, reference: str | None, question: Question) -> Grade:
        try:
            score = self._function(answer, reference, question)
        # Any exception at all: this is other people's code, and its author must hear of it by name.
        except Exception as error:
            raise GraderError(
                f"the grader {self.kind} raised {type(error).__name__}: {error}; mend it and run the trial again, "
                "finished replays are kept"
            ) from error
        if isinstance(score, bool | int | float) and 0.0 <= score <= 1.0:
            return Grade(float(score), "" if score == 1 else "by the grader of your own")
        raise GraderError(f"the grader {self.kind} gave {score!r}; allowed is a number from 0 to 1")


def _module(folder: Path, name: str, file: str, where: str, kind: str) -> tuple[ModuleType, bytes]:
    beside = folder.joinpath(*name.split(".")).with_suffix(".py")
    try:
        if beside.is_file():
            spec = importlib.util.spec_from_file_location(f"weighbridge_grader_{name.replace('.', '_')}", beside)
        else:
            spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None or spec.origin is None:
            raise ImportError(f"no module {name!r} beside {file} or installed")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module, Path(spec.origin).read_bytes()
    # Importing runs other people's code: whatever it raises is a fault of this configuration entry.
    except Exception as error:
        raise ConfigError(
            file, f"{where}.kind", f"cannot be imported: {type(error).__name__}: {error}", value=kind
        ) from error
