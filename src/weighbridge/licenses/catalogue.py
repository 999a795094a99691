"""Published models and the terms they came under, as recorded; how a name that people write finds its model.

A name is matched whole: what is left over after the model's own name must be a size, a precision or a word such as
`instruct`. `DeepSeek-R1-Distill-Llama-70B` is therefore not taken for `DeepSeek-R1`: its terms are another matter.
"""

import difflib
import re
from calendar import monthrange
from functools import cache

from weighbridge.licenses import load
from weighbridge.licenses.model import Confidence, Record

_NEUTRAL = frozenset(
    {
        *("instruct", "chat", "it", "base", "hf", "meta", "nvidia"),
        *("bf16", "fp16", "fp8", "fp4", "nvfp4", "mxfp4", "int4", "int8", "awq", "gptq", "gguf", "mlx", "bnb"),
        *("32k", "64k", "128k", "256k", "1m"),
    }
)
"""Words that change nothing about whose model it is or under which terms: tuning, format, precision, context."""
_QUANT = re.compile(r"[-_. ](?:i?q\d\w*|ud)$")
_SIZE = re.compile(r"(?:about)?\d+(?:\.\d+)?[bmt]$|\d+e$|\d+x\d+(?:\.\d+)?b$")


class Model(Record, frozen=True, kw_only=True):
    """A model with published weights. `terms` is empty where none is recorded."""

    name: str
    match: tuple[str, ...]
    terms: tuple[str, ...]
    confidence: Confidence
    """How well it is known that this model came under these terms."""
    source: str
    also_reported: tuple[str, ...] = ()
    """Further texts said to apply: they may restrict, never permit."""
    maker: str | None = None
    released: str | None = None
    """A day, month or year, as recorded."""
    total_params: str | None = None
    active_params: str | None = None
    multimodal: bool | None = None
    any_date: bool | None = None
    """Builds named by a date (`-2507`) are the same model as far as its terms go."""
    note: str | None = None

    @property
    def days(self) -> tuple[str, str] | None:
        """First and last day (ISO) that `released` can mean."""
        return None if self.released is None else span(self.released)


class _Models(Record, frozen=True):
    model: tuple[Model, ...]


class Maker(Record, frozen=True, kw_only=True):
    """Where a maker sits, as an ISO code. For information: no verdict depends on it."""

    country: str
    source: str


def span(text: str) -> tuple[str, str]:
    """`2026-07` -> (`2026-07-01`, `2026-07-31`)."""
    parts = text.split("-")
    if len(parts) == 3:
        return text, text
    if len(parts) == 2:
        return f"{text}-01", f"{text}-{monthrange(int(parts[0]), int(parts[1]))[1]}"
    return f"{text}-01-01", f"{text}-12-31"


@cache
def models() -> tuple[Model, ...]:
    """All recorded models, in the order of the file."""
    file = load.FOLDER / "_models.toml"
    found = load.parse(file.name, load.read_toml(file), _Models).model
    for model in found:
        for name in (*model.terms, *model.also_reported):
            if name not in load.ids():
                raise load.unknown_name(file.name, f"model[{model.name}].terms", name, load.ids())
        if model.source not in load.sources():
            raise load.unknown_name(file.name, f"model[{model.name}].source", model.source, load.sources())
    return found


@cache
def makers() -> dict[str, Maker]:
    """Makers whose country is recorded, by the name that models give them."""
    file = load.FOLDER / "_makers.toml"
    found = {name: load.parse(f"{file.name}: {name}", row, Maker) for name, row in load.read_toml(file).items()}
    for name, row in found.items():
        if row.source not in load.sources():
            raise load.unknown_name(file.name, f"{name}.source", row.source, load.sources())
    return found


@cache
def _index() -> dict[tuple[str, ...], Model]:
    index: dict[tuple[str, ...], Model] = {}
    for model in models():
        for name in (model.name, *model.match):
            index.setdefault(_tokens(name, sizes=True), model)
    return index


def find(name: str) -> Model | None:
    """The model that `name` means (`meta-llama/Llama-3.1-70B-Instruct`, `Qwen2.5-72B`, ...); `None` if not recorded."""
    index = _index()
    for sizes in (True, False):
        tokens = _tokens(name, sizes=sizes)
        if tokens in index:
            return index[tokens]
        undated = tuple(token for token in tokens if not re.fullmatch(r"\d{4}|\d{6}|\d{8}", token))
        model = index.get(undated)
        if model is not None and (model.any_date or undated == tokens):
            return model
    return None


def near(name: str) -> tuple[str, ...]:
    """Recorded names that look like `name`, for a message."""
    known = {model.name.lower(): model.name for model in models()}
    return tuple(known[hit] for hit in difflib.get_close_matches(name.split("/")[-1].lower(), known, n=3, cutoff=0.5))


def _tokens(name: str, *, sizes: bool) -> tuple[str, ...]:
    plain = name.rsplit("/", 1)[-1].lower().strip() if "/" in name and " / " not in name else name.lower().strip()
    while (shorter := _QUANT.sub("", plain)) != plain:
        plain = shorter
    words = [word for word in re.split(r"[-_\s:()\[\],]+", plain) if word and word not in _NEUTRAL]
    if not sizes:
        words = [word for word in words if not _SIZE.fullmatch(word) and not re.fullmatch(r"a\d+(?:\.\d+)?b", word)]
    # `llama3.1`, `llama-3.1` and `llama 3.1` are one name: letters and the figure after them are apart.
    parts = [part for word in words for part in re.findall(r"[a-z+&:/.]*[a-z+&:/]|\d+(?:\.\d+)*[a-z]*|\S", word)]
    return tuple(part for part in parts if part not in ("v", "."))
