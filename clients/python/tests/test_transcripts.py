"""spec/transcripts: the broker's part of each transcript is played to a session.

The session is made to send what the transcript's client sends. The frames must be equal, except for
the numbers that the session chooses. If a transcript's client sends what our clients never send
(wrong frames, a second `hello`…), the playing of that connection ends. `PLAYED` counts how much is
played, so that it cannot shrink unnoticed.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from onetree import event as e
from onetree.errors import Ended, LinkLost
from onetree.mirror import State
from onetree.options import Options, SubOptions
from onetree.protocol import frames as f
from onetree.protocol import json_codec, msgpack_codec
from onetree.protocol.wrong import Wrong
from onetree.session import Session
from onetree.session.effects import MirrorWent, Reply
from onetree.snapshot import Snapshot
from test_mirror import apply

FOLDER = Path(__file__).parents[3] / "spec" / "transcripts"
FILES = sorted(FOLDER.glob("*.json"))
SAID: dict[str, Any] = {
    "epoch": "e" * 32,
    "digest_key": "d" * 32,
    "heartbeat_ms": 1000,
    "durable": False,
    "message": "so it is",
    "retry_ms": 100,
    "limits": {"frame_bytes": 1 << 20, "value_bytes": 1 << 16, "subscriptions": 9, "in_flight": 99},
}
PLAYED: dict[str, int] = {}


class Player:
    """One connection of a transcript."""

    def __init__(self, codec: str, known: dict[Any, Snapshot]) -> None:
        self.codec: Any = json_codec if codec == "json" else msgpack_codec
        self.session = Session(Options(codec=codec), random.Random(1))  # type: ignore[arg-type]
        self.known = known
        self.ids: dict[int, int] = {}
        self.states: dict[int, State] = {}
        self.models: dict[int, dict[str, f.Entry]] = {}
        self.staged: dict[int, dict[str, f.Entry]] = {}
        self.parts: dict[Any, list[f.Change]] = {}
        self.replies: list[Reply] = []
        self.ticket = 0

    def mirror(self, sub: f.Sub) -> None:
        saved = None
        if sub.cookie is not None:
            known = self.known.get((sub.path, sub.cookie.rev))
            saved = Snapshot.saved(sub.cookie, known.entries() if known else [])
        state = State(sub.view, saved)
        self.states[sub.sub] = state
        self.models[sub.sub] = dict(state.snapshot())
        options = SubOptions(sub.mode == "once", sub.signals, sub.every_ms)
        self.session.mirror(sub.sub, state, options)

    def send(self, frame: f.ClientFrame) -> None:
        """Makes the session send the same frame."""
        session = self.session
        if isinstance(frame, f.Hello):
            for sub in frame.subs:
                self.mirror(sub)
            session.handle_open(0, 10)
        elif isinstance(frame, f.Sub):
            self.mirror(frame)
        elif isinstance(frame, f.Unsub):
            session.drop_mirror(frame.sub)
        elif isinstance(frame, f.Resync):
            session.resync(frame.sub)
        elif isinstance(frame, f.SyncRequest):
            session.want_sync()
        elif isinstance(frame, f.Bye):
            session.close(0, True)
        else:
            self.ticket += 1
            session.request(0, self.ticket, self.codec.decode_client(self.codec.encode(frame)))
        message = session.poll_transmit(0)
        assert message is not None, frame
        said = self.codec.decode_client(message)
        assert said.id not in self.ids.values()
        if frame.id is not None:
            self.ids[frame.id] = said.id
        if isinstance(frame, f.Hello):
            for mine, theirs in zip(said.subs, frame.subs, strict=True):
                self.ids[theirs.id], mine.id = mine.id, theirs.id
            assert [*said.subs] == [*frame.subs]
            return
        said.id = frame.id
        if isinstance(frame, f.WRITES):
            said.seq = frame.seq
        assert said == frame

    def take(self, fields: dict[str, Any]) -> None:
        """Gives the session a frame of the broker."""
        frame = self.codec.decode_server(
            self.codec.encode(json_codec.decode_server(json.dumps(fields)))
        )
        if getattr(frame, "id", None) is not None:
            frame.id = self.ids[frame.id]
        self.expect(frame)
        self.session.handle_frame(0, frame)
        for effect in self.session.effects:
            if isinstance(effect, Reply):
                self.replies.append(effect)
            elif isinstance(effect, MirrorWent):
                assert not isinstance(effect.event, e.Broken | e.Corrupt), effect
        self.session.effects.clear()
        for sub, state in self.states.items():
            shown = state.snapshot()
            assert {**shown} == self.models[sub], frame
            if shown.cookie is not None:
                self.known[state.view.path, shown.rev] = shown

    def expect(self, frame: f.ServerFrame) -> None:
        """Checks what the mirrors must be after it."""
        if isinstance(frame, f.Refresh):
            full = frame.kind == "full"
            self.staged[frame.sub] = {} if full else dict(self.models[frame.sub])
        elif isinstance(frame, f.Entries):
            for change in frame.changes:
                apply(self.staged[frame.sub], change, self.states[frame.sub].view)
        elif isinstance(frame, f.Fresh):
            self.models[frame.sub] = self.staged.pop(frame.sub)
        elif isinstance(frame, f.Delta):
            changes = self.parts.setdefault(frame.sub, [])
            changes.extend(frame.changes)
            if frame.part:
                return
            for sub, state in self.states.items():
                own = sub == frame.sub or (frame.sub is None and not self.every(sub))
                if own and state.is_fresh and state.rev < frame.rev:
                    for change in changes:
                        apply(self.models[sub], change, state.view)
            del self.parts[frame.sub]

    def every(self, sub: int) -> bool:
        slot = self.session._mirrors._slots.get(sub)
        return slot is None or slot.options.every_ms > 0


def filled(step: Any, names: dict[str, Any], field: str = "") -> Any:
    """Fills in a value for each placeholder."""
    if isinstance(step, dict):
        return {key: filled(value, names, key) for key, value in step.items()}
    if isinstance(step, list):
        return [filled(one, names, field) for one in step]
    if not isinstance(step, str) or not step.startswith("$"):
        return step
    if field == "digest" or field.isdigit():
        # The key of these hashes is not known.
        return None
    if field in SAID:
        return SAID[field]
    made = {"rev": 1000 + len(names), "session": f"s{len(names)}", "view": "0" * 16}[field]
    return names.setdefault(step, made)


@pytest.mark.parametrize("codec", ["json", "msgpack"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_played(file: Path, codec: str) -> None:
    names: dict[str, Any] = {}
    known: dict[Any, Snapshot] = {}
    players: dict[int, Player | None] = {}
    played = 0
    for step in json.loads(file.read_text())["steps"]:
        on = step.get("on", 1)
        if "connect" in step:
            players[step["connect"]] = Player(codec, known)
            continue
        player = players.get(step.get("cut", on))
        if player is None:
            continue
        if "send" in step:
            sent = filled(step["send"], names)
            try:
                if not isinstance(sent, dict) or "msgpack" in step:
                    raise Wrong("bad-frame", "no client of ours says that")
                frame = json_codec.decode_client(json.dumps(sent))
                if player.session.link == ("opening" if sent["op"] != "hello" else "up"):
                    raise Wrong("hello-expected", "no client of ours says that")
                if isinstance(frame, f.Sub) and frame.sub in player.session._mirrors._slots:
                    raise Wrong("sub-in-use", "no client of ours says that")
                if (
                    isinstance(frame, f.Unsub | f.Resync)
                    and frame.sub not in player.session._mirrors._slots
                ):
                    raise Wrong("no-such-sub", "no client of ours says that")
                if isinstance(frame, f.Hello) and len({x.sub for x in frame.subs}) < len(
                    frame.subs
                ):
                    raise Wrong("sub-in-use", "no client of ours says that")
                if isinstance(frame, f.SendSignal) and frame.id is None:
                    raise Wrong("bad-frame", "ours asks for an answer")
                if getattr(frame, "seq", None) is not None or getattr(frame, "copy", False):
                    raise Wrong("bad-frame", "ours has its own numbers")
            except Wrong:
                players[on] = None
                continue
            player.send(frame)
            played += 1
        elif "expect" in step:
            expected = filled(step["expect"], names)
            for fields in expected if isinstance(expected, list) else [expected]:
                player.take(fields)
                played += 1
        elif "close" in step and step["close"] >= 4000:
            player.session.handle_closed(0, Ended("shutting-down", "closed"))
        elif "cut" in step:
            player.session.handle_closed(0, LinkLost("cut"))
    for player in players.values():
        if player is not None:
            assert len(player.replies) >= player.ticket
    PLAYED[f"{file.stem}.{codec}"] = played


def test_most_of_them_are_played() -> None:
    assert len(FILES) >= 28
    if len(PLAYED) == 2 * len(FILES):
        assert sum(PLAYED.values()) > 800, PLAYED
        assert sum(count > 5 for count in PLAYED.values()) > 40, PLAYED
