"""What a close costs for deltas of hostile shapes, against ordinary records of the same cost.

`python -m tests.bench.shapes`. The cost of a delta is its bytes and 100 for each record. Each shape is closed in a
process of its own, on a repository in a temporary folder; time is the close's (ingest to publication), memory what the
process grew by, written the bytes of the published snapshot and ledger. Ratios above 2 are marked."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.model import RECORD_COST
from dreamcatcherd.core.paths import DELTAS
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.imports.new_repository import create
from tests.law.fleet import MAIN, NOW, commit_files, primary_on

Files = dict[str, bytes]


def delta(number: int, **sections: Any) -> bytes:
    """A delta's bytes, with a stream and a second of its own."""
    utc = f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}Z"
    return json.dumps({"frame": 1, "utc": utc, "stream_id": f"s{number}", **sections}, separators=(",", ":")).encode()


def several(count: int, make: Callable[[int], dict[str, Any]]) -> Files:
    return {f"{DELTAS}/1/{number}.json": delta(number, **make(number)) for number in range(count)}


def ordinary(cost: int) -> Files:
    """Deltas such as a real fleet's: 67 records of 40 bytes in the mean, of the same sections in the same
    proportions."""

    def worked(number: int) -> dict[str, Any]:
        agents = [f"agent-{number * 15 + i:011}" for i in range(15)]
        posts = range(number * 16, number * 16 + 16)
        return {
            "posts_created": [
                {"number": post, "title": f"The title of post {post}", "channel": "general", "author": agents[0]}
                for post in posts[:2]
            ],
            "comments_added": [
                {"discussion_number": post, "author": agents[1], "body": f"{post} " * 4} for post in posts
            ],
            "reactions_added": [{"target": post, "agent": agents[2], "type": "up"} for post in posts[:10]],
            "agents_activated": agents,
            "soul_files_updated": agents,
            "discussions_engaged": list(posts[:9]),
        }

    files = several(1, worked)
    return several(max(1, cost // cost_of(files)), worked)


TINY = "10,000 ordinary deltas of one record"
AGAINST = {"10,000 early deltas for the last frame": TINY}
"""What a shape is held against, where that is not `ordinary`."""

SHAPES: dict[str, Callable[[], Files]] = {
    "48,000 records of one agent, a new field each": lambda: several(
        1, lambda n: {"profile_updates": [{"agent": "a", f"field{i}": i} for i in range(48_000)]}
    ),
    "the same from 8 streams": lambda: several(
        8, lambda n: {"profile_updates": [{"agent": "a", f"field{i}": n} for i in range(48_000)]}
    ),
    "100,000 records of one agent, one field": lambda: several(
        1, lambda n: {"profile_updates": [{"agent": "a", "mood": i} for i in range(100_000)]}
    ),
    "100,000 addends of one counter": lambda: several(
        1, lambda n: {"counters": [{"name": "c", "value": i} for i in range(100_000)]}
    ),
    "100,000 values of one set": lambda: {
        "dreamcatcher.toml": b'[collections.tags]\nsection = "tags"\nkey = ["name"]\nrule = "union"\n',
        **several(1, lambda n: {"tags": [{"name": "t", "of": i} for i in range(100_000)]}),
    },
    "20 records of 49,000 fields each, two streams": lambda: several(
        2, lambda n: {"profile_updates": [{"agent": f"a{j}", **{f"f{i}": n for i in range(49_000)}} for j in range(20)]}
    ),
    "a record of 990,000 fields": lambda: several(
        1, lambda n: {"profile_updates": [{"agent": "a", **{f"f{i}": n for i in range(990_000)}}]}
    ),
    "20,000 conflicts of 8 streams": lambda: several(
        8, lambda n: {"posts_created": [{"number": i, "title": n} for i in range(20_000)]}
    ),
    "100,000 bare observations": lambda: several(1, lambda n: {"observations": [1] * 100_000}),
    "the same in 20 deltas": lambda: several(20, lambda n: {"observations": [n] * 100_000}),
    "100,000 bare posts": lambda: several(1, lambda n: {"posts_created": list(range(100_000))}),
    "100,000 misfits": lambda: several(1, lambda n: {"posts_created": [[]] * 100_000}),
    "100,000 unknown sections": lambda: several(1, lambda n: {f"s{i}": i for i in range(100_000)}),
    "100,000 chapters of one book": lambda: several(
        1,
        lambda n: {
            "books_started": [{"book": "b", "target_chapters": 100_000}],
            "chapters_added": [{"book": "b", "chapter": i, "author": "a", "content": "w"} for i in range(99_000)],
        },
    ),
    "30,000 targets of one book": lambda: several(
        1, lambda n: {"books_started": [{"book": "b", "target_chapters": 100_000 - i} for i in range(30_000)]}
    ),
    "100,000 repeats of one comment": lambda: several(
        1, lambda n: {"comments_added": [{"discussion": 1, "author": "a", "body": "b"}] * 100_000}
    ),
    "one blob under 100,000 names": lambda: {
        f"{DELTAS}/1/{n}.json": delta(0, observations=[1]) for n in range(100_000)
    },
    TINY: lambda: several(10_000, lambda n: {"observations": [n]}),
    "10,000 early deltas for the last frame": lambda: {
        f"{DELTAS}/{2**53 - 1}/{n}.json": delta(n, observations=[n]).replace(
            b'"frame":1,', b'"frame":9007199254740991,'
        )
        for n in range(10_000)
    },
    "garbage under 100,000 names": lambda: {f"{DELTAS}/1/{n}.json": b"garbage" for n in range(100_000)},
    "a record of 495,000 empty lists": lambda: several(1, lambda n: {"observations": [[[]] * 495_000]}),
    "16 MiB of strings": lambda: several(1, lambda n: {"observations": ["x" * 160] * 100_000}),
}


def cost_of(files: Files) -> int:
    """The bytes of the files, with their names, and 100 for each record."""
    from dreamcatcherd.core.header import count_records
    from dreamcatcherd.core.settings import DEFAULT

    total = 0
    counted: dict[bytes, int] = {}
    for path, raw in files.items():
        if raw not in counted:
            try:
                counted[raw] = len(raw) + RECORD_COST * count_records(
                    json.loads(raw), DEFAULT.intake.header, DEFAULT.sections
                )
            except ValueError:
                counted[raw] = len(raw)
            total += counted[raw]
        total += len(path) + 40
    return total


def make(name: str, folder: Path) -> dict[str, float]:
    """A repository in which the deltas of one shape wait, or ordinary ones of a cost; tells what they cost."""
    files = ordinary(int(name)) if name.isdigit() else SHAPES[name]()
    commit_files(create(folder, 1, NOW, Closing("manual")), MAIN, files)
    return {"cost": cost_of(files)}


def close(folder: Path) -> dict[str, float]:
    """Close the frame: seconds, bytes that the process grew by, bytes of the published snapshot and ledger."""
    primary = primary_on(LocalStore(folder))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    report = close_frame(primary, "bench")
    seconds = time.perf_counter() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    words = ["git", "-C", str(folder), "ls-tree", "-r", "-l", report.commit or ""]
    listed = subprocess.run(words, capture_output=True, check=True, text=True).stdout.splitlines()
    written = sum(int(line.split()[3]) for line in listed if "state/stream_deltas" not in line)
    return {"seconds": seconds, "memory": grown * 1024, "written": written}


def measure(name: str) -> dict[str, float]:
    """Make and close the frame of one shape, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, float] = {}
        for words in (["--make", name], ["--close"]):
            whole = [sys.executable, "-m", "tests.bench.shapes", *words, f"{folder}/fleet.git"]
            found |= json.loads(subprocess.run(whole, check=True, capture_output=True).stdout)
        return found


def main(only: list[str]) -> None:
    print(f"{'shape':48} {'cost':>9} {'time':>8} {'ratio':>6} {'memory':>9} {'ratio':>6} {'written':>9} {'ratio':>6}")
    chosen = [name for name in SHAPES if not only or name in only]
    for name in chosen:
        one = measure(name)
        other = measure(AGAINST.get(name, str(int(one["cost"]))))
        scale = one["cost"] / other["cost"]
        cells = []
        for what, unit in (("seconds", 1.0), ("memory", 2**20), ("written", 2**20)):
            ratio = one[what] / max(other[what] * scale, 1e-9)
            cells.append(f"{one[what] / unit:8.2f} {ratio:5.2f}{'*' if ratio > 2 else ' '}")
        print(f"{name:48} {one['cost'] / 2**20:8.1f}M {' '.join(cells)}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        print(json.dumps(make(sys.argv[2], Path(sys.argv[3]))))
    elif sys.argv[1:2] == ["--close"]:
        print(json.dumps(close(Path(sys.argv[2]))))
    else:
        main(sys.argv[1:])
