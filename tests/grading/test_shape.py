"""The gateway's own look at a schema never calls a valid answer wrong, and finds what models get wrong."""

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.grading.shape import fits

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"])


def _schema(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True),
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            "const": VALUES,
            "required": st.lists(st.sampled_from("xyz"), max_size=2, unique=True),
            "properties": st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "minLength": st.integers(0, 3), "maxItems": st.integers(0, 3), "minProperties": st.integers(0, 2),
            "minimum": st.integers(-3, 3), "maximum": st.integers(-3, 3),
        },
    )  # fmt: skip


SCHEMAS = st.recursive(st.booleans() | st.fixed_dictionaries({}, optional={"type": TYPES}), _schema, max_leaves=6)


@given(VALUES, SCHEMAS)
def test_what_a_full_validator_takes_fits(value: object, schema: Any) -> None:
    if jsonschema.Draft202012Validator(schema).is_valid(value):
        assert fits(value, schema)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({}, {"type": "object", "required": ["a"]}),
        ({"a": "1"}, {"properties": {"a": {"type": "integer"}}}),
        ({"b": 1}, {"properties": {"a": {}}, "additionalProperties": False}),
        (["x", 1], {"items": {"type": "string"}}),
        ("maybe", {"enum": ["yes", "no"]}),
        (True, {"type": "integer"}),
        (1, {"const": True}),
        ("", {"minLength": 1}),
        ([1, 2, 3], {"maxItems": 2}),
        (11, {"maximum": 10}),
        (None, {"anyOf": [{"type": "string"}, {"type": "number"}]}),
        (3, False),
    ],
)
def test_what_models_get_wrong_is_found(value: object, schema: object) -> None:
    assert not fits(value, schema)


def test_a_schema_that_is_none_or_nested_without_end_fits_everything() -> None:
    nested: dict[str, object] = {}
    value: list[object] = []
    for _ in range(300):
        nested, value = {"items": nested}, [value]
    assert fits(value, nested)
    assert fits(1, "nonsense")
    assert fits(1, {"$ref": "#/x"})
    assert fits(1, {"type": "strange", "required": 7, "enum": {}, "items": 3})
