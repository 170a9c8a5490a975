"""A repository in memory, for tests of this project and of programs that use it. It needs no disk and no git:

    store = MemoryStore()
    open_first(store, 1, 0, Closing("manual"), "refs/heads/main")
    primary = Primary(store, "main", Closing("manual"), lambda: 0)

Then the first frame is open: `close_frame(primary, "test")` closes it and returns a report. Deltas are pushed with
`store.write`, `write_commit`, `flush` and `move_refs`. `MemoryStore(store)` is a second primary's view of the same
repository. The other names are in `dreamcatcherd.stages.first_frame`, `dreamcatcherd.core.frames` and
`dreamcatcherd.daemon.primary` and `.cycle`."""

from dreamcatcherd.testing.memory import MemoryStore as MemoryStore
