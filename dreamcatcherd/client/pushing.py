"""Pushing deltas as a worker does, from Python and without a clone (docs/workers.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import structs

from dreamcatcherd.client.given import GivenAttachments, GivenDelta, check_attachments, read_given
from dreamcatcherd.client.lane import Declined, Landed, deliver, find_target, held_paths
from dreamcatcherd.client.outcomes import Pushed, find_receipts, wait_until_final
from dreamcatcherd.client.pace import persist
from dreamcatcherd.client.ready import Ready, Unfit, make_ready
from dreamcatcherd.client.session import Named, Session, Sight, connect
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.tree import read_tree, subtree

Progress = Callable[[Sight, float], None]
"""Called at each look while deltas are waited for, with what it showed and the seconds that are left."""


def push(
    repository: Named,
    deltas: GivenDelta | Sequence[GivenDelta],
    *,
    stream_id: str | None = None,
    attachments: GivenAttachments = (),
    wait_s: float | None = None,
    progress: Progress = lambda sight, left_s: None,
) -> list[Pushed]:
    """Push deltas to the lanes of their streams, and return what became of each, in the order given.

    `repository` is a path or URL, or a `RepositoryConfig` that names credentials too. A delta is the path of a file,
    its bytes, or a JSON object. With `stream_id`, each must be of that stream. `attachments` are files, or contents by
    the name that a `*_ref` field has; those beside a delta's file are found without. With `wait_s`, the call returns
    when all outcomes are final, or after so many seconds: those not final are `pending` then.

    A delta that would be quarantined is not pushed: its outcome is `refused`, like that of one that the server refuses.
    The others are pushed nevertheless. Pushing again is safe at any time: a delta that the repository has is a
    `duplicate`.

    UsageError: a file or an attachment is wrong. RetryableError: the repository did not answer, or not all deltas are
    known to have arrived; push them again. FatalError: git is missing, or the repository is damaged."""
    given = [deltas] if isinstance(deltas, (str, Path, bytes, Mapping)) else list(deltas)
    if not given:
        raise UsageError("there is no delta to push", "name one")
    if wait_s is not None and not wait_s >= 0:
        raise UsageError(f"wait_s is {wait_s}", "give a number of seconds, 0 or more")
    with connect(repository) as session:
        sight = persist(session.look)
        prepared = _prepared(given, attachments, sight, stream_id)
        return push_ready(session, sight, prepared, wait_s, progress)


def push_ready(
    session: Session,
    sight: Sight,
    prepared: Sequence[Ready | Unfit],
    wait_s: float | None,
    progress: Progress,
) -> list[Pushed]:
    """Push what was judged, and wait if `wait_s` is given; errors are those of `push`."""
    rows: dict[int, Pushed] = {at: refused_row(one) for at, one in enumerate(prepared) if isinstance(one, Unfit)}
    streams: dict[str, list[tuple[int, Ready]]] = {}
    first: dict[str, int] = {}
    for at, one in enumerate(prepared):
        if isinstance(one, Ready) and first.setdefault(one.path, at) == at:
            streams.setdefault(one.stream_id, []).append((at, one))
    # One commit for each stream: a lane is one stream's, and the server checks each push from the start.
    for group in streams.values():
        rows |= _push_stream(session, sight, group)
    for at, one in enumerate(prepared):
        if isinstance(one, Ready) and at not in rows:
            rows[at] = _repeated(rows[first[one.path]], one.name)
    ordered = [rows[at] for at in range(len(prepared))]
    if wait_s is not None:
        ordered = wait_until_final(session, sight, ordered, wait_s, progress)
    return ordered


def _prepared(
    given: Iterable[GivenDelta], attachments: GivenAttachments, sight: Sight, stream_id: str | None
) -> list[Ready | Unfit]:
    attachments = attachments if isinstance(attachments, Mapping) else list(attachments)
    limits = sight.settings.limits
    read = [read_given(one, attachments, limits) for one in given]
    check_attachments(attachments, read)
    return [make_ready(one, sight.settings, sight.frame.frame, stream_id) for one in read]


def _push_stream(session: Session, sight: Sight, group: Sequence[tuple[int, Ready]]) -> dict[int, Pushed]:
    """Push one stream's deltas in one commit; if that is refused, each by itself, since only one may be at fault."""
    landed = {at: _on_branch(session, sight, one) for at, one in group}
    left = [(at, one) for at, one in group if landed[at] is None]
    found = {at: _known_before(session, sight, row, one) for at, one in group if (row := landed[at]) is not None}
    if not left:
        return found
    answer = deliver(session, sight, [one for _, one in left])
    if isinstance(answer, Declined) and len(left) > 1:
        for one in left:
            found |= _push_stream(session, sight, [one])
        return found
    return found | {at: _answered(session, sight, one, answer) for at, one in left}


