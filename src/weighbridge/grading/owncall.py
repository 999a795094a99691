"""Calling a grader function of one's own. Runs in a grading process only: nothing else imports a user's code."""

import functools
import importlib
import importlib.util
import resource
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from weighbridge.grading.jobs import Done, Failed, Found, Graded, OwnJob


def call(job: OwnJob) -> Done:
    """The version (`Found`) or the score. Whatever the code does wrong is said by `Failed`, never scored."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    try:
        module, version = _module(job.folder, job.module)
    # Importing runs other people's code: whatever it raises is for its author to read.
    except Exception as error:  # noqa: BLE001
        return Failed(reason=f"cannot be imported: {type(error).__name__}: {error}")
    function: Callable[..., object] | None = getattr(module, job.function, None)
    if not callable(function):
        return Failed(reason=f"{job.module} has no function {job.function!r}")
    if job.asked is None:
        return Found(text=version)
    if version != job.version:
        return Failed(reason=f"{job.module} was edited while the trial ran; run it again")
    try:
        score = function(job.asked.answer, job.asked.reference, job.asked.question)
    # Any exception at all: other people's code, and its author must hear of it by name.
    except Exception as error:  # noqa: BLE001
        return Failed(reason=f"raised {type(error).__name__}: {error}")
    if isinstance(score, bool | int | float) and 0.0 <= score <= 1.0:
        return Graded(score=float(score), note="" if score == 1 else "by the grader of your own")
    return Failed(reason=f"gave {score!r}; allowed is a number from 0 to 1")


@functools.cache
def _module(folder: str, name: str) -> tuple[ModuleType, str]:
    """The module and its version, the hash of its source. Loaded once in a process."""
    beside = Path(folder).joinpath(*name.split(".")).with_suffix(".py")
    if beside.is_file():
        spec = importlib.util.spec_from_file_location(f"weighbridge_grader_{name.replace('.', '_')}", beside)
    else:
        spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None or spec.origin is None:
        raise ImportError(f"no module {name!r} in {folder} or installed")
    source = Path(spec.origin).read_bytes()
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module, "sha256:" + sha256(source).hexdigest()[:16]
