"""What waits to be merged: the value that ingest makes of a view, and that the plan is made of."""

from __future__ import annotations

from msgspec import Struct

from dreamcatcherd.core.model import Arrival
from dreamcatcherd.core.paths import Roots
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.git.reachability import reach_within
from dreamcatcherd.stages.fetch import View
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.unreadable import Unreadable


class Rewind(Struct, frozen=True):
    """A lane, or `main`, that no longer holds what it held at an earlier look; `new` is None if it was deleted."""

    ref: str
    old: str
    new: str | None

    @property
    def detail(self) -> str:
        return f"it no longer holds {self.old}" if self.new else f"it was deleted at {self.old}"


class Inbox(Struct, frozen=True):
    """What waits to be merged, as one view shows it.

    `lanes` are the lane heads that bring new commits, as (ref, commit): of a rewound lane both the old head and the new
    one, the head from which `main` was rewound, and, if `main`'s head cannot be read, the nearest commits below it that
    can. `commits` are all new commits.
    `unreadable` are commits that were passed over; of these, no ledger names the `unreported` ones yet."""

    view: View
    lanes: list[tuple[str, str]]
    commits: dict[str, Commit]
    arrivals: list[Arrival]
    rewinds: tuple[Rewind, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    unreported: tuple[Unreadable, ...] = ()

    def shows_the_same(self, other: Inbox) -> bool:
        """Whether the same waits in another inbox of the same reader. Contents are compared as objects, which costs
        nothing for each ref and delta."""
        return self.view.shows_the_same(other.view) and all(
            one is that
            for one, that in (
                (self.lanes, other.lanes),
                (self.commits, other.commits),
                (self.arrivals, other.arrivals),
                (self.rewinds, other.rewinds),
                (self.unreadable, other.unreadable),
                (self.unreported, other.unreported),
            )
        )

    @property
    def refs(self) -> dict[str, str]:
        """All refs of the view."""
        return self.view.refs

    @property
    def main(self) -> str:
        """The shared branch, as a full ref name."""
        return self.view.main

    @property
    def head(self) -> str | None:
        """The commit of `main`; None if there is none that can be read."""
        return self.view.head

    @property
    def published(self) -> PublishedState:
        """The state that the open frame builds on."""
        return self.view.published

    @property
    def settings(self) -> Settings:
        """The settings that the open frame is merged under."""
        return self.view.settings

    @property
    def kept_roots(self) -> Roots:
        """The delta roots that were roots at the last publication: deltas that leave them are put back."""
        before = self.published.settings.intake.roots
        return tuple(root for root in self.settings.intake.roots if root in before)

    def main_holds(self, commit: str) -> bool:
        """Whether `main` has the published commit in its history: then its new commits lead back to it."""
        reached = reach_within(self.commits, self.head)
        return self.head == commit or any(commit in self.commits[oid].parents for oid in reached)
