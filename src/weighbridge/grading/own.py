"""A Python function of one's own as a grader: `python:module:function`."""

import importlib.util
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from weighbridge.config import Loaded
from weighbridge.errors import ConfigError
from weighbridge.grading.answers import Answer, Question
from weighbridge.grading.confined import GraderError
from weighbridge.grading.graders import Grade


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