def seen_before(session: Session, sight: Sight, one: Ready) -> Pushed | None:
    """What became of a delta that was pushed before: on the shared branch, or waiting on its lane; None if it is on
    neither. RetryableError if the repository does not answer."""
    row = _on_branch(session, sight, one)
    if row is None:
        target = persist(lambda: find_target(session, sight.settings, one.stream_id))
        if one.path not in held_paths(session.clone, target.head, [one]):
            return None
        row = structs.replace(_row(one), ref=target.ref, commit=target.head)
    return _found(session, sight, row, one)


def _on_branch(session: Session, sight: Sight, one: Ready) -> Pushed | None:
    """The row of a delta that is on the shared branch: pushed by this client, or, if it has no attachments, as the same
    file under another name. None if it is not there."""
    clone, (folder, _, own) = session.clone, one.path.rpartition("/")
    entries = read_tree(clone, subtree(clone, sight.tree, folder))
    name = own if own in entries else next((name for name, entry in entries.items() if entry.oid == one.blob), None)
    if name is None or entries[name].oid != one.blob or (name != own and len(one.files) > 1):
        return None
    return structs.replace(_row(one), path=f"{folder}/{name}", ref=session.main, commit=sight.main)


def _repeated(row: Pushed, name: str) -> Pushed:
    """The row of a delta that was given before in the same call."""
    if row.outcome != "pending":
        return structs.replace(row, name=name)
    return structs.replace(row, name=name, outcome="duplicate", reason="pending", detail="it was given twice")


def _known_before(session: Session, sight: Sight, row: Pushed, one: Ready) -> Pushed:
    """The row of a delta that the repository had already, with what the ledgers say about it."""
    again = structs.replace(row, outcome="duplicate", reason="pending", detail="the repository has it already")
    return _found(session, sight, again, one)


def _found(session: Session, sight: Sight, row: Pushed, one: Ready) -> Pushed:
    """The row of a delta that the repository had before, with what the ledgers say about it."""
    (found,) = find_receipts(session, sight, [row], one.frame)
    if not found.final:
        return found
    # What is merged already is not merged at the next close.
    return structs.replace(found, warnings=tuple(text for text in found.warnings if text not in one.lateness))


def _answered(session: Session, sight: Sight, one: Ready, answer: Landed | Declined) -> Pushed:
    row = _row(one)
    if isinstance(answer, Declined):
        return structs.replace(row, outcome="refused", reason=answer.reason, detail=answer.detail, at=answer.at)
    # The server's check gives the same warnings as this side, and may give others.
    more = tuple(text for text in answer.said if not any(text.endswith(known) for known in row.warnings))
    row = structs.replace(row, ref=answer.ref, commit=answer.commit, warnings=(*row.warnings, *more))
    return _known_before(session, sight, row, one) if one.path in answer.again else row


def _row(one: Ready) -> Pushed:
    warnings = (*one.lateness, *one.warnings)
    return Pushed(one.name, one.path, one.blob, None, None, "pending", one.stream_id, warnings=warnings)


def refused_row(one: Unfit) -> Pushed:
    """The row of a delta that would be quarantined."""
    fault = one.fault
    return Pushed(
        one.name, None, one.blob, None, None, "refused", one.stream_id,
        reason=fault.reason, detail=fault.detail, at=fault.at,
    )  # fmt: skip
