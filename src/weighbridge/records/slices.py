"""Which slice of a route's traffic a request belongs to. Pure: the same request and table give the same name."""

from collections.abc import Sequence
from hashlib import blake2b

WHOLE = "all"
"""The slice of a route without `slice_by`."""

KEYS = ("key", "system_prompt", "tools", "schema")


class SliceFacts:
    """What `slice_of` may look at. Bytes fields are the raw JSON values, `None` where the request has none."""

    __slots__ = ("key", "schema", "system_prompt", "tags", "tools")

    def __init__(
        self,
        key: str,
        tags: Sequence[tuple[str, str]],
        system_prompt: bytes | None = None,
        tools: bytes | None = None,
        schema: bytes | None = None,
    ) -> None:
        self.key, self.tags, self.system_prompt, self.tools, self.schema = key, tags, system_prompt, tools, schema


def fingerprint(raw: bytes | None) -> str:
    """Eight hex digits of a raw JSON value, `none` where there is none."""
    return "none" if raw is None else blake2b(raw, digest_size=4).hexdigest()


def slice_of(slice_by: Sequence[str], facts: SliceFacts) -> str:
    """The slice's name: `task=gsm`, several keys joined by `,`, `all` without `slice_by`."""
    if not slice_by:
        return WHOLE
    parts: list[str] = []
    for by in slice_by:
        if by.startswith("tag:"):
            name = by[4:]
            parts.append(f"{name}={'+'.join(value for tag, value in facts.tags if tag == name) or 'none'}")
        elif by == "key":
            parts.append(f"key={facts.key}")
        elif by == "system_prompt":
            parts.append(f"system_prompt={fingerprint(facts.system_prompt)}")
        elif by == "tools":
            parts.append(f"tools={fingerprint(facts.tools)}")
        else:
            parts.append(f"schema={fingerprint(facts.schema)}")
    return ",".join(parts)
