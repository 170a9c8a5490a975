"""The merge of a snapshot with new deltas: what stands, what was lost, and what it costs.

Contract: docs/protocol.md#the-merge."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dreamcatcherd.core.merge
import dreamcatcherd.core.snapshot
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.merge import Merged
from dreamcatcherd.core.model import Delta, Misfit
from dreamcatcherd.core.settings import read_settings
from dreamcatcherd.core.snapshot import APPENDED, EXTRAS, FILE_BYTES, MERGED
from dreamcatcherd.core.tree import changed
from tests.core.tools import Heap, delta, files, merged, state

TABLE = read_settings(
    b'[collections.claims]\nkey = ["resource"]\nrule = "first"\n'
    b'[collections.scores]\nkey = ["player"]\nrule = "max"\n'
    b'[collections.tags]\nkey = ["page"]\nrule = "union"\n'
).table


# Misfits and counts -----------------------------------------------------------------------------------------------


def test_a_misfit_is_kept_and_named() -> None:
    """A record without a usable key goes to the extras of its section, with the delta and the reason."""
    heap = Heap()
    one = delta(1, 1, "a", posts_created=[{"title": "lost"}, {"number": 2}], reactions_added=True, dreams=[1])
    found = merged(heap, [one])
    assert found.misfits == [
        Misfit("posts_created", one.stamp, "no discussion_number"),
        Misfit("reactions_added", one.stamp, "not an object"),
    ]
    assert found.added == {"posts": 1, "extra": 3}
    assert state(heap, found.tree, "extra/posts_created") == [{"title": "lost"}]
    assert state(heap, found.tree, "extra/reactions_added") == [{"value": True}]


def test_only_new_entities_are_counted() -> None:
    """`added` counts what the snapshot has more than before, all extras together."""
    heap = Heap()
    first = merged(heap, [delta(1, 1, posts_created=[1, 2], observations=[1], dreams=[1], moods=[1, 2])])
    assert first.added == {"posts": 2, "observations": 1, "extra": 3}
    again = merged(heap, [delta(1, 2, posts_created=[2, 3, 3], dreams=[1])], first.tree)
    assert again.added == {"posts": 1, "extra": 1}


# The snapshot -----------------------------------------------------------------------------------------------------


def test_merging_nothing_changes_nothing() -> None:
    """An empty frame has the digest of the one before it."""
    heap = Heap()
    found = merged(heap, [delta(posts_created=[1])])
    assert merged(heap, [], found.tree) == Merged(found.tree, [], [], {}, [], claims=[])
    assert merged(heap, []) == Merged("41f92ede8947d7a056a0fe94f5b81c615299b27a", [], [], {}, [], claims=[])


def a_fleet(count: int) -> list[Delta]:
    """Deltas of every kind that collide now and then, enough to split the larger files."""
    chance = Random(11)
    return [
        delta(
            1 + number % 3,
            number // 2,
            f"s{number % 7}",
            posts_created=[{"number": chance.randrange(900), "title": number % 5}, {"title": number}],
            comments_added=[{"discussion": 1, "author": f"a{number % 90}", "body": f"b{chance.randrange(9)}"}],
            profile_updates={f"agent-{chance.randrange(400)}": {"mood": number % 3}},
            counters={"all": 1, f"c{chance.randrange(5)}": number},
            observations=[number],
            claims=[{"resource": chance.randrange(50), "by": number}],
            scores=[{"player": chance.randrange(50), "best": number}],
            tags=[{"page": chance.randrange(50), "tags": [number % 9]}],
            **{f"section {number % 40}": [number]},
        )
        for number in range(count)
    ]


def test_the_bytes_of_a_snapshot_stay_what_they_are() -> None:
    """This set has this digest for ever: other bytes would be another format, and need another format's name."""
    assert merged(Heap(), a_fleet(600), table=TABLE).tree == "e9f36712c937f678f4738ed4f467b22038b91f06"


@pytest.mark.parametrize("most", [FILE_BYTES, 3_000])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chance=st.randoms(use_true_random=False))
def test_any_order_and_any_batches_give_the_same_digest(
    most: int, chance: Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of deltas in random batches, each batch late or early to others, end in the same tree and counts."""
    monkeypatch.setattr(dreamcatcherd.core.snapshot, "FILE_BYTES", most)
    monkeypatch.setattr(dreamcatcherd.core.snapshot, "MERGED", MERGED._replace(most_bytes=most))
    monkeypatch.setattr(dreamcatcherd.core.merge, "APPENDED", APPENDED._replace(most_bytes=most))
    monkeypatch.setattr(dreamcatcherd.core.merge, "EXTRAS", EXTRAS._replace(most_bytes=most))
    deltas, heap = a_fleet(400), Heap()
    whole = merged(heap, deltas, table=TABLE)
    assert max(map(len, files(heap, whole.tree).values())) <= max(most, 10_000)
    chance.shuffle(deltas)
    tree: str | None = None
    added: dict[str, int] = {}
    misfits = 0
    while deltas:
        size = chance.randint(1, 150)
        found = merged(heap, deltas[:size], tree, TABLE)
        tree, deltas = found.tree, deltas[size:]
        misfits += len(found.misfits)
        for name, count in found.added.items():
            added[name] = added.get(name, 0) + count
    assert (tree, added, misfits) == (whole.tree, whole.added, len(whole.misfits))


def test_a_merge_costs_what_it_touches() -> None:
    """Among 20,000 posts, one post's change reads and writes its file, the merged ids' file and their folders alone."""
    heap = Heap()
    before = merged(heap, [delta(1, n, posts_created=list(range(n, 20_000, 20))) for n in range(20)]).tree
    heap.forget_counts()
    after = merged(heap, [delta(2, posts_created=[{"number": 12_345, "title": "new"}])], before).tree
    assert max(len(heap.reads), len(heap.writes)) <= 10
    changes = dict(changed(heap, after, [before]))
    assert sorted(changes) == ["merged.jsonl", "state/posts/k/1/2/3.jsonl"]
    was = files(heap, before)["state/posts/k/1/2/3.jsonl"].splitlines()
    now = files(heap, after)["state/posts/k/1/2/3.jsonl"].splitlines()
    assert len(was) == len(now) == 100
    assert len(set(now) - set(was)) == 1


def test_a_merge_leaves_the_deltas_as_they_were() -> None:
    """What was decoded once is used again by other primaries in the process: the merge changes nothing of it."""
    deltas = a_fleet(60)
    before = canonical([one.body for one in deltas])
    merged(Heap(), deltas, table=TABLE)
    assert canonical([one.body for one in deltas]) == before
