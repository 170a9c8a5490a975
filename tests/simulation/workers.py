"""What workers and strangers do, each as one function over the server: pushes, edits, rewinds, rogue commits."""

from __future__ import annotations

from collections.abc import Callable

from dreamcatcherd.core.paths import FRAME, LEDGER, SNAPSHOT
from dreamcatcherd.core.tree import walk
from dreamcatcherd.stages.frame_file import read_frame_file
from tests.law.fleet import MAIN
from tests.law.sent import Sent
from tests.simulation.actions import Delete, Edit, Push, Rewind, Rogue
from tests.simulation.bodies import make_delta
from tests.simulation.server import ROOT, Brought, Server

FAR = 5_000
"""How far ahead a delta is that is refused for that."""

CANONICAL = {SNAPSHOT: "snapshot", LEDGER: "ledger", FRAME: "frame"}


class Made:
    """A delta that exists: its path, its bytes, and its malformation, as its worker has them."""

    def __init__(self, path: str, stream: str, brought: Brought) -> None:
        self.path = path
        self.stream = stream
        self.brought = brought
        self.is_known = False  # whether its worker knows that a push of it arrived

    def files(self) -> dict[str, bytes | None]:
        """The files of a commit that brings it, with its attachments."""
        sent, folder = self.brought.sent, self.path.removesuffix(".json")
        return {self.path: sent.raw, **{f"{folder}/{name}": raw for name, raw in sent.files}}


class Workers:
    """The workers of one repository. `made` are the deltas by number, of all repositories."""

    def __init__(
        self, server: Server, made: dict[int, Made], time_s: Callable[[], int], count: Callable[[str], None]
    ) -> None:
        """`time_s` is the true time, for the dates of commits."""
        self.made = made
        self._server = server
        self._time_s = time_s
        self._count = count

    def open_frame(self) -> int:
        """The frame that a worker sees open."""
        head = self._server.main()
        state = read_frame_file(self._server.store, self._server.store.commit(head).tree) if head else None
        return state.frame if state else 1

    def push(self, action: Push) -> None:
        """Make the delta, if there is none of this number yet, and push it."""
        made = self.made.get(action.delta) or self._make(action)
        if action.fate == "died":
            self._count("died")
            return
        self._commit(made, action)
        made.is_known = made.is_known or action.fate == "ok"
        self._count("push lost" if action.fate == "lost" else "push")

    def retry(self) -> int:
        """Every worker that does not know its delta to be there pushes it again. Returns how many did."""
        missing = [(number, made) for number, made in sorted(self.made.items()) if not made.is_known]
        for number, made in missing:
            self._commit(made, Push(number))
            made.is_known = True
        return len(missing)

    def _make(self, action: Push) -> Made:
        frame = max(0, self.open_frame() + (FAR if action.malformed == "far" else action.ahead))
        stream = f"s{action.stream}"
        sent = make_delta(action.delta, frame, stream, action.malformed)
        path = f"{ROOT}/{frame}/d{action.delta}.json"
        made = self.made[action.delta] = Made(path, stream, Brought(sent, action.malformed))
        return made

    def _commit(self, made: Made, action: Push) -> None:
        server = self._server
        # On `main` there is no wrong stream.
        on_lane = action.to == "lane" or made.brought.malformed == "wrong-stream"
        ref = lane_of(made.stream, action.delta) if on_lane else MAIN
        parents, base = self._on(ref, action)
        time_s = self._time_s() + action.date_s
        commit = server.commit_files(parents, base, made.files(), time_s)
        server.register(commit, {made.path: made.brought})
        server.push(ref, commit)

    def _on(self, ref: str, action: Push) -> tuple[tuple[str, ...], str | None]:
        """The parents of a worker's commit, and the commit whose files it keeps. `main` moves forward alone."""
        server = self._server
        tip, main = server.heads.get(ref), server.main()
        old = server.snapshot_commits()
        if ref == MAIN:
            return ((main,), main) if main else ((), None)
        if tip is None:
            if action.base == "orphan" or main is None:
                return (), None
            start = old[action.delta % len(old)] if action.base == "old" and old else main
            return (start,), start
        if action.base == "merge" and main is not None:
            return (tip, main), main
        return (tip,), tip

    def edit(self, action: Edit) -> None:
        """Change the file of a delta on `main`: another version at the same path."""
        made, main = self.made.get(action.delta), self._server.main()
        if made is None or main is None or made.brought.malformed:
            return
        frame = int(made.path.split("/")[2])
        sent = Sent(make_delta(action.delta, frame, made.stream, version=action.version).raw)
        commit = self._server.commit_files((main,), main, {made.path: sent.raw}, self._time_s())
        self._server.register(commit, {made.path: Brought(sent, "")})
        self._server.push(MAIN, commit)
        self._count("edit")

    def delete(self, action: Delete) -> None:
        """Delete the file of a delta on `main`."""
        made, main = self.made.get(action.delta), self._server.main()
        if made is not None and main is not None:
            self._server.push(MAIN, self._server.commit_files((main,), main, {made.path: None}, self._time_s()))
            self._count("delete")

    def rewind(self, action: Rewind) -> None:
        """Force-push a ref to an ancestor, or delete a lane."""
        server = self._server
        lanes = [ref for ref in sorted(server.heads) if ref.startswith("refs/heads/dc/")]
        if action.stream is not None and not lanes:
            return
        ref = MAIN if action.stream is None else lanes[action.stream % len(lanes)]
        old = oid = server.heads.get(ref)
        for _ in range(action.by):
            parents = server.store.commit(oid).parents if oid and oid != server.first else ()
            oid = parents[0] if parents else oid
        if action.by == 0 and ref != MAIN:
            oid = None
        if old is not None and oid != old:
            server.set_ref(ref, oid)
            self._count("rewind of main" if ref == MAIN else "rewind of a lane")
            server.take_back(ref, old)

    def rogue(self, action: Rogue) -> None:
        """Edit canonical files on `main`."""
        server, main = self._server, self._server.main()
        if main is None:
            return
        tree = server.store.commit(main).tree
        wanted = [path for path, name in CANONICAL.items() if action.what in (name, "everything")]
        found = [path for path, _ in walk(server.store, tree) if path.startswith(tuple(wanted))]
        if found:
            files: dict[str, bytes | None] = dict.fromkeys(found[:1], b"{}")
            files |= dict.fromkeys(found[1:]) if action.what == "everything" else {}
            server.push(MAIN, server.commit_files((main,), main, files, self._time_s()))
            self._count("rogue edit")


def lane_of(stream: str, delta: int) -> str:
    """The lane for a delta: some streams have one lane, and others a fresh one for each push."""
    return f"refs/heads/dc/{stream}" if int(stream[1:]) % 2 == 0 else f"refs/heads/dc/{stream}/d{delta}"
