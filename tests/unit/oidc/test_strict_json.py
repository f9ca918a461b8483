from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.oidc.strict_json import parse_object
from tests.harness.ids import plain_id

DEEP = 100_000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"{}", {}),
        (b' \r\n\t{"a": 1}\n', {"a": 1}),
        (b'{"a": {"b": [1, {"b": null}]}, "b": true}', {"a": {"b": [1, {"b": None}]}, "b": True}),
        (b'{"a": 1.5e3, "b": -0.0, "c": 1e-999}', {"a": 1500.0, "b": 0.0, "c": 0.0}),
        (b'{"a": 12345678901234567890123}', {"a": 12345678901234567890123}),
        ('{"ñ": "🙂"}'.encode(), {"ñ": "🙂"}),
        (b'{"a": "\\ud83d\\ude42\\u0000"}', {"a": "🙂\x00"}),
    ],
)
def test_an_object_is_read(text: bytes, value: dict[str, Any]) -> None:
    assert parse_object(text) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"null",
        b"true",
        b"1",
        b'"text"',
        b"[]",
        b'[{"a": 1}]',
        b"{",
        b'{"a": 1}}',
        b'{"a": 1} {"a": 1}',
        b'{"a": 1,}',
        b"{'a': 1}",
        b"{a: 1}",
        b'{"a": 01}',
        b'{"a": "line\nbreak"}',
        b'{"a": 1} // comment',
        # duplicates, also when they are only spelled differently
        b'{"a": 1, "a": 1}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"x": {"a": 1, "a": 2}}',
        b'{"x": [[{"a": 1, "a": 2}]]}',
        # numbers that JSON does not have
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": [-1e999]}',
        b'{"a": ' + b"9" * 10_000 + b"}",
        # lone surrogates
        b'{"a": "\\ud800"}',
        b'{"a": "\\udc00\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"a": [{"b": "x\\udfff"}]}',
        # encodings
        b'{"a": "\xff"}',
        b'{"a": "\xc0\x80"}',
        b'{"a": "\xed\xa0\x80"}',
        '{"a": "é"}'.encode("latin-1"),
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-16-le"),
        b"\x00{}",
        # depth
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    ],
    ids=plain_id,
)
def test_what_two_parsers_could_read_differently_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the type is all that is promised
        parse_object(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.dictionaries(st.text(), json_values), st.booleans())
def test_every_object_survives(value: dict[str, Any], ascii_only: bool) -> None:
    assert parse_object(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary() | st.text(st.sampled_from('{}[]":,\\ud8a01e.- ')).map(str.encode))
def test_garbage_is_refused_with_a_value_error(text: bytes) -> None:
    try:
        value = parse_object(text)
    except ValueError:
        return
    assert json.loads(text) == value
