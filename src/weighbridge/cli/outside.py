"""Text from outside (users, tags, models, files) on a terminal: it is shown, it does nothing."""

from unicodedata import category

_JOINERS = "\u200c\u200d"
"""Parts of words and of emoji in many scripts; they move nothing."""


def outside(text: str, *, lines: bool = False) -> str:
    r"""The text with everything that could steer a terminal, or turn its order around, written as `\u001b`.

    That is also how JSON writes it, so a JSON text stays the same value. With `lines`, line breaks stay.
    """
    if text.isprintable():
        return text
    return "".join(char if _is_shown(char) or (lines and char == "\n") else _written(char) for char in text)


def _is_shown(char: str) -> bool:
    return char.isprintable() or char in _JOINERS or category(char) == "Zs"


def _written(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
