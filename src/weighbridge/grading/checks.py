"""What makes two short answers equal. Pure functions on strings, standard library only, cheap enough for the gateway.

Every function is total: hostile or endless input gives "no", never an exception and never minutes of work.
"""

import ast
import math
import re
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

ANSWER_CHARS_MAX = 20_000
"""An extracted answer longer than this is compared by its text alone."""

_DIGITS_MAX = 400
_UNSIGNED = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
# A sign or a digit right behind a letter, digit, dot or underscore belongs to a word (`Qwen2.5`, `x_1`, `5-3`).
_NUMBER = re.compile(
    rf"(?<![\w.])(?P<sign>[-+]?)\s?(?P<currency>[$€£]?)\s?(?P<whole>{_UNSIGNED})(?P<power>[eE][-+]?\d{{1,3}}(?![\w.]))?"
    r"(?:\s+(?P<up>\d{1,9})/(?P<down>\d{1,9})|\s?/\s?(?P<over>\d{1,15})(?![\d.]))?(?P<percent>\s?%)?"
)
_GOLD_HASH = re.compile(r"#+\s*([^#]*)$")
_SIGNS = str.maketrans({"\u2212": "-", "\u2013": "-", "\uff0d": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " "})


@dataclass(frozen=True, slots=True)
class Number:
    """An exact value as written; `percent` where a percent sign followed."""

    value: Fraction
    percent: bool


def _plain(text: str) -> str:
    """LaTeX and typography around numbers taken away: `\\(\\$1{,}234\\)` is `$1,234`."""
    text = text.translate(_SIGNS)
    if "\\" in text or "{" in text:
        text = _unwrapped(text)
        text = text.replace("{,}", ",").replace("\\,", "").replace("\\!", "").replace("\\;", " ").replace("\\ ", " ")
        text = re.sub(r"\\[dtc]?frac\s*\{(-?\d+)\}\s*\{(\d+)\}", r" \1/\2", text)
        text = re.sub(r"\\[dtc]?frac\s*(\d)\s*(\d)", r" \1/\2", text)
        text = re.sub(r"([-+])\s+(?=\d)", r"\1", text)
        text = re.sub(r"\\(?:left|right|displaystyle|quad|qquad|text|mathrm|mathbf|mbox|textbf)\b", " ", text)
        text = re.sub(r"\\[()\[\]]", " ", text).replace("\\%", "%").replace("\\$", "$")
        text = text.replace("{", " ").replace("}", " ")
    return text.replace("**", " ").replace("$-", "-$")


def numbers(text: str) -> list[Number]:
    """All numbers of a text in order, with commas in thousands, currency, signs, fractions, percent, powers of ten."""
    return [
        found for match in _NUMBER.finditer(_plain(text[:ANSWER_CHARS_MAX])) if (found := _value(match)) is not None
    ]


def _value(match: re.Match[str]) -> Number | None:
    whole, power = match["whole"].replace(",", ""), match["power"] or ""
    if len(whole) > _DIGITS_MAX:
        return None
    value = Fraction(whole + power)
    if match["over"] is not None:
        if int(match["over"]) == 0:
            return None
        value /= int(match["over"])
    elif match["up"] is not None:
        if int(match["down"]) == 0:
            return None
        value += Fraction(int(match["up"]), int(match["down"]))
    return Number(-value if match["sign"] == "-" else value, match["percent"] is not None)


def number_of(text: str) -> Number | None:
    """The number an answer gives: in the last `\\boxed{}`, else behind the last `#`s, else the first number.

    The first, because units and explanations follow (`9 days`, `$1,234 in total`). For free text extract `last_number`.
    """
    text = text[-ANSWER_CHARS_MAX:]
    boxed = last_boxed(text)
    if boxed is not None:
        text = boxed
    elif "#" in text and (behind := _GOLD_HASH.search(text)) is not None and behind[1].strip():
        text = behind[1]
    found = numbers(text)
    return found[0] if found else None


def last_number_text(text: str) -> str | None:
    """The last number of a text as it was written, with its percent sign; `None` where there is none."""
    matches = [match for match in _NUMBER.finditer(_plain(text[-ANSWER_CHARS_MAX:])) if _value(match) is not None]
    return matches[-1][0].strip() if matches else None


