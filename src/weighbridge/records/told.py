"""What an outcome may be called, and what score it may have: one rule for `POST /v1/feedback` and for files."""

import re
from typing import Final

NAME_FORM: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def problem_of(name: str, score: float) -> str | None:
    """What is wrong with an outcome; `None` where nothing is."""
    if NAME_FORM.fullmatch(name) is None:
        return f"name: {name[:70]!r} is not allowed; up to 64 of a-z 0-9 _ . - are, e.g. 'resolved'"
    if not 0.0 <= score <= 1.0:
        return f"score: {score!r} is not allowed; true, false or a number from 0 (failed) to 1 (as wished) is"
    return None
