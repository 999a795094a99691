"""Does a value have the shape that a JSON schema asks for? The part of JSON Schema that answers of models break.

Standard library only, so that a gateway can ask it for every answer. Keywords that are not known here are not looked
at: it finds less than a full validator, and never calls a valid value wrong.
"""

from collections.abc import Callable

DEPTH_MAX = 50
_TYPES: dict[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
    ),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def fits(value: object, schema: object, depth: int = 0) -> bool:
    """`type`, `enum`, `const`, `required`, `properties`, `additionalProperties`, `items`, `anyOf`, `allOf`, lengths and
    bounds. A reference, and what is nested deeper than 50 levels, fits."""
    if depth > DEPTH_MAX:
        return True
    if schema is False:
        return False
    if not isinstance(schema, dict) or "$ref" in schema:
        return True
    return (
        _type_fits(value, schema.get("type"))
        and ("const" not in schema or _same(value, schema["const"]))
        and _one_of(value, schema.get("enum"))
        and _combined(value, schema, depth)
        and (not isinstance(value, dict) or _object_fits(value, schema, depth))
        and (not isinstance(value, list) or _list_fits(value, schema, depth))
        and _within(value, schema)
    )


def _same(value: object, other: object) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _type_fits(value: object, wanted: object) -> bool:
    names = wanted if isinstance(wanted, list) else [wanted]
    known = [_TYPES[name] for name in names if isinstance(name, str) and name in _TYPES]
    return not known or any(is_one(value) for is_one in known)


def _one_of(value: object, allowed: object) -> bool:
    return not isinstance(allowed, list) or any(_same(value, one) for one in allowed)


def _combined(value: object, schema: dict[str, object], depth: int) -> bool:
    any_of, all_of = schema.get("anyOf"), schema.get("allOf")
    if isinstance(any_of, list) and any_of and not any(fits(value, one, depth + 1) for one in any_of):
        return False
    return not isinstance(all_of, list) or all(fits(value, one, depth + 1) for one in all_of)


def _object_fits(value: dict[str, object], schema: dict[str, object], depth: int) -> bool:
    required, given = schema.get("required"), schema.get("properties")
    properties = given if isinstance(given, dict) else {}
    if isinstance(required, list) and any(name not in value for name in required if isinstance(name, str)):
        return False
    others = schema.get("additionalProperties", True)
    free = "patternProperties" in schema
    for name, one in value.items():
        if name in properties:
            if not fits(one, properties[name], depth + 1):
                return False
        elif not free and not fits(one, others, depth + 1):
            return False
    return True


def _list_fits(value: list[object], schema: dict[str, object], depth: int) -> bool:
    items = schema.get("items")
    return "prefixItems" in schema or isinstance(items, list) or all(fits(one, items, depth + 1) for one in value)


_LENGTHS = (("minLength", "maxLength", str), ("minItems", "maxItems", list), ("minProperties", "maxProperties", dict))


def _within(value: object, schema: dict[str, object]) -> bool:
    for low, high, kind in _LENGTHS:
        if isinstance(value, kind) and not _between(len(value), schema.get(low), schema.get(high)):
            return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _between(value, schema.get("minimum"), schema.get("maximum"))
    return True


def _between(value: float, low: object, high: object) -> bool:
    return not (_is_number(low) and value < low) and not (_is_number(high) and value > high)  # type: ignore[operator]  # numbers


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
