"""What the client gives as JSON, and the words of errors, which are the same in each language."""

from __future__ import annotations

import json

import pytest

import onetree
from onetree import (
    Cookie,
    Difference,
    Done,
    Entry,
    Found,
    Snapshot,
    Value,
    Verdict,
    View,
    as_json,
    event,
)
from onetree.errors import Ended
from onetree.protocol import frames
from onetree.protocol.digests import Digest
from onetree.session.requests import refused

A = Entry("/a", 7, Value.json({"n": [1, None]}))
LINE = {"path": "/a", "rev": 7, "json": {"n": [1, None]}}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (A, LINE),
        (Entry("/a", 7, None), {"path": "/a", "rev": 7}),
        (Done(3, 7, True, ("/log/1",)), {"rev": 7, "durable": True, "paths": ["/log/1"]}),
        (Found(3, 7, (A,), True), {"rev": 7, "entries": [LINE], "more": True}),
        ([A], [LINE]),
        (
            onetree.Committed(A, Done(3, 7, True, ("/log/1",)), 2),
            {"result": LINE, "rev": 7, "durable": True, "paths": ["/log/1"], "runs": 2},
        ),
        (onetree.Committed(3, None, 1), {"result": 3, "runs": 1}),
        (Verdict("same", 7), {"verdict": "same", "rev": 7}),
        (Verdict("unknown"), {"verdict": "unknown"}),
        (
            Verdict("differs", None, Digest(1, 2), Digest(0, 0)),
            {"verdict": "differs", "expected": f"1:{2:032x}", "found": f"0:{0:032x}"},
        ),
        (
            event.Delta(6, 7, [Difference("/a", 7, None, A)], ["/log"]),
            {
                "event": "delta", "since": 6, "rev": 7, "gaps": ["/log"],
                "changes": [{"path": "/a", "rev": 7, "old": None, "new": LINE}],
            },
        ),
        (
            event.Signal("/s", Value.text("x")),
            {"event": "signal", "path": "/s", "type": "text/plain", "text": "x"},
        ),
        (event.Connecting(), {"event": "connecting"}),
        (event.Circling(float("inf")), {"event": "circling", "retry_ms": None}),
        (event.Circling(1e306), {"event": "circling", "retry_ms": None}),
        (
            event.Corrupt(Digest(1, 2), Digest(0, 0)),
            {"event": "corrupt", "expected": f"1:{2:032x}", "found": f"0:{0:032x}"},
        ),
        (event.Circling(0.25), {"event": "circling", "retry_ms": 250}),
        (
            event.Offline(onetree.LinkLost("cut"), 1.0),
            {"event": "offline", "error": {"code": "lost", "message": "cut"}, "retry_ms": 1000},
        ),
        (event.Ended(None), {"event": "ended", "error": None}),
        (None, None),
    ],
)  # fmt: skip
def test_what_is_given_is_told_as_json(given: object, told: object) -> None:
    assert as_json(given) == told
    json.dumps(as_json(given))


def test_what_cannot_be_is_told_as_any_error() -> None:
    with pytest.raises(onetree.OnetreeError) as wrong:
        View("no path")
    error = wrong.value
    assert isinstance(error, onetree.Wrong) and isinstance(error, ValueError)
    assert (error.code, error.word, error.action) == ("bad-path", "bad-path", "fix")
    assert as_json(error) == {"code": "bad-path", "message": str(error)}


def test_an_error_is_told_with_what_is_there_instead() -> None:
    of = frames.Error("conflict", "/a is at revision 337, not 1", 3, path="/a", rev=337)
    conflict = refused(of)
    # The message says nothing twice.
    assert str(conflict) == "conflict: /a is at revision 337, not 1"
    told = {"code": "conflict", "message": of.message, "path": "/a", "rev": 337}
    assert as_json(conflict) == told
    # A path that is not in the message.
    large = onetree.Refused("value-too-large", "a value has at most 1 byte", "/a")
    assert str(large) == "value-too-large: a value has at most 1 byte (/a)"
    message = "a value has at most 1 byte (/a)"
    assert as_json(large) == {"code": large.code, "message": message, "path": "/a"}
    outside = onetree.OutsideView("/a")
    assert as_json(outside) == {"code": "outside-view", "message": str(outside), "path": "/a"}
    taken = Ended("session-taken", "another has it")
    assert as_json(taken) == {"code": "session-taken", "message": "another has it"}
    ended = {"code": "session-taken", "message": "the client has ended: another has it"}
    assert as_json(onetree.Closed(taken)) == ended


def test_a_snapshot_is_told_with_its_cookie() -> None:
    cookie = Cookie("0" * 32, 7, "1" * 16)
    told = {"rev": 7, "cookie": cookie._asdict(), "entries": [LINE]}
    assert as_json(Snapshot.saved(cookie, [A])) == told


def test_a_conflict_is_told_from_other_errors() -> None:
    assert onetree.Refused("conflict", "no").is_conflict
    there = onetree.Refused("conflict", "no", "/a", 7)
    assert str(there) == "conflict: no (/a is at revision 7)"
    said = "/a is at revision 337, not 1"
    assert str(onetree.Refused("conflict", said, "/a", 337)) == f"conflict: {said}"
    assert not onetree.Refused("log-key", "no").is_conflict and not onetree.Lost().is_conflict


def test_the_key_of_a_log_says_the_revision() -> None:
    key = onetree.log_key(0x6396, 2)
    assert key == "000000000063960002" and onetree.parse_log_key(key) == (0x6396, 2)
    with pytest.raises(onetree.Wrong):
        onetree.parse_log_key("2")


def test_errors_have_words() -> None:
    words = {
        "conflict": onetree.Refused("conflict", "no"),
        "timeout": onetree.Timeout(1, True),
        "lost": onetree.LinkLost("cut"),
        "queue-full": onetree.QueueFull(),
        "closed": onetree.Closed(),
        "session-taken": onetree.Closed(Ended("session-taken", "another has it")),
        "ended": onetree.Closed(onetree.NotABroker("no")),
        "url": onetree.BadUrl("no"),
        "not-a-broker": onetree.HttpAnswer("there", 404, "", None),
        "unauthorized": onetree.HttpAnswer("there", 401, "", None),
        "unreachable": onetree.HttpAnswer("there", 503, "", None),
        "silent": onetree.Silent(1),
        "protocol": onetree.ProtocolBroken("no"),
        "outside-view": onetree.OutsideView("/a"),
        "bad-path": onetree.Wrong("bad-path", "no"),
        "state-in-use": onetree.KeepError("state-in-use", "no"),
    }
    assert {word: error.word for word, error in words.items()} == {word: word for word in words}
    assert onetree.Unreachable("away").word == onetree.BadToken("none").word == "unreachable"
    assert onetree.NotABroker("no").word == "not-a-broker"
