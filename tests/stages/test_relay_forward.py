"""Which commits a relay forwards, and by which heads: over random histories."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.git.reachability import reach_within
from dreamcatcherd.stages.relay_forward import heads_among, within_reach

Histories = dict[str, Commit]
TREE = "0" * 40


@st.composite
def histories(draw: st.DrawFn) -> Histories:
    """Commits named by number; each has earlier ones as parents, or one that upstream has. Some closed a frame."""
    found: Histories = {}
    for number in range(draw(st.integers(1, 12))):
        parents = draw(st.lists(st.sampled_from([*found, "upstream"]), max_size=3, unique=True))
        message = draw(st.sampled_from(["work\n", "frame\n\nDreamcatcher-Frame: 1\n"]))
        found[f"{number:02}"] = Commit(TREE, tuple(parents), "w <w>", number, message)
    return found


def is_snapshot(commit: Commit) -> bool:
    return "Dreamcatcher-Frame" in commit.message


@given(histories())
def test_heads_lead_to_every_commit_of_a_worker_and_none_leads_to_another(commits: Histories) -> None:
    """What is pushed with the heads as parents is complete, and no head is superfluous."""
    heads = heads_among(commits)
    reached = {oid for head in heads for oid in reach_within(commits, head)}
    assert reached >= {oid for oid, commit in commits.items() if not is_snapshot(commit)}
    assert not any(is_snapshot(commits[head]) for head in heads)
    for head in heads:
        assert not any(head in reach_within(commits, other) for other in heads if other != head)


@given(histories(), st.integers(1, 12), st.data())
def test_a_part_of_a_history_has_no_commit_without_its_parents(
    commits: Histories, most: int, data: st.DataObject
) -> None:
    """Whatever the tips and the bound are, the part is closed under parents, and all of it if the bound allows."""
    tips = data.draw(st.lists(st.sampled_from(sorted(commits)), min_size=1))
    part = within_reach(commits, tips, most)
    every = {oid for tip in tips for oid in reach_within(commits, tip)}
    assert len(part) == min(most, len(every))
    assert part.keys() <= every
    seen: set[str] = set()
    for oid, commit in part.items():
        assert {parent for parent in commit.parents if parent in commits} <= seen
        seen.add(oid)
