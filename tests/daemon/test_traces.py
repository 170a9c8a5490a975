"""One trace for each frame: what the daemon says of its closes (docs/protocol.md#traces)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.observe.families import PHASES
from dreamcatcherd.observe.frame_trace import TraceTarget
from tests.daemon.conftest import Start
from tests.daemon.tools import INTERVAL_S, Daemon, Scripted, new_store
from tests.law.fleet import MAIN, NOW, commit_files
from tests.observe.collector import Collector, Received, collecting
from tests.stages.tools import FOLDER, text

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


Traced = Callable[..., Daemon]


@pytest.fixture
def traced(start: Start, collector: Collector) -> Traced:
    """Makes a daemon that sends its traces to the collector."""

    def make(store: Scripted | None = None) -> Daemon:
        daemon = start(store)
        daemon.service.companions.traces.use(TraceTarget(collector.url + "/v1/traces", "memory"))
        return daemon

    return make


def roots(collector: Collector, *daemons: Daemon) -> list[Received]:
    """The roots of all traces, after everything that waits was sent."""
    for daemon in daemons:
        daemon.service.companions.traces.stop(60)
    return collector.named("frame")


def failing() -> None:
    raise RetryableError("the disk is full", "make room")


def test_a_frame_is_one_trace_with_a_span_for_each_phase(traced: Traced, collector: Collector) -> None:
    """The root says what the close did, and below it are the six phases in order, within its time."""
    daemon = traced()
    opened = daemon.store.refs()["refs/dreamcatcher/published"]
    for name in "ab":
        commit_files(daemon.store, MAIN, {f"{FOLDER}/1/{name}.json": text(stream=name)})
    daemon.step(1)
    daemon.step(INTERVAL_S)
    (root,) = roots(collector, daemon)
    ledger = daemon.service.primary.last
    assert ledger is not None
    published = ledger.published
    assert root.attributes == {
        "dreamcatcher.frame": 1,
        "dreamcatcher.closed_by": "interval",
        "dreamcatcher.outcome": "published",
        "dreamcatcher.races": 0,
        "dreamcatcher.links_left_out": 0,
        "dreamcatcher.digest": published.snapshot,
        "dreamcatcher.commit": published.commit,
        "dreamcatcher.deltas": 2,
        "dreamcatcher.streams": 2,
        "dreamcatcher.conflicts": 0,
        "dreamcatcher.late": 0,
        "dreamcatcher.duplicates": 0,
        "dreamcatcher.quarantined": 0,
        "dreamcatcher.repository": "memory",
    }
    assert root.trace_id == opened[:32]
    assert not root.span.parent_span_id
    phases = [one for one in collector.received if one is not root]
    assert [one.name for one in phases] == list(PHASES)
    for one in phases:
        assert (one.trace_id, one.span.parent_span_id) == (root.trace_id, root.span.span_id)
        assert root.span.start_time_unix_nano <= one.span.start_time_unix_nano
        assert one.span.end_time_unix_nano <= root.span.end_time_unix_nano
    assert root.span.start_time_unix_nano == (NOW + INTERVAL_S * 1_000_000) * 1_000
    assert root.resource["service.name"] == "dreamcatcherd"


def test_polls_are_no_traces(traced: Traced, collector: Collector) -> None:
    """A look that closes nothing sends nothing, and no thread is started for it."""
    daemon = traced()
    for second in range(1, 5):
        daemon.step(second)
    assert daemon.service.companions.traces._pipeline is None
    assert roots(collector, daemon) == []


def test_a_deltas_trace_context_becomes_a_link(traced: Traced, collector: Collector) -> None:
    """The root is linked with the span that the worker named; what is no trace context is no link, and is merged."""
    daemon = traced()
    context = f"00-{TRACE}-{SPAN}-01"
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/a.json": text(stream="alice", traceparent=context)})
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/b.json": text(stream="bob", traceparent=f"00-{'0' * 32}-{SPAN}-01")})
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/c.json": text(stream="carol", traceparent=[context])})
    daemon.step(INTERVAL_S)
    (root,) = roots(collector, daemon)
    (link,) = root.span.links
    assert (link.trace_id.hex(), link.span_id.hex()) == (TRACE, SPAN)
    assert [(one.key, one.value.string_value) for one in link.attributes] == [("dreamcatcher.stream_id", "alice")]
    assert root.attributes["dreamcatcher.deltas"] == 3


def test_an_early_delta_keeps_its_link_until_its_frame(traced: Traced, collector: Collector) -> None:
    """A delta that waits since an earlier frame is read again from the repository, its trace context as well."""
    daemon = traced()
    context = f"00-{TRACE}-{SPAN}-01"
    commit_files(daemon.store, MAIN, {f"{FOLDER}/2/a.json": text(2, stream="alice", traceparent=context)})
    daemon.step(INTERVAL_S)
    fresh = traced(Scripted(daemon.store))
    fresh.step(2 * INTERVAL_S)
    first, second = roots(collector, daemon, fresh)
    assert (list(first.span.links), [one.trace_id.hex() for one in second.span.links]) == ([], [TRACE])


def test_links_beyond_the_limit_are_counted(traced: Traced, collector: Collector) -> None:
    """A frame of 130 linked deltas has 128 links, and says that two are left out."""
    daemon = traced()
    files = {
        f"{FOLDER}/1/{number}.json": text(stream=f"s{number}", traceparent=f"00-{TRACE}-{number:016x}-01")
        for number in range(1, 131)
    }
    commit_files(daemon.store, MAIN, files)
    daemon.step(INTERVAL_S)
    (root,) = roots(collector, daemon)
    assert (len(root.span.links), root.attributes["dreamcatcher.links_left_out"]) == (128, 2)
    assert root.span.dropped_links_count == 0


def test_a_lost_race_is_another_attempt_of_the_same_trace(traced: Traced, collector: Collector) -> None:
    """What the second attempt did is below the same root, which says when it began and how many races were lost."""
    other = new_store()
    daemon = traced(Scripted(other))
    commit_files(other, MAIN, {f"{FOLDER}/1/a.json": text()})
    daemon.store.at_move = [lambda: [commit_files(other, MAIN, {"README": b"other"})].clear()]
    daemon.step(INTERVAL_S)
    (root,) = roots(collector, daemon)
    assert root.attributes["dreamcatcher.races"] == 1
    below = [(one.name, one.attributes["dreamcatcher.attempt"]) for one in collector.received if one is not root]
    assert below == [(phase, attempt) for attempt in (1, 2) for phase in PHASES]
    assert [one.name for one in root.span.events] == ["another attempt"]


def test_a_failed_close_is_a_trace_with_its_cause(traced: Traced, collector: Collector) -> None:
    """The root and the phase that failed have the status error; the close that went well is part of the same trace."""
    daemon = traced()
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/a.json": text()})
    daemon.store.at_move = [failing]
    daemon.step(INTERVAL_S)
    daemon.step(INTERVAL_S + 5)
    failed, closed = roots(collector, daemon)
    assert failed.trace_id == closed.trace_id
    assert (failed.span.status.code, failed.span.status.message) == (2, "the disk is full")
    assert failed.attributes["dreamcatcher.outcome"] == "failed"
    assert failed.attributes["error.type"] == "RetryableError"
    assert [one.name for one in collector.below(failed) if one.span.status.code == 2] == ["publish"]
    assert (closed.span.status.code, closed.attributes["dreamcatcher.outcome"]) == (0, "published")


def test_a_failed_poll_is_no_trace(traced: Traced, collector: Collector) -> None:
    """Only closes are traced: a repository that cannot be read is reported in other ways."""
    daemon = traced()
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/a.json": text()})
    daemon.store.at_move = [failing]
    daemon.step(INTERVAL_S)
    daemon.store.at_refs = [failing, failing]
    daemon.step(INTERVAL_S + 5)
    daemon.step(INTERVAL_S + 10)
    assert len(roots(collector, daemon)) == 1


def test_two_primaries_that_close_one_frame_make_one_trace(traced: Traced, collector: Collector) -> None:
    """The one that was first published it, the other one was overtaken; both roots have the same trace id."""
    store = new_store()
    one, two = traced(store), traced(Scripted(store))
    two.store.at_move = [lambda: [one.step()].clear()]
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text()})
    two.step(INTERVAL_S)
    found = roots(collector, one, two)
    outcomes = {root.attributes["dreamcatcher.outcome"] for root in found}
    assert outcomes == {"published", "overtaken"}
    assert len({root.trace_id for root in found}) == 1


def test_a_publication_that_landed_after_all_is_traced_by_the_poll_that_finds_it(
    traced: Traced, collector: Collector
) -> None:
    """A push whose answer was lost failed at first; the trace of the published frame follows, with its links."""
    daemon = traced()
    context = f"00-{TRACE}-{SPAN}-01"
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/a.json": text(traceparent=context)})
    move = daemon.store.move_refs

    def landed(moves: object, reason: str) -> bool:
        daemon.store.move_refs = move  # type: ignore[method-assign]
        move(moves, reason)  # type: ignore[arg-type]
        raise RetryableError("the answer was lost", "look at the network")

    daemon.store.move_refs = landed  # type: ignore[method-assign]
    daemon.step(INTERVAL_S)
    daemon.step(INTERVAL_S + 1)
    failed, published = roots(collector, daemon)
    outcomes = [root.attributes["dreamcatcher.outcome"] for root in (failed, published)]
    assert outcomes == ["failed", "published"]
    assert len(published.span.links) == 1
    assert [one.name for one in collector.below(published)] == list(PHASES)
