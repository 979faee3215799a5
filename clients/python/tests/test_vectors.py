"""spec/vectors: what is right and what is wrong, byte by byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onetree import CODES
from onetree.protocol import frames, json_codec, msgpack_codec, paths, patterns, scan
from onetree.protocol.cookies import Cookie
from onetree.protocol.digests import Digest, hasher, parse_digest
from onetree.protocol.values import Value
from onetree.protocol.views import View
from onetree.protocol.wrong import Wrong

SPEC = Path(__file__).parents[3] / "spec"


def vectors(name: str) -> dict[str, Any]:
    found = json.loads((SPEC / "vectors" / "v1" / f"{name}.json").read_text())
    assert len(found["invalid"]) >= len(found["valid"]) > 0
    return found


def test_codes() -> None:
    table = json.loads((SPEC / "codes.json").read_text())["codes"]
    assert {c["code"]: (c["action"], c.get("close"), c.get("reconnect", False), c["meaning"])
            for c in table} == {word: tuple(code) for word, code in CODES.items()}  # fmt: skip


def test_paths() -> None:
    found = vectors("paths")
    for v in found["valid"]:
        assert paths.check_path(v["text"]) == v["text"]
        assert paths.segments(v["text"]) == v["segments"]
    for v in found["invalid"]:
        refused(v, paths.check_path, v["text"])
    assert sorted(found["order"][::-1], key=paths.order_key) == found["order"]


def test_patterns() -> None:
    found = vectors("patterns")
    for v in found["valid"]:
        match = patterns.matcher([patterns.check_pattern(v["text"])])
        # The other matching algorithm, for patterns with many `**`.
        parts = v["text"].split("/")
        for below in v["matches"]:
            assert match("/" + below if below else ""), (v["text"], below)
            assert patterns._matches(parts, below.split("/") if below else [])
        for below in v["differs"]:
            assert not match("/" + below if below else ""), (v["text"], below)
            assert not patterns._matches(parts, below.split("/") if below else [])
    for v in found["invalid"]:
        refused(v, patterns.check_pattern, v["text"])


def test_log_keys() -> None:
    found = vectors("log_keys")
    for v in found["valid"]:
        assert paths.parse_log_key(v["text"]) == (v["rev"], v["index"])
        assert paths.log_key(v["rev"], v["index"]) == v["text"]
    for v in found["invalid"]:
        refused(v, paths.parse_log_key, v["text"])


def test_digests() -> None:
    found = vectors("digests")
    for v in found["valid"]:
        entry_hash = hasher(bytes.fromhex(v["digest_key"]))
        hashes = [entry_hash(e["path"], e["rev"]) for e in v["entries"]]
        assert [f"{h:032x}" for h in hashes] == [e["hash"] for e in v["entries"]]
        digest = Digest.of(len(hashes), sum(hashes))
        assert str(digest) == v["digest"]
        assert parse_digest(v["digest"]) == digest
    for v in found["invalid"]:
        refused(v, parse_digest, v["text"])


def view_of(fields: dict[str, Any]) -> View:
    text = json.dumps({"op": "sub", "id": 1, "sub": 1, **fields})
    sub = json_codec.decode_client(text)
    assert isinstance(sub, frames.Sub)
    return sub.view


def test_fingerprints() -> None:
    found = vectors("fingerprints")
    for v in found["valid"]:
        view = view_of(v["view"])
        assert view.hashed().hex() == v["hashed"]
        assert view.fingerprint == v["fingerprint"]
    for v in found["invalid"]:
        if "view" in v:
            refused(v, view_of, v["view"])
        else:
            fresh = {"op": "fresh", "sub": 1, "rev": 1, "view": v["text"]}
            refused(v, json_codec.decode_server, json.dumps(fresh))


def test_cookies() -> None:
    found = vectors("cookies")

    def from_json(text: str) -> Cookie:
        return json_codec.read_cookie(json_codec._fields(text))

    def from_msgpack(data: str) -> Cookie:
        return msgpack_codec.read_cookie(msgpack_codec.unpack(bytes.fromhex(data)))

    for v in found["valid"]:
        cookie = Cookie(v["epoch"], v["rev"], v["view"])
        for text in (v["json"], *v.get("also_json", ())):
            assert from_json(text) == cookie
        for data in (v["msgpack"], *v.get("also_msgpack", ())):
            assert from_msgpack(data) == cookie
        assert json.loads(json_codec.cookie_text(cookie)) == json.loads(v["json"])
    for v in found["invalid"]:
        if "json" in v:
            refused(v, from_json, v["json"])
        if "msgpack" in v:
            refused(v, from_msgpack, v["msgpack"])


def test_values() -> None:
    found = vectors("values")

    def from_json(text: str) -> Value:
        value = json_codec.read_value(json_codec._fields(text))
        assert value is not None
        return Value.of(value.type, value.data)

    def from_msgpack(data: str) -> Value:
        # As two elements of a frame.
        signal = bytes.fromhex("9408a12f" + data)
        frame = msgpack_codec.decode_server(signal)
        assert isinstance(frame, frames.Signal)
        return Value.of(frame.value.type, frame.value.data)

    for v in found["valid"]:
        value = Value(v["type"], bytes.fromhex(v["bytes"]))
        for text in (v["json"], *v.get("also_json", ())):
            assert from_json(text) == value, text
        for data in (v["msgpack"], *v.get("also_msgpack", ())):
            assert from_msgpack(data) == value
        written = "{" + json_codec.value_text(value)[1:] + "}"
        assert from_json(written) == value
        assert scan.frame(written) == scan.frame(v["json"])
        assert msgpack_codec.write_value(value) == tuple(
            msgpack_codec.unpack(bytes.fromhex("92" + v["msgpack"]))
        )
    for v in found["invalid"]:
        if "json" in v:
            refused(v, from_json, v["json"])
        if "msgpack" in v:
            refused(v, from_msgpack, v["msgpack"])


@pytest.mark.parametrize("side", ["client", "server"])
def test_frames(side: str) -> None:
    found = vectors(f"{side}_frames")
    from_json = getattr(json_codec, f"decode_{side}")
    from_msgpack = getattr(msgpack_codec, f"decode_{side}")
    for v in found["valid"]:
        name = v["name"]
        frame = from_json(v["json"])
        for text in (v["json"], *v.get("also_json", ())):
            assert from_json(text) == frame, name
            assert from_json(text.encode()) == frame, name
        for data in (v["msgpack"], *v.get("also_msgpack", ())):
            assert from_msgpack(bytes.fromhex(data)) == frame, name
        # What is written is read as the same frame, and contains neither more nor less.
        assert from_json(json_codec.encode(frame)) == frame, name
        assert scan.frame(json_codec.encode(frame)) == scan.frame(v["json"]), name
        assert msgpack_codec.encode(frame).hex() == v["msgpack"], name
    for v in found["invalid"]:
        if "json" in v:
            refused(v, from_json, v["json"])
        if "json_hex" in v:
            refused(v, from_json, bytes.fromhex(v["json_hex"]))
        if "msgpack" in v:
            refused(v, lambda data: taken(from_msgpack(data)), bytes.fromhex(v["msgpack"]))


def taken(frame: Any) -> Any:
    """A value is checked by whoever takes it."""
    try:
        return Value.of(*frame.value)
    except Wrong as wrong:
        wrong.id = frame.id
        raise


def refused(vector: dict[str, Any], read: Any, what: Any) -> None:
    try:
        found = read(what)
    except Wrong as wrong:
        assert wrong.code == vector["code"], vector
        if "id" in vector:
            assert wrong.id == vector["id"], vector
        return
    pytest.fail(f"read {found!r} from {vector}")
