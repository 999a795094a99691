"""A Python function of one's own as a grader: `python:module:function`."""

from weighbridge.config import Loaded
from weighbridge.errors import ConfigError
from weighbridge.grading.answers import Answer, Question
from weighbridge.grading.children import START_S_MAX, OverTime, Workers
from weighbridge.grading.confined import GraderError
from weighbridge.grading.graders import Grade
from weighbridge.grading.jobs import Done, Failed, Found, Graded, OwnAsked, OwnJob

OWN_S_MAX = 60.0
"""How long one call may take, where the configuration says nothing."""


class OwnGraderError(GraderError):
    """A grader of one's own gave no score for one answer: it raised, died, hung, or gave something else."""


class OwnGrader:
    """`python:module:function`, called with (`Answer`, reference or None, `Question`), gives a score in [0, 1].

    It is imported and called in grading processes only, several at once. The module is looked for beside the
    configuration file first. Its version is the hash of its source file.
    """

    def __init__(
        self, loaded: Loaded, kind: str, where: str, needs_reference: bool, limit_s: float | None, workers: Workers
    ) -> None:
        self.kind, self.needs_reference = kind, needs_reference
        self._workers, self._limit_s = workers, OWN_S_MAX if limit_s is None else limit_s
        _, _, rest = kind.partition(":")
        self._module, _, self._function = rest.partition(":")
        if not self._module or not self._function:
            raise ConfigError(
                loaded.file, f"{where}.kind", "is not known", value=kind, allowed="python:module:function"
            )
        self._folder = str(loaded.folder)
        done: Done
        try:
            done = workers.do(OwnJob(folder=self._folder, module=self._module, function=self._function), START_S_MAX)
        except OverTime:
            done = Failed(reason=f"is not imported after {START_S_MAX:.0f} s")
        if not isinstance(done, Found) or done.text is None:
            why = done.reason if isinstance(done, Failed) else f"answers {done}"
            raise ConfigError(loaded.file, f"{where}.kind", why, value=kind)
        self.version = done.text

    def reference_problem(self, reference: str) -> str | None:
        return None if reference.strip() else "it is empty"

    def reference_of(self, answer: Answer) -> str | None:
        return answer.text or None

    def grade(self, answer: Answer, reference: str | None, question: Question) -> Grade:
        """Raises `OwnGraderError`; what the function failed at is no score."""
        asked = OwnAsked(answer=answer, reference=reference, question=question)
        job = OwnJob(
            folder=self._folder, module=self._module, function=self._function, version=self.version, asked=asked
        )
        try:
            done = self._workers.do(job, self._limit_s)
        except OverTime:
            raise OwnGraderError(f"the grader {self.kind} gave no score within {self._limit_s:g} s") from None
        if isinstance(done, Graded):
            return Grade(done.score, done.note)
        raise OwnGraderError(f"the grader {self.kind} {done.reason if isinstance(done, Failed) else done}")
