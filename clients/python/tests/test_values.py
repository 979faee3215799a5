"""What can be a value: however it is made, it is what its type says."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import onetree
from onetree import Value
from onetree.protocol import frames as f
from onetree.protocol import json_codec, msgpack_codec
from onetree.protocol.values import known

JSON = "application/json"
WRONG = [
    "{oops", '1,"ttl_ms":60000', '{"a":1,"a":2}', r'"\ud800"', "1e999", "1" * 400, "1" * 5000,
    "NaN", "Infinity", "-Infinity", "", "1 2", '{"a":1}}', '"a', "[" * 200 + "]" * 200,
    "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_json_value_is_json(text: str) -> None:
    good = Value.json(1)
    for make in (
        lambda: Value(JSON, text.encode()),
        lambda: Value.of(JSON, text.encode()),
        lambda: Value._make((JSON, text.encode())),
        lambda: good._replace(data=text.encode()),
        lambda: Value("image/png", text.encode())._replace(type=JSON),
    ):
        with pytest.raises(onetree.Wrong) as wrong:
            make()
        assert wrong.value.code == "bad-value"


@pytest.mark.parametrize(
    "value",
    [
        {1: "a", "1": "b"}, {True: 1, "true": 2}, 10**400, 10**5000, float("inf"), float("nan"),
        "\ud800", {"\ud800": 1}, [object()],
    ],
    ids=range(9),
)  # fmt: skip
def test_what_python_would_write_and_no_broker_reads(value: Any) -> None:
    with pytest.raises(onetree.Wrong) as wrong:
        Value.json(value)
    assert wrong.value.code == "bad-value"


def test_other_values() -> None:
    for kind, data, code in (
        ("x", b"", "bad-field"), ("image/png", "text", "bad-value"), (JSON, "1", "bad-value"),
        ("text/plain", 5, "bad-value"),
    ):  # fmt: skip
        with pytest.raises(onetree.Wrong) as wrong:
            Value(kind, data)  # type: ignore[arg-type]
        assert wrong.value.code == code
    # What a broker took as a media type is shown.
    for kind in ("", "-", "text/", "ä/b", "x" * 200):
        frame = f.Signal("/a", known(kind, b"1"))
        assert json_codec.decode_server(json_codec.encode(frame)) == frame
        assert msgpack_codec.decode_server(msgpack_codec.encode(frame)) == frame
    made = Value(JSON, b' {"a": 1}\n')
    assert made.data == b'{"a": 1}' and made == (JSON, b'{"a": 1}')
    assert Value("image/png", bytearray(b"x")).data == b"x"
    for same in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), Value._make(made)):
        assert same == made and type(same) is Value
    kind, data = made
    assert (kind, data) == (JSON, b'{"a": 1}') and made._asdict() == {"type": JSON, "data": data}
    assert repr(made) == "Value(type='application/json', data=b'{\"a\": 1}')"


@pytest.mark.parametrize(
    "fields, data",
    [
        ('"json": 1 ', b"1"), (' "json"\t:\r\n{"a" : [ 1 ]}\n', b'{"a" : [ 1 ]}'),
        ('"json": "x" ', b'"x"'), ('"json": null\t', b"null"), ('"json":1 ', b"1"),
    ],
)  # fmt: skip
def test_space_around_a_json_value_of_a_frame_is_none_of_it(fields: str, data: bytes) -> None:
    change = f'{{"path":"/a","rev":2,{fields}}}'
    delta = json_codec.decode_server(f'{{"op":"delta","rev":2,"changes":[{change}, {change}]}}')
    tight = json_codec.decode_server(f'{{"op":"delta","rev":2,"changes":[{change},{change}]}}')
    assert isinstance(delta, f.Delta) and isinstance(tight, f.Delta)
    for entry in (*delta.changes, *tight.changes):
        assert isinstance(entry, f.Entry) and entry.value == (JSON, data)
    put = json_codec.decode_client(f'{{"op":"put","id":1,"path":"/a",{fields}}}')
    assert isinstance(put, f.Put) and put.value == (JSON, data)
