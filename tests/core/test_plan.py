"""What a close would do with each arrival (docs/protocol.md#a-delta)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.model import Arrival, Delta, DeltaArrival, Fault, Reject, RejectArrival, Version
from dreamcatcherd.core.plan import KnownBefore, Plan, make_plan
from dreamcatcherd.core.settings import Limits
from dreamcatcherd.core.snapshot import MergedId

FRAME = 10
LIMITS = Limits(frames_ahead=3)


def delta(frame: int, content: str = "c", *, utc: int = 0, commit: str = "1", path: str = "a") -> Delta:
    version = Version(f"state/stream_deltas/{frame}/{path}.json", content, 0o100644, commit)
    return Delta(version, frame, utc, "s", content, {}, ("frame", "utc", "stream_id"))


def arrival(
    frame: int,
    content: str = "c",
    *,
    source: str = "main",
    since: int | None = None,
    commit: str = "1",
    path: str = "a",
) -> DeltaArrival:
    return DeltaArrival(delta(frame, content, commit=commit, path=path), source, since)


def reject(commit: str = "1", since: int | None = None) -> RejectArrival:
    version = Version("state/stream_deltas/x.json", "b", 0o100644, commit)
    return RejectArrival(Reject(version, Fault("bad-name", "no frame")), "main", since)


def known(*merged: MergedId) -> KnownBefore:
    """What a snapshot that has merged these content ids answers."""

    def before(ids: Iterable[MergedId]) -> set[MergedId]:
        return set(ids) & set(merged)

    return before


def plan(*arrivals: Arrival, merged: Sequence[MergedId] = (), frame: int = FRAME) -> Plan:
    return make_plan(arrivals, frame, LIMITS, known(*merged))


def test_nothing_arrives_and_nothing_is_planned() -> None:
    """An empty frame has an empty plan."""
    assert plan() == Plan(FRAME, [], [], [], [])


def test_a_delta_of_the_open_frame_is_merged() -> None:
    """A delta for this frame goes in as it came."""
    one = arrival(FRAME)
    assert plan(one) == Plan(FRAME, [one], [], [], [])


def test_a_late_delta_is_merged_like_any_other() -> None:
    """Lateness is no reason for quarantine, and the late delta stands where its key puts it."""
    late, new = arrival(0, "late"), arrival(FRAME, "new")
    assert plan(new, late).deltas == [late, new]


def test_an_early_delta_is_held_up_to_the_limit() -> None:
    """A frame within the limit ahead is held, the next one is too far."""
    near, last, far = arrival(FRAME + 1, "n"), arrival(FRAME + 3, "l"), arrival(FRAME + 4, "f")
    found = plan(far, last, near)
    assert found.held == [near, last]
    assert [one.item.version for one in found.quarantined] == [far.item.version]


def test_a_delta_too_far_ahead_says_so() -> None:
    """It is quarantined at its frame, keeps where it came from, and is no delta of the plan any more."""
    far = arrival(FRAME + 4, source="dc/s", since=9)
    (found,) = plan(far).quarantined
    assert isinstance(found.item, Reject)
    assert (found.item.version, found.source, found.since) == (far.item.version, "dc/s", 9)
    assert (found.item.fault.reason, found.item.fault.at) == ("too-far-ahead", "$.frame")


def test_too_far_ahead_is_judged_again_at_every_close() -> None:
    """The same delta is quarantined, then held, then merged, as the frames go by."""
    one = arrival(20, since=10)
    lists = [plan(one, frame=frame) for frame in (16, 17, 19, 20)]
    assert [len(found.quarantined) for found in lists] == [1, 0, 0, 0]
    assert [found.held for found in lists] == [[], [one], [one], []]
    assert [found.deltas for found in lists] == [[], [], [], [one]]


def test_what_is_merged_already_is_a_duplicate() -> None:
    """Content that the snapshot has counts no second time, under whatever path or ref it comes."""
    one, two = arrival(9, "old"), arrival(9, "old", path="b", source="dc/s")
    assert plan(one, two, merged=[(9, "old")]) == Plan(FRAME, [], [one, two], [], [])


def test_the_same_content_of_another_frame_is_another_delta() -> None:
    """Content ids are known by frame."""
    one = arrival(FRAME, "c")
    assert plan(one, merged=[(9, "c")]).deltas == [one]


def test_of_equal_arrivals_one_is_merged() -> None:
    """A delta that comes both ways counts once, and the shared branch's version stands for it."""
    lane, main = arrival(FRAME, source="dc/s", commit="1"), arrival(FRAME, commit="2")
    assert plan(lane, main) == Plan(FRAME, [main], [lane], [], [])


