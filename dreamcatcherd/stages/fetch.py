"""Stage 1, fetch: one look at the refs, with the published state and the settings that hold at that moment.

The `View` serves the entire close: no later stage asks for refs again, so all of them work on the same repository."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct, structs

from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.paths import PUBLISHED
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.git.protocols import Store
from dreamcatcherd.stages.published import PublishedState, load_published, read_published
from dreamcatcherd.stages.settings import current_settings
from dreamcatcherd.stages.unreadable import readable_refs


class View(Struct, frozen=True):
    """The repository at one moment. `main` is the shared branch's full ref name and `head` its commit, None if it does
    not exist or cannot be read. `refused` says why the settings on `main` do not count, if they do not. `seen_at` is in
    microseconds UTC."""

    refs: dict[str, str]
    main: str
    head: str | None
    published: PublishedState
    settings: Settings
    refused: str | None = None
    seen_at: int = 0

    def shows_the_same(self, other: View) -> bool:
        """Whether another view shows the same repository, at whatever time. Refs and published state are compared as
        objects, which costs nothing for each ref: a store gives the same ones out while nothing changes."""
        return (
            self.refs is other.refs
            and self.published is other.published
            and (self.main, self.head, self.refused) == (other.main, other.head, other.refused)
            and self.settings == other.settings
        )


class Fetcher:
    """Fetches one view after another. What it remembers is a cache: without it the same is read from git again."""

    def __init__(self, main: str) -> None:
        self._main = main
        self._known: tuple[tuple[str | None, str | None], PublishedState] | None = None
        self._remembered: str | None = None
        self._last: View | None = None
        self._seen: tuple[dict[str, str], Mapping[str, str]] | None = None

    def fetch(self, store: Store, now: int, beside: Mapping[str, str] = MappingProxyType({})) -> View:
        """Look at the refs (microseconds UTC `now`); FatalError if the published commit cannot be read.

        `beside` are refs that the store does not list: what mirrors brought to the clone of a remote."""
        listed = store.refs()
        # The clone may have been made again meanwhile, without the objects that mirrors brought.
        beside = {ref: oid for ref, oid in beside.items() if ref in listed or store.resolve(oid) == oid}
        last, self._last = self._last, None
        same = self._seen is not None and self._seen[0] is listed and self._seen[1] == beside
        # Who may change the settings is a question of time: a view that refuses them is made again at each look.
        if last is not None and same and self._is_current(last.published) and last.refused is None:
            self._last = structs.replace(last, seen_at=now)
        else:
            self._last = self._view(store, {**listed, **beside} if beside else listed, beside, now)
        self._seen = (listed, beside)
        return self._last

    def _is_current(self, published: PublishedState) -> bool:
        return self._known is not None and self._known[1] is published

    def _view(self, store: Store, refs: dict[str, str], beside: Mapping[str, str], now: int) -> View:
        seen = readable_refs(store, refs, self._main)
        published = self.load_published(store, seen)
        settings, refused = current_settings(store, seen.get(self._main), published, now)
        # The settings name the prefix of the lanes. If it is new, the lanes below it have not been fetched yet; the
        # branch stays where it was, because the settings were read from that commit.
        if store.follow(settings.lane_prefix):
            refs = {**store.refs(), **beside, **{ref: oid for ref, oid in refs.items() if ref == self._main}}
        return View(refs, self._main, seen.get(self._main), published, settings, refused, now)

    def load_published(self, store: Store, refs: dict[str, str]) -> PublishedState:
        """The published state; read again only if a ref that decides it has moved."""
        # `main` counts too: a primary may have been stopped after it moved `main` and before the published ref.
        key = (refs.get(self._main), refs.get(PUBLISHED))
        if self._known is None or self._known[0] != key:
            known = self._known[1] if self._known else None
            self._known = (key, load_published(store, refs, self._main, store.recall(), known))
        published = self._known[1]
        # A commit that is on `main` alone is half a publication. If `main` is moved back before the published ref
        # follows, it has never been: another primary closes the frame, and remembering it would part the two for ever.
        if published.commit not in (None, self._remembered) and refs.get(PUBLISHED) in (None, published.commit):
            store.remember(published.commit)
            self._remembered = published.commit
        return published

    def advance(self, store: Store, commit: str, ledger: Ledger) -> PublishedState:
        """The published state after a publication of this primary: its ledger need not be read back."""
        published = read_published(store, commit, ledger)
        self._known = ((commit, commit), published)
        store.remember(commit)
        return published
