"""`make soak-lanes`: ten minutes of a fleet over http that pushes fresh lanes in every frame, 18,000 an hour.

Draws and prints the lanes that the server has, the processor time that the daemon takes, and how long closes take, in
the second minute and in the last one. Ends with 1 where lanes or closes grew, or a delta did not land exactly once."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from tests.e2e.primaries import config_for, metric
from tests.e2e.servers import HttpServer
from tests.e2e.tools import Daemon, clone, dc, dc_json, delta, export_of, git, try_git, wait_for
from tests.soak.__main__ import Sample, draw, run

PICTURE = Path(__file__).parents[2] / "artifacts" / "soak-lanes.svg"
EVERY_S = 5.0
FRESH = 25
KEEP_S = 60
TICKS = 100.0


def cpu_s(daemon: Daemon) -> float:
    """Processor time of the daemon and of the git processes that it started and that ended."""
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def push_fresh(worker: Path, env: dict[str, str], frame: int, first: int) -> list[int]:
    """One push of fresh lanes, each with one delta; returns what was acknowledged."""
    numbers = list(range(first, first + FRESH))
    parts = []
    for number in numbers:
        text = delta(frame, f"w{number}", observations=[number])
        parts.append(
            f"commit refs/heads/dc/w{number}\ncommitter w <w@example.org> {int(time.time())} +0000\ndata 1\nd\n"
            f"M 100644 inline state/stream_deltas/{frame}/w{number}.json\ndata {len(text)}\n{text}\n"
        )
    words = ["git", "-C", str(worker), "fast-import", "--quiet", "--force"]
    subprocess.run(words, input="".join(parts).encode(), check=True)
    done = try_git(worker, "push", "--quiet", "origin", *(f"refs/heads/dc/w{number}" for number in numbers), env=env)
    return numbers if done.returncode == 0 else []


def closes(daemon: Daemon) -> tuple[float, float]:
    """How many frames were published, and the seconds of all phases together."""
    sums = [
        float(line.rpartition(" ")[2])
        for line in daemon.get("/metrics").splitlines()
        if line.startswith("dreamcatcher_phase_duration_seconds_sum")
    ]
    return metric(daemon, 'publishes_total{result="ok"}'), sum(sums)


def soak(folder: Path, seconds: float) -> list[str]:
    repository = folder / "served" / "fleet.git"
    dc("init", str(repository))
    samples: list[tuple[float, Sample]] = []
    sent: list[int] = []
    with closing(HttpServer(repository, folder / "server")) as server:
        server.start()
        config = config_for(server, folder, "interval", EVERY_S)
        config.write_text(config.read_text() + f"[retention]\nlanes_keep = {KEEP_S}\n")
        worker = clone(server.url, folder / "worker", env=server.git_env)
        with Daemon(folder, "--config", str(config)) as daemon:
            wait_for(lambda: "dreamcatcher_frame_last_closed" in daemon.get("/metrics"))
            start = time.monotonic()
            cpu, published = cpu_s(daemon), closes(daemon)
            first = 0
            while (now := time.monotonic() - start) < seconds:
                sent += push_fresh(worker, server.git_env, int(metric(daemon, "frame")), first)
                first += FRESH
                time.sleep(max(0.0, start + EVERY_S * (1 + now // EVERY_S) - time.monotonic()))
                spent, done = cpu_s(daemon), closes(daemon)
                frames = max(1.0, done[0] - published[0])
                samples.append(
                    (
                        now,
                        {
                            "lanes": len(git(repository, "for-each-ref", "refs/heads/dc").splitlines()),
                            "processor, % of a core": 100 * (spent - cpu) / EVERY_S,
                            "close, s": (done[1] - published[1]) / frames,
                            "frame": metric(daemon, "frame"),
                        },
                    )
                )
                cpu, published = spent, done
                if sys.stderr.isatty():
                    print(f"\r{now:.0f} of {seconds:.0f} s", end="", file=sys.stderr, flush=True)
            idle = []
            for _ in range(5):  # nobody pushes any more
                before = cpu_s(daemon)
                time.sleep(EVERY_S)
                idle.append(100 * (cpu_s(daemon) - before) / EVERY_S)
            code, _ = daemon.stop()
    dc("merge", "--repo", str(repository))
    landed = [row["value"] for row in export_of(repository)["state"]["observations"]]
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(samples))
    minute = max(1, int(60 / EVERY_S))
    early, late = samples[minute : 2 * minute] or samples, samples[-minute:]
    wrong = []
    for name in samples[0][1]:
        one, other = (statistics.median(sample[name] for _, sample in part) for part in (early, late))
        print(f"{name}: {one:.3f} in the second minute, {other:.3f} in the last")
        if name in ("lanes", "close, s") and other > 1.5 * one:
            wrong.append(f"{name} grew")
    print(f"processor while nobody pushes: {statistics.median(idle):.1f} % of a core")
    print(f"{len(sent)} deltas acknowledged on as many lanes, {len(landed)} landed; drawn: {PICTURE}")
    wrong += [f"the daemon ended with {code}"] if code else []
    wrong += [] if sorted(landed) == sent else ["what landed is not what was acknowledged"]
    return wrong + ([] if dc_json("verify", "--repo", str(repository))["ok"] else ["it does not verify"])


if __name__ == "__main__":
    run(soak)