def numbers_equal(a: Number, b: Number, tolerance: float = 0.0) -> bool:
    """Equal within an absolute tolerance. `50%` equals `50%`, `50` (the sign left out) and `0.5`."""
    if _near(a.value, b.value, tolerance):
        return True
    return a.percent != b.percent and _near(
        a.value / 100 if a.percent else a.value, b.value / 100 if b.percent else b.value, tolerance
    )


def _near(a: Fraction, b: Fraction, tolerance: float) -> bool:
    return a == b if tolerance == 0.0 else abs(a - b) <= Fraction(tolerance)


def plain_number(text: str) -> Number | None:
    """The number that a text *is*, up to currency, units in LaTeX and white space; `None` where more is said."""
    bare = _plain(text[:_DIGITS_MAX]).strip().rstrip(".").replace("$", "").strip()
    match = _NUMBER.fullmatch(bare)
    return _value(match) if match else None


def last_boxed(text: str) -> str | None:
    """The content of the last `\\boxed{...}` or `\\fbox{...}` with balanced braces."""
    at = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if at < 0:
        return None
    start = text.index("{", at) + 1
    depth = 1
    for index in range(start, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return text[start:index]
    return None


def _unwrapped(text: str) -> str:
    boxed = last_boxed(text)
    return text if boxed is None else boxed


def is_latex(text: str) -> bool:
    """Does a text use LaTeX mathematics? Only then are its rules applied: they would glue the words of a sentence."""
    return "\\" in text or "^" in text or "$" in text or "_{" in text


_LATEX_DROP = re.compile(
    r"\\(?:left|right|displaystyle|big|Big|bigg|Bigg|limits)(?![a-zA-Z])|\\[,!;:> ]|\\(?:quad|qquad)(?![a-zA-Z])"
)
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_LATEX_UNIT = re.compile(r"\^\s*\{?\\circ\}?|\\degree\b|\\%|\\\$|\$|%")
_LATEX_SAME = (
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("\\cfrac", "\\frac"),
    ("\\le ", "\\leq "),
    ("\\ge ", "\\geq "),
)


def latex_normal(text: str) -> str:
    """One spelling for one formula.

    Rules, in order: the content of the last `\\boxed{}`; `\\left`, `\\right` and spacing commands dropped; `\\text{x}`
    is x; `\\dfrac`, `\\tfrac` are `\\frac`; `\\frac12` and `\\frac{1}2` are `\\frac{1}{2}`; `a/b` of integers is
    `\\frac{a}{b}`; `\\sqrt3` is `\\sqrt{3}`; braces around one character of `^` and `_` dropped; degree, percent and
    currency signs dropped; `x=` in front of a single value dropped; white space dropped.
    """
    text = _unwrapped(text.translate(_SIGNS)).strip()
    if text.startswith(("\\(", "\\[")) and text.endswith(("\\)", "\\]")):
        text = text[2:-2]
    text = _LATEX_TEXT.sub(r"\1", _LATEX_DROP.sub("", text))
    for one, other in _LATEX_SAME:
        text = text.replace(one, other)
    text = _LATEX_UNIT.sub("", text).replace("{,}", ",")
    text = re.sub(r"\s+", "", text)
    text = re.sub(r"\\frac(?:\{([^{}]+)\}|(\w))(?:\{([^{}]+)\}|(\w))", _fraction, text)
    text = re.sub(r"^([-+]?)(\d+)/(\d+)$", r"\1\\frac{\2}{\3}", text)
    text = re.sub(r"\\sqrt(\w)", r"\\sqrt{\1}", text)
    text = re.sub(r"([\^_])\{(\w)\}", r"\1\2", text)
    text = re.sub(r"^[a-zA-Z](?:_\w)?=(?=[^=]+$)", "", text)
    return text.rstrip(".")


def _fraction(match: re.Match[str]) -> str:
    return f"\\frac{{{match[1] or match[2]}}}{{{match[3] or match[4]}}}"


_QUOTES = (("'", "'"), ('"', '"'), ("`", "`"), ("“", "”"), ("‘", "’"), ("«", "»"))


def unquoted(text: str) -> str:
    """Without one pair of outer quotes."""
    for opening, closing in _QUOTES:
        if len(text) >= 2 and text.startswith(opening) and text.endswith(closing):
            return text[1:-1]
    return text


def is_quoted(text: str) -> bool:
    return unquoted(text) != text


def literal(text: str) -> object:
    """The value of a Python literal; `...` (Ellipsis) where the text is none. Never evaluates anything."""
    if len(text) > ANSWER_CHARS_MAX:
        return ...
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an answer with '\d' in it is not our source code
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ...


def values_equal(a: object, b: object, tolerance: float = 0.0) -> bool:
    """Equal by type and value: True is not 1, "1" is not 1, [1] is not (1,); 1 is 1.0. Order counts in lists only."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        if a == b:
            return True
        if tolerance == 0.0 or not (math.isfinite(_float(a)) and math.isfinite(_float(b))):
            return False
        return abs(Fraction(a) - Fraction(b)) <= Fraction(tolerance)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return len(a) == len(b) and all(
            key in b and _same_key_type(key, b) and values_equal(value, b[key], tolerance) for key, value in a.items()
        )
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(values_equal(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return a == b


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _same_key_type(key: object, other: dict[object, object]) -> bool:
    """`1 in {True: ...}` holds in Python; for an answer these are two keys."""
    return isinstance(key, str) or any(type(key) is type(k) and key == k for k in other)


def exact_equal(answer: str, reference: str) -> bool:
    """Character by character, but for white space at both ends."""
    return answer.strip() == reference.strip()


def _folded(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"\s+", " ", text).strip().rstrip(".!").strip()


def normalised_equal(answer: str, reference: str) -> bool:
    """Equal but for how it is written.

    A reference that is a quoted string or a container in Python's notation (`'Abc'`, `[1, 2]`) is a value: an answer
    that is a literal too must equal it by type and value, any other answer must equal it character by character
    with outer quotes stripped. For any other reference, one of these is enough: equal literals; equal with outer
    quotes stripped; equal as plain numbers; equal LaTeX (where either side uses it, `latex_normal`); equal after
    Unicode NFKC, case folding, single spaces and without a final stop.
    """
    answer, reference = _undressed(answer), _undressed(reference)
    if not reference:
        return False
    if answer == reference:
        return True
    a, b = literal(answer), literal(reference)
    both = a is not ... and b is not ...
    if is_quoted(reference) or isinstance(b, list | tuple | dict | set | bytes):
        if both:
            return values_equal(a, b)
        return unquoted(answer) == unquoted(reference) or _latex_equal(answer, reference)
    if not answer:
        return False
    if (both and values_equal(a, b)) or unquoted(answer) == unquoted(reference):
        return True
    one, other = plain_number(answer), plain_number(reference)
    if one is not None and other is not None:
        return numbers_equal(one, other)
    if _latex_equal(answer, reference):
        return True
    return _folded(unquoted(answer)) == _folded(unquoted(reference)) != ""


def _undressed(text: str) -> str:
    """Without emphasis around all of it: `**x**`, `\\text{x}`."""
    text = text.strip()
    dressed = re.fullmatch(r"\*\*([^*]+)\*\*|\\(?:text|textbf|mathrm|mathbf|mbox)\{([^{}]*)\}", text)
    return text if dressed is None else (dressed[1] or dressed[2] or "").strip()


def _latex_equal(answer: str, reference: str) -> bool:
    return (is_latex(answer) or is_latex(reference)) and latex_normal(answer) == latex_normal(reference) != ""


def labels_in(text: str, labels: Sequence[str]) -> list[str]:
    """Which labels of a closed set a text names, each once, in order; case does not count, word borders do.

    The longest label wins where one holds another (`not refund` before `refund`). `_`, `-` and a space inside a label
    are one and the same.
    """
    folded = text[-ANSWER_CHARS_MAX:].casefold()
    spelled = {re.sub(r"[\s_-]+", " ", label.casefold()).strip(): label for label in labels}
    if not spelled:
        return []
    words = (
        r"[\s_-]+".join(re.escape(part) for part in spelling.split(" "))
        for spelling in sorted(spelled, key=len, reverse=True)
    )
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)")
    seen: dict[str, None] = {}
    for match in pattern.finditer(folded):
        seen[spelled[re.sub(r"[\s_-]+", " ", match[0]).strip()]] = None
    return list(seen)
