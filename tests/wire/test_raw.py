"""A JSON object by its raw fields: what is refused, and that a splice changes nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.wire.raw import RawObject
from weighbridge.wire.refusal import BadRequest

names = st.text(min_size=1, max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(names, values, min_size=1, max_size=6)
layouts = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"separators": (", ", ": ")},
        {"indent": 2},
        {"indent": "\t", "ensure_ascii": False},
        {"separators": (",", ":"), "ensure_ascii": False},
    ]
)


@given(objects, layouts)
def test_every_field_is_found_where_it_stands(content: dict[str, Any], layout: dict[str, Any]) -> None:
    body = json.dumps(content, **layout).encode()
    raw = RawObject(body)
    assert set(content) == set(raw.fields)
    for name, value in content.items():
        start, end = raw.span(name)
        assert value == json.loads(body[start:end])


@given(objects, layouts, values, st.data())
def test_a_splice_changes_that_field_and_not_a_byte_else(
    content: dict[str, Any], layout: dict[str, Any], value: Any, data: st.DataObject
) -> None:
    body = json.dumps(content, **layout).encode()
    name = data.draw(st.sampled_from(sorted(content)))
    raw = RawObject(body)
    start, end = raw.span(name)
    put_in = json.dumps(value).encode()
    spliced = raw.spliced({name: put_in})
    assert body[:start] + put_in + body[end:] == spliced
    assert {**content, name: value} == json.loads(spliced)


@given(objects, layouts, values)
def test_a_new_field_is_added_behind_what_is_there(content: dict[str, Any], layout: dict[str, Any], value: Any) -> None:
    body = json.dumps(content, **layout).encode()
    content.pop("added by us", None)
    spliced = RawObject(body).spliced({"added by us": json.dumps(value).encode()})
    assert {**content, "added by us": value} == json.loads(spliced)
    assert spliced.startswith(body[: body.rindex(b"}")])


@given(objects, layouts, values, st.data())
def test_a_repeated_name_is_refused_wherever_it_stands(
    content: dict[str, Any], layout: dict[str, Any], value: Any, data: st.DataObject
) -> None:
    rows = [(name, json.dumps(content[name], **layout)) for name in content]
    name = data.draw(st.sampled_from(sorted(content)))
    rows.insert(data.draw(st.integers(0, len(rows))), (name, json.dumps(value, **layout)))
    comma, colon = layout.get("separators", (", ", ": "))
    body = "{" + comma.join(json.dumps(name) + colon + text for name, text in rows) + "}"
    with pytest.raises(BadRequest, match="more than once"):
        RawObject(body.encode())


def test_a_name_that_is_repeated_in_another_spelling_is_refused() -> None:
    with pytest.raises(BadRequest, match="'model' more than once"):
        RawObject(b'{"model":"a","mod\\u0065l":"b"}')


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a":1}x', "not valid JSON"),
        (b'{"a":1,}', "not valid JSON"),
        (b'{"a":01}', "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":"\x01"}', "not valid JSON"),
        (b'{"a":"\\x"}', "not valid JSON"),
        (b'{"\xff":1}', "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_refused_with_a_reason(body: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        RawObject(body)


def test_an_empty_object_can_be_added_to() -> None:
    assert b'{"a":1}' == RawObject(b"{}").spliced({"a": b"1"})
    assert b'{ "a":1}' == RawObject(b"{ }").spliced({"a": b"1"})
