"""`make soak-mirrors`: a fleet over two forges, each down for ten minutes under load and back as an older copy.

First the deciding repository, then the mirror. Prints what each of them took, and ends with 1 where an acknowledged
delta was not merged exactly once, `verify` disagrees, or the mirror is not brought forward. With a number as its
argument an outage lasts so many seconds."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from pathlib import Path

from tests.e2e.mirror_fleet import TwoForges, two_forges
from tests.e2e.primaries import await_ready, merged, metric

OUTAGE_S = 600.0
WORKERS = 6
INTERVAL_S = 5.0
BETWEEN_S = 30.0


def say(forges: TwoForges, what: str) -> None:
    taken = f"{forges.taken_by(0)} pushes taken by the deciding repository, {forges.taken_by(1)} by the mirror"
    lag = metric(forges.daemon, 'mirror_lag_seconds{mirror="north"}')
    print(f"{what}: {taken}; {merged(forges.daemon):.0f} merged, lag {lag:.0f} s", flush=True)


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else OUTAGE_S
    os.environ.setdefault("CI", "1")  # a missing server is a failure here
    pause = threading.Event()
    between_s = min(BETWEEN_S, seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with two_forges(folder, WORKERS, INTERVAL_S) as forges:
            pause.wait(between_s)
            for at, copy in enumerate((folder / "main-copy", folder / "north-copy")):
                forges.back_up(at, copy)
                pause.wait(between_s)
                say(forges, "before the outage")
                forges.outage(at, copy, WORKERS, pause, seconds)
                say(forges, f"{'the mirror' if at else 'the deciding repository'} is back, as an older copy")
                await_ready(forges.daemon)
                pause.wait(between_s)
            try:
                forges.assert_whole()
            except AssertionError as error:
                print(f"failed: {error}")
                return 1
            say(forges, "everything that was acknowledged is merged exactly once, and both forges have it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
