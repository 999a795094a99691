"""The description of the API, OpenAPI 3.1, made of the doors and their records: it cannot say what the doors do not."""

import re
from collections.abc import Callable, Iterable, Mapping

import msgspec

from weighbridge import __version__
from weighbridge.admin.doors import API, Door, Refusal
from weighbridge.records.described import described_fields

_REFERENCE = "#/components/schemas/{name}"
Schema = Callable[[object], Mapping[str, object]]
_REFUSED = {
    "400": "The request is not as described here.",
    "401": "No session or token, or one that is over.",
    "403": "Whoever asks may not do this.",
    "404": "There is no such thing, or none that whoever asks may see.",
    "409": "It cannot be done as things stand; `error` says why.",
    "413": "The body is too large.",
    "503": "The keeper or the store cannot answer now.",
}


def openapi(doors: Iterable[Door]) -> bytes:
    """JSON, indented."""
    described = [door for door in doors if door.path.startswith(API) and door.summary]
    kinds: list[object] = [Refusal]
    for door in described:
        kinds += [kind for kind in (door.body, door.answer) if kind not in (None, bytes)]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    by_kind = list(zip(kinds, schemas, strict=True))

    def schema(kind: object) -> Mapping[str, object]:
        return next(found for known, found in by_kind if known is kind)

    paths: dict[str, dict[str, object]] = {}
    for door in described:
        paths.setdefault(door.path, {})[door.method.lower()] = _operation(door, schema)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Weighbridge admin API",
            "version": __version__,
            "description": "What commands and dashboard do, for programs. Money is integer nano-dollars, times are "
            "nanoseconds since 1970 (UTC), and `null` is unknown, never 0.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "wba-..."}},
        },
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _operation(door: Door, schema: Schema) -> dict[str, object]:
    parameters: list[dict[str, object]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", door.path)
    ]
    if door.query is not None:
        parameters += _query(door.query)
    found: dict[str, object] = {
        "summary": door.summary,
        "description": f"Takes the role {door.role}." if door.role is not None else "Takes no role.",
        "operationId": f"{door.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', door.path.removeprefix(API)).strip('_')}",
        "parameters": parameters,
        "responses": {
            str(door.status): {"description": "Done.", "content": _content(door, schema)},
            **{
                status: {"description": text, "content": {"application/json": {"schema": schema(Refusal)}}}
                for status, text in _REFUSED.items()
            },
        },
    }
    if door.body is not None:
        content = {"application/json": {"schema": schema(door.body)}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _content(door: Door, schema: Schema) -> dict[str, object]:
    if door.answer is bytes:
        kinds = ("text/html", "application/json", "text/markdown")
        return {kind: {"schema": {} if kind == "application/json" else {"type": "string"}} for kind in kinds}
    return {"application/json": {"schema": schema(door.answer)}}


def _query(kind: type[msgspec.Struct]) -> list[dict[str, object]]:
    described = described_fields(kind)
    (whole,), components = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    properties = components[str(whole["$ref"]).rpartition("/")[2]]["properties"]
    found: list[dict[str, object]] = []
    for name, shape in properties.items():
        row: dict[str, object] = {"name": name, "in": "query", "required": False, "schema": _said_in_text(shape)}
        if name in described:
            row["description"] = described[name]
        found.append(row)
    return found


def _said_in_text(shape: dict[str, object]) -> dict[str, object]:
    """A query says text: left out is how it says null."""
    options = shape.get("anyOf")
    if not isinstance(options, list):
        return shape
    kept = [one for one in options if one != {"type": "null"}]
    return dict(kept[0]) if len(kept) == 1 else {"anyOf": kept}