def test_a_held_version_stands_before_a_new_one() -> None:
    """What a ledger listed already goes on standing for its content, so that its row is settled."""
    held, new = arrival(FRAME, source="dc/s", since=8), arrival(FRAME, commit="0")
    assert plan(new, held) == Plan(FRAME, [held], [new], [], [])


def test_equal_early_arrivals_are_held_once() -> None:
    """Of two early copies one is held and the other is a duplicate."""
    one, two = arrival(FRAME + 1, commit="1"), arrival(FRAME + 1, commit="2")
    assert plan(two, one) == Plan(FRAME, [], [two], [one], [])


def test_deltas_are_in_order_of_their_stamps() -> None:
    """Frame goes before time, time before stream and content, never the order of arrival."""
    items = [
        delta(9, "z", utc=5),
        delta(FRAME, "b", utc=1),
        delta(FRAME, "a", utc=2),
        delta(FRAME, "c", utc=2),
    ]
    arrivals = [DeltaArrival(item, "main") for item in items]
    assert plan(*reversed(arrivals)).deltas == arrivals


def test_a_reject_is_quarantined_as_it_is() -> None:
    """What cannot be read is listed with its own reason, each version by itself."""
    one, two = reject("1"), reject("2", since=4)
    assert plan(two, one) == Plan(FRAME, [], [], [], [one, two])


def test_of_far_copies_of_one_delta_one_waits() -> None:
    """A delta that is too far ahead is quarantined once; the same content again is a duplicate."""
    copies = [arrival(FRAME + 9, commit="1"), arrival(FRAME + 9, commit="2")]
    found = plan(*copies)
    assert [[one.item.version.commit for one in some] for some in (found.quarantined, found.duplicates)] == [
        ["1"],
        ["2"],
    ]
    assert found.far == copies[:1]


def test_what_waits_already_is_a_duplicate() -> None:
    """An early delta whose content waits since an earlier frame does not wait twice, however far its frame is."""
    early = [arrival(FRAME + 1, commit="1"), arrival(FRAME + 9, "d", commit="2")]
    waits = known(*((one.item.frame, one.item.content_id) for one in early if isinstance(one.item, Delta)))
    found = make_plan(early, FRAME, LIMITS, known(), waits)
    assert (found.duplicates, found.held, found.quarantined, found.far) == (early, [], [], [])


@st.composite
def many(draw: st.DrawFn) -> list[Arrival]:
    """Arrivals of few contents by many ways; each has a commit of its own, so that it can be told apart."""
    found: list[Arrival] = []
    for number in range(draw(st.integers(0, 9))):
        commit, since = f"{number:02}", draw(st.sampled_from([None, None, 8, 9]))
        if draw(st.integers(0, 5)) == 0:
            found.append(reject(commit, since))
            continue
        frame = draw(st.integers(FRAME - 2, FRAME + 5))
        path, source = draw(st.sampled_from("ab")), draw(st.sampled_from(["main", "dc/s", "dc/s/x"]))
        content = draw(st.sampled_from("xyz"))
        item = delta(frame, content, utc=ord(content) % 2, commit=commit, path=path)
        found.append(DeltaArrival(item, source, since))
    return found


merged_sets = st.sets(st.tuples(st.integers(FRAME - 2, FRAME + 2), st.sampled_from("xyz")), max_size=4)


@settings(max_examples=150)
@given(many(), merged_sets)
def test_every_arrival_ends_in_exactly_one_list(arrivals: list[Arrival], merged: set[MergedId]) -> None:
    """What a commit makes reachable is accounted for once, and each content is merged or held at most once."""
    found = make_plan(arrivals, FRAME, LIMITS, known(*merged))
    lists: list[Sequence[Arrival]] = [found.deltas, found.duplicates, found.held, found.quarantined]
    ended = sorted(one.item.version.commit for ends in lists for one in ends)
    assert ended == sorted(one.item.version.commit for one in arrivals)
    taken = [(one.item.frame, one.item.content_id) for one in found.deltas + found.held if isinstance(one.item, Delta)]
    sent = {(one.item.frame, one.item.content_id) for one in arrivals if isinstance(one.item, Delta)}
    assert len(taken) == len(set(taken)) == len(found.deltas) + len(found.held)
    assert set(taken) == {one for one in sent if one[0] <= FRAME + 3} - merged
    assert all(isinstance(one.item, Reject) for one in found.quarantined)


@settings(max_examples=100)
@given(many(), merged_sets, st.randoms(use_true_random=False))
def test_a_plan_does_not_depend_on_the_order_of_arrival(
    arrivals: list[Arrival], merged: set[MergedId], random: Random
) -> None:
    """The same arrivals in any order give the same plan, list for list."""
    shuffled = list(arrivals)
    random.shuffle(shuffled)
    first, second = (make_plan(some, FRAME, LIMITS, known(*merged)) for some in (arrivals, shuffled))
    assert first == second
