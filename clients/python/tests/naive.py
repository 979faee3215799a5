"""A broker for simulations: the tree is a dictionary, the log of changes a list, and nothing is
fast. It takes and gives frames, for one client at a time."""

from __future__ import annotations

from onetree.protocol import frames as f
from onetree.protocol.digests import Digest, hasher
from onetree.protocol.frames import Entry, Gone
from onetree.protocol.paths import child, contains, log_key

EPOCH = "e" * 32


def segments(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


LIMITS = f.Limits(1 << 20, 1 << 16, 16, 8)


class Broker:
    def __init__(self) -> None:
        self.tree: dict[str, Entry] = {}
        self.rev = 0
        self.history: list[f.Change] = []
        self.executed: list[tuple[str, int]] = []
        """Each write that was executed: its client name, and its number."""
        self.last: dict[str, int] = {}
        self.answers: dict[tuple[str, int], f.Done | f.Error] = {}
        self.starts = 0
        self.epoch = EPOCH
        self.resumes = False
        """Whether a client that comes back finds its session."""

    def restart(self) -> None:
        """The broker has forgotten the answers, but not the numbers."""
        self.answers.clear()
        self.starts += 1

    @property
    def key(self) -> str:
        return f"{self.starts:032x}"

    def digest(self, sub: f.Sub) -> Digest:
        entry_hash = hasher(bytes.fromhex(self.key))
        seen = [e for e in self.tree.values() if sub.view.sees(e.path)]
        return Digest.of(len(seen), sum(entry_hash(e.path, e.rev) for e in seen))


class Connection:
    """What a broker sends on one connection."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.subs: dict[int, f.Sub] = {}
        self.client = ""
        self.at = broker.rev

    def handle(self, frame: f.ClientFrame) -> list[f.ServerFrame]:
        broker = self.broker
        if isinstance(frame, f.Hello):
            assert frame.client is not None
            self.client = frame.client
            resumed = broker.resumes and frame.session is not None
            welcome = f.Welcome(
                frame.id, "s", broker.epoch, broker.rev, 1000, broker.key, LIMITS, resumed
            )
            said: list[f.ServerFrame] = [welcome]
            for sub in frame.subs:
                said += self.subscribe(sub, sub.id)
            return said
        if isinstance(frame, f.Sub):
            return self.subscribe(frame, frame.id)
        if isinstance(frame, f.Resync):
            sub = self.subs[frame.sub]
            sub.cookie = None
            return self.subscribe(sub, frame.id)
        if isinstance(frame, f.Unsub):
            del self.subs[frame.sub]
            return [f.Ok(frame.id)]
        if isinstance(frame, f.SyncRequest):
            return [*self.deltas(), self.sync(frame.id)]
        if isinstance(frame, f.Get):
            found = [broker.tree[path] for path in frame.paths if path in broker.tree]
            return [f.Found(frame.id, broker.rev, found)]
        if isinstance(frame, f.List):
            return [self.list(frame)]
        if isinstance(frame, f.WRITES):
            return self.write(frame)
        if isinstance(frame, f.SendSignal | f.Bye):
            return [f.Ok(frame.id or 0)]
        raise AssertionError(frame)

    def list(self, frame: f.List) -> f.Found:
        """Returns a page of the children: two at most, if the request leaves the number to the
        broker."""
        tree, top = self.broker.tree, frame.path
        depth = len(segments(top)) + 1
        inside = {"/" + "/".join(segments(at)[:depth]) for at in tree if contains(top, at)}
        after, before = frame.after, frame.before
        paths = sorted(
            (at for at in inside if (after is None or segments(at) > segments(after))
             and (before is None or segments(at) < segments(before))),
            key=segments, reverse=frame.reverse,
        )  # fmt: skip
        most = frame.limit or 2
        found = [tree.get(at, Entry(at, 0, None)) for at in paths[:most]]
        return f.Found(frame.id, self.broker.rev, found, len(paths) > most)

    def sync(self, id: int | None = None) -> f.Sync:
        digests = {n: self.broker.digest(sub) for n, sub in self.subs.items() if not sub.every_ms}
        return f.Sync(self.broker.rev, digests, id)

    def subscribe(self, sub: f.Sub, id: int) -> list[f.ServerFrame]:
        broker = self.broker
        said: list[f.ServerFrame] = [*self.deltas(), f.Ok(id)]
        self.subs[sub.sub] = sub
        changes: list[f.Change]
        if sub.cookie is not None and sub.cookie.epoch == broker.epoch:
            since = sub.cookie.rev
            said.append(f.Refresh(sub.sub, "delta", "cookie", since))
            changes = [change for change in broker.history if change.rev > since]
        else:
            said.append(f.Refresh(sub.sub, "full", "no-cookie"))
            changes = [e for e in broker.tree.values() if sub.view.sees(e.path)]
        half = len(changes) // 2
        said += [f.Entries(sub.sub, changes[:half]), f.Entries(sub.sub, changes[half:])]
        view = sub.view.fingerprint
        return [*said, f.Fresh(sub.sub, broker.rev, view, broker.digest(sub))]

    def deltas(self) -> list[f.ServerFrame]:
        """Returns what was committed since the last call: a frame for each commit, some of them in
        parts."""
        said: list[f.ServerFrame] = []
        since = self.at
        self.at = self.broker.rev
        revs = sorted({change.rev for change in self.broker.history if change.rev > since})
        for rev in revs:
            changes = [change for change in self.broker.history if change.rev == rev]
            if len(changes) > 1:
                said.append(f.Delta(rev, None, None, True, changes[:1]))
                changes = changes[1:]
            said.append(f.Delta(rev, None, None, False, changes))
        return said

    def write(self, frame: f.Write) -> list[f.ServerFrame]:
        broker, seq = self.broker, frame.seq
        assert seq is not None
        last = broker.last.get(self.client, 0)
        if (answer := broker.answers.get((self.client, seq))) is not None:
            again: f.Done | f.Error
            if isinstance(answer, f.Done):
                again = f.Done(frame.id, answer.rev, False, answer.paths)
            else:
                again = f.Error(answer.code, answer.message, frame.id, answer.path, answer.rev)
            return [again]
        if seq <= last:
            return [f.Error("outcome-unknown", "no longer known", frame.id)]
        if seq > last + 1:
            return [f.Error("seq-gap", "one is missing", frame.id)]
        if isinstance(frame, f.Put) and frame.path == "/refused":
            return [f.Error("unavailable", "not now", frame.id)]
        if isinstance(frame, f.Put) and frame.path == "/no-json":
            return [f.Error("bad-frame", "it is no JSON")]
        broker.last[self.client] = seq
        broker.executed.append((self.client, seq))
        answer = self.execute(frame)
        broker.answers[self.client, seq] = answer
        return [*self.deltas(), answer]

    def execute(self, frame: f.Write) -> f.Done | f.Error:
        broker = self.broker
        broker.rev += 1
        rev, paths = broker.rev, []
        steps: list[f.Step] = []
        if isinstance(frame, f.Txn):
            for path, at, tree in frame.conditions:
                there = broker.tree[path].rev if path in broker.tree else 0
                if tree:
                    under = (c.rev for c in broker.history if contains(path, c.path))
                    there = max(under, default=0)
                if there > at or (there < at and not tree):
                    return f.Error("conflict", "not so", frame.id, path, there)
            steps = list(frame.steps)
        elif isinstance(frame, f.Put | f.Append):
            do = "put" if isinstance(frame, f.Put) else "append"
            steps = [f.Step(do, frame.path, frame.value)]  # type: ignore[arg-type]
        elif isinstance(frame, f.Delete | f.Drop):
            steps = [f.Step("delete" if isinstance(frame, f.Delete) else "drop", frame.path)]
        elif isinstance(frame, f.Trim):
            steps = [f.Step("trim", frame.path, to=frame.to)]
        for index, step in enumerate(steps):
            path = step.path
            if step.do == "append":
                path = child(path, log_key(rev, index))
                paths.append(path)
            if step.do in ("put", "append"):
                entry = Entry(path, rev, step.value)
                broker.tree[path] = entry
                broker.history.append(entry)
            else:
                first, last = child(path, "0" * 18), child(path, step.to)
                gone = [p for p in broker.tree
                        if (first <= p <= last if step.do == "trim" else p == path)
                        or (step.do == "drop" and contains(path, p))]  # fmt: skip
                for p in gone:
                    del broker.tree[p]
                broker.history.append(Gone(path, rev, step.do, step.to))  # type: ignore[arg-type]
        return f.Done(frame.id, rev, False, paths)
