"""One mirror at work: a thread that looks at it now and then, reads its heads and brings it forward.

It asks nothing of the daemon's loop, and the loop waits for nothing here: a mirror that hangs delays no frame. What was
read is handed over as one complete value. Owns the thread, the waits after failures, and what is said of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from dreamcatcherd.core.errors import DreamcatcherError, RetryableError
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.troubles import Trouble, failing
from dreamcatcherd.daemon.backoff import Backoff
from dreamcatcherd.daemon.mirror_config import MirrorSite, said_of
from dreamcatcherd.daemon.mirror_copier import MirrorCopier
from dreamcatcherd.daemon.mirror_intake import MirrorIntake
from dreamcatcherd.git.disk_errors import known_failure
from dreamcatcherd.git.kept_refs import KeptRefs
from dreamcatcherd.git.mirror import MirrorWire
from dreamcatcherd.git.protocols import QueryReader
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.observe.logs import EventLogger
from dreamcatcherd.stages.mirror_copy import stuck_branch
from dreamcatcherd.stages.published import read_published


class MirrorBase(Struct, frozen=True):
    """What all mirrors of a repository work with: the shared branch (a full ref name), how long merged lanes stay, the
    refs that keep what they brought, and a reader for a thread of its own."""

    main: str
    lanes_keep_s: float
    kept: KeptRefs
    open_store: Callable[[], QueryReader]


class MirrorTask(Struct, frozen=True):
    """What the loop says of itself: its last publication, the refs of heads that need not be kept any longer, and those
    whose heads cannot be merged."""

    published: str
    dropping: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()


class StoppedError(Exception):
    """The daemon ends, or the mirror was taken out of its configuration."""


class MirrorKeeper:
    """One mirror. All but its thread's own functions may be called from any thread."""

    def __init__(self, mirror: MirrorSite, base: MirrorBase, logger: EventLogger, came: Callable[[], None]) -> None:
        """`came` is called when other heads are kept than before."""
        self.mirror = mirror
        self.base = base
        self.logger = logger
        self._came = came
        self._wire = MirrorWire(mirror.access, base.kept.folder, self._check_stop)
        self._intake = MirrorIntake(mirror, self._wire, base.kept)
        self._copier = MirrorCopier(self._wire)
        self._store: QueryReader | None = None
        self._task: MirrorTask | None = None
        self._noticed_s: float | None = None  # when a publication was noticed that may not be there, by the wall clock
        self._backoff = Backoff()
        self._failing: tuple[DreamcatcherError, int] | None = None
        self.heads: Mapping[str, str] = {}
        self.is_up = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mirror {mirror.table.name}", daemon=True)

    # From other threads -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look at the mirror."""
        self._thread.start()

    def look(self, task: MirrorTask) -> None:
        """What the loop found. A publication is copied at once, all else at the next look."""
        before, self._task = self._task, task
        if before is None or before.published != task.published:
            if self._noticed_s is None:
                self._noticed_s = time.time()
            self._wake.set()

    def stop(self) -> None:
        """End soon: git, where it runs, is ended too."""
        self._stop.set()
        self._wake.set()

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread, for so long at most."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def is_running(self) -> bool:
        """Whether its thread has not ended yet."""
        return self._thread.is_alive()

    def lag_s(self) -> float:
        """Seconds since the oldest publication was made that the mirror lacks; 0 if it lacks none, or gets none."""
        if not self.mirror.table.publish:
            return 0.0
        since = [moment for moment in (self._copier.behind_since, self._noticed_s) if moment is not None]
        return max(0.0, time.time() - min(since)) if since else 0.0

    def troubles(self) -> Iterator[Trouble]:
        """What a person should know of the mirror now."""
        name = self.mirror.table.name
        found = self._failing
        if found is not None:
            yield failing(RetryableError(*said_of(found[0], name)), found[1])
        if (lanes := self._copier.lanes_trouble) is not None:
            cause, remedy = said_of(lanes, name)
            yield Trouble(f"{cause}: its merged lanes are not deleted", None, remedy)
        if not self.mirror.table.intake and (head := self._copier.stuck_at) is not None:
            cause, remedy = stuck_branch(self.base.main, head)
            yield Trouble(f"mirror {name}: {cause}", None, remedy)
        for cause, remedy in self._intake.troubles():
            yield Trouble(cause, None, remedy)

    # In its own thread --------------------------------------------------------------------------------------------

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise StoppedError

    def _run(self) -> None:
        while not self._stop.is_set():
            wait_s = self.mirror.table.poll
            try:
                if (task := self._task) is not None:
                    self._look_at_it(task)
                    self._succeeded()
                else:  # what an earlier run kept counts, whether or not the mirror can be reached
                    self._hand_over(self._intake.kept_heads())
            except StoppedError:
                return
            except (DreamcatcherError, OSError) as error:
                wait_s = self._failed(known_failure(error, self.base.kept.folder))
            self._rest(wait_s)

    def _rest(self, seconds: float) -> None:
        """Wait for the next look; a publication ends the wait, unless the mirror wants to be left alone."""
        until = time.monotonic() + seconds
        while not self._stop.is_set() and (left_s := until - time.monotonic()) > 0:
            if self._wake.wait(left_s):
                self._wake.clear()
                if self._failing is None:
                    return

    def _look_at_it(self, task: MirrorTask) -> None:
        store = self._reader()
        store.refresh()
        table, main = self.mirror.table, self.base.main
        settings = read_published(store, task.published).settings
        self._intake.dropping, self._intake.blocked = task.dropping, task.blocked
        self._hand_over(self._intake.kept_heads())
        listed = self._intake.list_heads(main, settings)
        self._intake.judge(store, listed, task.published)
        if table.intake:
            self._hand_over(self._intake.read(store, listed, task.published, main))
        if table.publish:
            self._bring_forward(store, task, settings, listed)

    def _bring_forward(self, store: QueryReader, task: MirrorTask, settings: Settings, listed: dict[str, str]) -> None:
        main, keep_s = self.base.main, self.base.lanes_keep_s
        refs = self._copier.bring_forward(
            store, task.published, main, listed, lambda: self._intake.list_heads(main, settings)
        )
        if self._copier.behind_since is not None:
            return
        # Another publication may have come meanwhile; it is copied at once.
        came = self._task is not None and self._task.published != task.published
        self._noticed_s = time.time() if came else None
        lanes = {ref: oid for ref, oid in refs.items() if ref != main and settings.is_lane(ref)}
        for ref in self._copier.delete_lanes(store, task.published, lanes, keep_s, wall_clock() / 1e6):
            self.logger.info("lane removed", lane=ref, mirror=self.mirror.table.name)

    def _reader(self) -> QueryReader:
        if self._store is None:
            self._store = self.base.open_store()
        return self._store

    def _hand_over(self, heads: dict[str, str]) -> None:
        if heads != self.heads:
            self.heads = heads
            self._came()

    def _failed(self, error: DreamcatcherError) -> float:
        """Say so once for each kind of cause; returns the seconds to wait."""
        self._store = None
        self.is_up = False
        if self._failing is None or self._failing[0].kind != error.kind:
            cause, remedy = said_of(error, self.mirror.table.name)
            self.logger.warning("mirror failed", mirror=self.mirror.table.name, cause=cause, remedy=remedy)
        self._failing = (error, self._failing[1] if self._failing else wall_clock())
        self._came()
        return self._backoff.wait_s(error, self.mirror.table.retry)

    def _succeeded(self) -> None:
        self.is_up = True
        self._backoff.end()
        if self._failing is not None:
            after, self._failing = said_of(self._failing[0], self.mirror.table.name)[0], None
            self.logger.info("mirror recovered", mirror=self.mirror.table.name, after=after)
            self._came()
