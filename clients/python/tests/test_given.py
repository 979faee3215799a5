"""Wrong arguments of the application: each is refused when it is given, and named."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import onetree
from onetree import request
from onetree.transport import parse_url
from server import naive, run


@pytest.mark.parametrize(
    "options",
    [
        {"codec": "xml"}, {"codec": None}, {"label": "a b"}, {"label": ""}, {"label": "x" * 32},
        {"label": 5}, {"token": 5}, {"token": "\ud800"}, {"agent": None}, {"agent": "\ud800"},
        {"reconnect": "sometimes"}, {"request_timeout": 10**400}, {"backoff": (1, 10**400)},
        {"reconnect": True}, {"request_timeout": -1}, {"request_timeout": "30"},
        {"connect_timeout": math.nan}, {"connect_timeout": None}, {"queue_bytes": -1},
        {"queue_bytes": 1.5}, {"queue_bytes": True}, {"backoff": 5}, {"backoff": (1,)},
        {"backoff": (1, -1)}, {"backoff": ("a", "b")}, {"backoff": "12"},
    ],
)  # fmt: skip
def test_options(options: dict[str, Any]) -> None:
    with pytest.raises(onetree.Wrong) as wrong:
        onetree.connect("ws://127.0.0.1:9", **options)
    (name,) = options
    assert str(wrong.value).startswith(f"{name}: ")


def test_options_that_can_be() -> None:
    for options in (
        {"codec": "json", "label": "x" * 31, "token": "t", "agent": "", "reconnect": "never"},
        {"token": lambda: "t", "reconnect": "always", "request_timeout": math.inf},
        {"connect_timeout": 1, "queue_bytes": 0, "backoff": [0, 1]},
    ):
        onetree.Options(**options)  # type: ignore[arg-type]


def test_urls() -> None:
    for url in (5, None, b"ws://x"):
        with pytest.raises(onetree.BadUrl):
            parse_url(url)  # type: ignore[arg-type]
    # As elsewhere with URLs, white space around it is not part of it.
    for url in (" ws://h:1/ ", "WS://h:1\n", "ws://h:1/v1/sync "):
        assert parse_url(url) == "ws://h:1/v1/sync"


WRITES: list[Callable[..., object]] = [
    request.put, request.append, onetree.Txn().put, onetree.Txn().append
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
def test_writes(write: Callable[..., object]) -> None:
    for name, given in [("ephemeral", "no"), ("ephemeral", 1), ("ephemeral", None),
                        ("ttl", "1"), ("ttl", -1), ("ttl", math.nan), ("ttl", True)]:  # fmt: skip
        with pytest.raises(onetree.Wrong, match=f"^{name}: "):
            write("/a", 1, **{name: given})


def test_of_a_value_that_cannot_be_it_is_said_where() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")
            writes: list[Callable[[], Any]] = [
                lambda: client.put("/a/b", object()), lambda: client.append("/a/b", object()),
                lambda: client.signal("/a/b", object()),
                lambda: mirror.transact(lambda tx: tx.put("/a/b", object())),
                lambda: mirror.transact(lambda tx: tx.append("/a/b", object())),
            ]  # fmt: skip
            for write in writes:
                with pytest.raises(onetree.Wrong, match=where) as wrong:
                    await write()
                assert wrong.value.code == "bad-value"

    where = "^the value of /a/b: not a JSON value: "
    run(story())
    for write in WRITES:
        with pytest.raises(onetree.Wrong, match=where):
            write("/a/b", object())


def test_values() -> None:
    for make in (
        lambda: onetree.Value.of("image/png", 5),  # type: ignore[arg-type]
        lambda: onetree.Value.of("text/plain", "text"),  # type: ignore[arg-type]
        lambda: onetree.Value.text(5),  # type: ignore[arg-type]
    ):
        with pytest.raises(onetree.Wrong) as wrong:
            make()
        assert wrong.value.code == "bad-value"


def test_conditions() -> None:
    for rev in (-1, 1.0, "1", True):
        with pytest.raises(onetree.Wrong, match="^if_rev: "):
            request.put("/a", 1, if_rev=rev)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "write",
    ["x", None, 5, [], [{"do": "put", "path": "/a", "value": 1}], {}, {"do": []}, onetree.Txn],
)  # fmt: skip
def test_what_is_no_write_is_refused_at_once(write: Any) -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            for ask in (client.txn, client.write, client.enqueue, client.submit):
                with pytest.raises(onetree.Wrong, match=r"Txn\(\)") as wrong:
                    answer = ask(write)
                    if not isinstance(answer, asyncio.Future):
                        await asyncio.wait_for(answer, 1)  # type: ignore[arg-type]
                assert wrong.value.code == "bad-field"
            with pytest.raises(onetree.Wrong, match=r"^txn: "):
                await client.txn(request.put("/a", 1))  # type: ignore[arg-type]
            assert (await client.write(request.put("/a", 1))).rev == 1

    run(story())


def test_what_a_client_and_a_mirror_are_asked(tmp_path: Path) -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            views: list[dict[str, Any]] = [
                {"signals": "no"}, {"once": 1}, {"every": "1"}, {"every": None}, {"values": "no"},
                {"tail": 1.5}, {"tail": "1"}, {"tail": True}, {"depth": None}, {"match": "**"},
            ]  # fmt: skip
            for view in views:
                (name,) = view
                with pytest.raises(onetree.Wrong, match=name):
                    client.mirror("/", **view)
            with client.mirror("/") as mirror:
                for rev in (math.nan, None, 1.0, -1):
                    with pytest.raises(onetree.Wrong, match="^rev: "):
                        await mirror.at(rev)  # type: ignore[arg-type]
                for limit in (-1, None, 1.5):
                    with pytest.raises(onetree.Wrong, match="^limit: "):
                        await mirror.earlier("/log", limit)  # type: ignore[arg-type]
                    with pytest.raises(onetree.Wrong, match="^limit: "):
                        await client.list("/log", limit=limit)  # type: ignore[arg-type]
                # What is no path must not be taken for a path that has nothing.
                for path in ("a", "", "/a/", 5, [], None):
                    for ask in (mirror.get, mirror.under, mirror.snapshot().under):
                        with pytest.raises(onetree.Wrong, match="path"):
                            ask(path)  # type: ignore[arg-type]
            for paths in ("/", "/a", 5, None):
                with pytest.raises(onetree.Wrong, match="^paths: "):
                    await client.get_many(paths)  # type: ignore[arg-type]
            for keep in (5, object(), lambda: None):
                with pytest.raises(onetree.Wrong, match="^keep: "):
                    client.mirror("/", keep=keep)  # type: ignore[arg-type]
            with client.mirror("/") as mirror:
                for fn in (5, None):
                    with pytest.raises(onetree.Wrong, match="^fn: "):
                        await mirror.transact(fn)  # type: ignore[call-overload]
            for name in ("reverse", "values"):
                with pytest.raises(onetree.Wrong, match=f"^{name}: "):
                    await client.list("/log", **{name: "no"})  # type: ignore[arg-type]
            for cookie in (("x", 5, "y"), ("0" * 32, -1, "0" * 16), ("0" * 32, 5, None)):
                with pytest.raises(onetree.Wrong, match="^from_: "):
                    client.mirror("/", from_=(cookie, ()))  # type: ignore[arg-type]
            with pytest.raises(onetree.Wrong, match="onlin,"):
                await client.until("offline", "onlin,")
            # As everywhere in Python, the path of a file may be a `Path`.
            mirror = client.mirror("/", keep=tmp_path / "kept")
            await mirror.at((await client.put("/a", 1)).rev)
        assert (tmp_path / "kept").exists()

    run(story())


def test_what_is_wrong_with_a_path_is_said() -> None:
    for path, fault in [
        ("a", "a path is '/', or segments with '/' before each and nothing behind the last, "
         "without control characters"),
        ("/a//b", "nothing behind the last"), ("/a/", "nothing behind the last"),
        ("", "a path is '/'"), ("/a\n", "without control characters"),
        ("/a/../b", "'.' and '..' are no segments"), ("/.", "'.' and '..' are no segments"),
        ("/" + "x" * 300, "a segment has at most 255 bytes"),
        ("/" + "ä" * 128, "a segment has at most 255 bytes"),
        ("/a" * 33, "a path has at most 32 segments"),
        ("/" + "/".join(["y" * 250] * 5), "a path has at most 1,024 bytes"),
        ("/a\ud800", "a path has no lone surrogates"),
    ]:  # fmt: skip
        with pytest.raises(onetree.Wrong, match=re.escape(fault)) as wrong:
            request.delete(path)
        # The whole path, so that it can be found.
        assert wrong.value.code == "bad-path" and repr(path) in str(wrong.value)


def test_what_is_wrong_with_a_pattern_is_said() -> None:
    for pattern, fault in [
        ("", "no segment"), ("/a", "a segment is not empty"), ("a//b", "a segment is not empty"),
        ("a/", "a segment is not empty"), ("../*", "'.' and '..' are no segments"),
        ("x" * 256, "a segment has at most 255 bytes"),
        ("/".join("a" * 33), "a pattern has at most 32 segments"),
        ("/".join(["y" * 250] * 5), "a pattern has at most 1,024 bytes"),
        ("a\x7f", "without control characters"), ("\udfff", "no lone surrogates"),
    ]:  # fmt: skip
        with pytest.raises(onetree.Wrong, match=re.escape(fault)) as wrong:
            onetree.View("/", match=("**", pattern))
        assert wrong.value.code == "bad-pattern" and repr(pattern) in str(wrong.value)


def test_a_star_within_a_segment_is_refused() -> None:
    for pattern in ("user-*", "a/*x/**", "***", "**.txt", "a/b*c"):
        segment = next(part for part in pattern.split("/") if part not in ("a", "**"))
        said = (
            f"'{pattern}': '*' stands for a whole segment, and '**' for any number of them, "
            f"not for a part of one ('{segment}')"
        )
        with pytest.raises(onetree.Wrong) as wrong:
            onetree.View("/", match=("**", pattern))
        assert (wrong.value.code, str(wrong.value)) == ("bad-pattern", said)
    # A path may have such a segment, and a subscription may look there.
    onetree.View("/a/user-*", match=("*", "a/**/b"))
