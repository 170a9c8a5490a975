"""Cases of kind `history`: commits on refs and closes of frames, in order, on a repository in memory.

A commit is known by the name that the case gives it, since its id depends on who publishes. The commit that opens the
first frame is `init`, and the snapshot commit of a frame is `frame <n>`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import structs

from dreamcatcherd.conformance.vectors import bytes_as, bytes_of
from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import canonical, decode_exact, utc_micros
from dreamcatcherd.core.export import export
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.ledger import Ledger, MisfitRow
from dreamcatcherd.core.model import Json, Record
from dreamcatcherd.core.signers import read_signers
from dreamcatcherd.core.tree import FILE, Entry, edit, lookup, walk
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Commit, Move
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.testing import MemoryStore

MAIN = "refs/heads/main"
WORKER = "worker <worker@example.org>"
NOW = "2026-01-01T00:00:00Z"
"""The time at which everything happens, unless the case gives another."""

SHOWN_BYTES = 2048
"""A file of the snapshot up to this size is shown as text; of a larger one its blob id."""

STATE_BYTES = 16_000
"""A state up to this size is shown; of a larger one the digest says enough."""

_PROSE = frozenset({"detail", "why"})
"""Members of rows that are for people: every implementation has its own words."""

_TABLES = (
    "deltas", "held", "ended", "duplicates", "misfits", "quarantined", "conflicts", "claims", "violations", "books",
)  # fmt: skip


class World:
    """The repository of one case, with the names of its commits."""

    def __init__(self, given: Record) -> None:
        micros = utc_micros(given.get("now", NOW))
        if micros is None:
            raise ValueError(f"now is {given['now']!r}, not a time")
        self.now = micros
        self.store = MemoryStore()
        self.oids: dict[str, str] = {}
        open_first(self.store, given.get("first_frame", 1), micros, Closing("manual"), MAIN)
        self.oids["init"] = self.store.refs()[MAIN]
        if given.get("settings") is not None:
            self.commit({"commit": "settings", "ref": "main", "files": {paths.SETTINGS: given["settings"]}})
        self.primary = Primary(self.store, "main", Closing("manual"), lambda: micros)

    def commit(self, step: Record) -> None:
        """Commit files on a ref: upon the commits that `parents` name, else upon what the ref has, else upon
        nothing."""
        if step["commit"] in self.oids:
            raise ValueError(f"two commits have the name {step['commit']!r}")
        store, ref = self.store, f"refs/heads/{step['ref']}"
        old = store.refs().get(ref)
        parents = [self.oids[name] for name in step["parents"]] if "parents" in step else [old] if old else []
        changes = {path: self._entry(file) for path, file in step["files"].items()}
        tree = edit(store, store.commit(parents[0]).tree if parents else None, changes)
        made = Commit(
            tree or store.write("tree", b""), tuple(parents), step.get("author", WORKER), self.now // 1_000_000,
            f"{step['commit']}\n",
        )  # fmt: skip
        oid = store.write_commit(made)
        if "signed_by" in step:
            store.signatures[oid] = read_signers([f"x {step['signed_by']}"], []).signers[0].fingerprint
        self.oids[step["commit"]] = oid
        store.flush()
        self._move(ref, oid)

    def _entry(self, file: Json) -> Entry | None:
        """A file of a commit: its bytes, null for one that is removed, or `{"mode", "bytes"}`."""
        if file is None:
            return None
        if isinstance(file, dict) and "mode" in file:
            return Entry(int(file["mode"], 8), self.store.write("blob", bytes_of(file["bytes"])))
        return Entry(FILE, self.store.write("blob", bytes_of(file)))

    def move(self, step: Record) -> None:
        """Move a ref to a commit by name, or delete it, as a forced push would. The primary looks first, since only
        what it has seen can be noticed as missing."""
        self.primary.read_inbox()
        self._move(f"refs/heads/{step['move']}", None if step["to"] is None else self.oids[step["to"]])

    def _move(self, ref: str, oid: str | None) -> None:
        if not self.store.move_refs([Move(ref, oid, self.store.refs().get(ref))], "push"):
            raise AssertionError("nobody else moves refs here")

    def close(self) -> Record:
        """Close the open frame; returns what can be seen of it."""
        report = close_frame(self.primary, "manual")
        if report.ledger is None or report.commit is None:
            raise AssertionError("nobody else closes frames here")
        ledger = report.ledger
        self.oids[f"frame {ledger.frame}"] = report.commit
        names = {oid: name for name, oid in self.oids.items()}
        return {"frame": str(ledger.frame), "digest": ledger.snapshot, "ledger": dict(_ledger(ledger, names))}

    def state(self) -> Record:
        """What the last closed frame left: merged ids, records, the files of the snapshot, views."""
        base = self.primary.load_published(self.store.refs())
        if base.snapshot is None or base.tree is None:
            raise AssertionError("a frame is closed before this is asked")
        raw = b"".join(export(self.store, base.snapshot, base.state.last_closed, base.settings.table, None))
        exported = decode_exact(raw)
        found: Record = {"merged": exported["merged"]}
        if len(raw) <= STATE_BYTES:
            found["state"] = {
                name: [canonical(record).decode() for record in records]
                for name, records in exported["state"].items()
                if records
            }
        found["snapshot"] = {path: self._shown(entry.oid) for path, entry in sorted(walk(self.store, base.snapshot))}
        if base.settings.views:
            found["views"] = {}
            for view in base.settings.views.values():
                entry = lookup(self.store, base.tree, view.path)
                found["views"][view.path] = entry and bytes_as(self.store.read(entry.oid))
        return found

    def _shown(self, oid: str) -> Json:
        raw = self.store.read(oid)
        return bytes_as(raw) if len(raw) <= SHOWN_BYTES else {"id": oid}


def history(given: Record) -> Json:
    """The digest and the ledger of each frame that the steps close, and the state after the last one."""
    world = World(given)
    frames = []
    for step in given["steps"]:
        if "commit" in step:
            world.commit(step)
        elif "move" in step:
            world.move(step)
        elif "close" in step:
            frames += [world.close() for _ in range(step["close"])]
        else:
            raise ValueError(f"a step is commit, move or close, and not {sorted(step)}")
    return {"frames": frames, **world.state()}


def _ledger(ledger: Ledger, names: dict[str, str]) -> Iterator[tuple[str, Json]]:
    """The members of a ledger that vectors fix: rows as canonical JSON, without prose, commits by name."""
    yield "previous", ledger.previous
    yield "settings", ledger.settings
    yield "counts", canonical(ledger.counts).decode()
    change = ledger.settings_change
    if change is not None:
        yield "settings_change", canonical(structs.replace(change, commit=names.get(change.commit or ""))).decode()
    for table in _TABLES:
        rows = getattr(ledger, table)
        if rows:
            yield table, _rows(_misfits(rows) if table == "misfits" else rows, names)


def _misfits(rows: Iterable[MisfitRow]) -> list[Record]:
    """Misfits counted by delta and section: the cause is prose."""
    counted: dict[tuple[str, str, str], int] = {}
    for row in rows:
        where = (row.path, row.blob, row.section)
        counted[where] = counted.get(where, 0) + row.records
    return [
        {"path": path, "blob": blob, "section": section, "records": count}
        for (path, blob, section), count in counted.items()
    ]


def _rows(rows: Iterable[object], names: dict[str, str]) -> list[str]:
    shown = []
    for row in rows:
        members = {name: one for name, one in decode_exact(canonical(row)).items() if name not in _PROSE}
        if members.get("commit") is not None:
            members["commit"] = names[members["commit"]]
        shown.append(canonical(members).decode())
    return shown
