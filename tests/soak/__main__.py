"""`make soak`: a real daemon under a real fleet for minutes; draws memory, descriptors, threads and packs over time.

Prints what the last quarter has against the second one and ends with 1 where something grew that should stay flat, or
where an acknowledged delta did not land exactly once. The picture is `artifacts/soak.svg`."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dreamcatcherd.demo.fleet import Worker, compare_publishing, make_fleet
from tests.e2e.tools import Daemon, dc, export_of, primary_toml, wait_for

PICTURE = Path(__file__).parents[2] / "artifacts" / "soak.svg"
WORKERS = 4
EVERY_S = 2.0
FLAT = {"memory, MiB": 1.2, "descriptors": 1.2, "threads": 1.0, "packs": 1.5}
"""What may not grow, and by which factor it may all the same."""

Sample = dict[str, float]


def sample(daemon: Daemon, repository: Path) -> Sample:
    """What the daemon holds and the repository has, now."""
    process = Path("/proc") / str(daemon.process.pid)
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    counted = subprocess.run(
        ["git", "-C", str(repository), "count-objects", "-v"], capture_output=True, text=True, check=True
    ).stdout
    counts = {name: int(value) for name, value in (line.split(": ") for line in counted.splitlines())}
    state = json.loads(daemon.get("/api/v1/status"))
    return {
        "memory, MiB": int(status["VmRSS"].split()[0]) / 1024,
        "descriptors": len(list((process / "fd").iterdir())),
        "threads": int(status["Threads"]),
        "packs": counts["packs"],
        "objects, thousands": (counts["count"] + counts["in-pack"]) / 1000,
        "frame": state["frame"],
        "pending": state["pending"]["total"],
    }


def draw(samples: list[tuple[float, Sample]]) -> str:
    """One panel a figure, as SVG."""
    width, height, gap = 760, 90, 34
    panels = []
    last = samples[-1][0] or 1.0
    for i, name in enumerate(samples[0][1]):
        values = [one[name] for _, one in samples]
        top = max(values) or 1.0
        points = " ".join(
            f"{40 + width * at / last:.1f},{gap + height - height * value / top:.1f}"
            for (at, _), value in zip(samples, values, strict=True)
        )
        panels.append(
            f'<g transform="translate(0 {i * (height + gap)})">'
            f'<text x="40" y="{gap - 8}">{name}: {min(values):g} to {max(values):g}, last {values[-1]:g}</text>'
            f'<rect x="40" y="{gap}" width="{width}" height="{height}" fill="#f4f4f4"/>'
            f'<polyline points="{points}" fill="none" stroke="#1565c0" stroke-width="1.5"/></g>'
        )
    tall = len(panels) * (height + gap) + 20
    style = "font: 13px sans-serif; background: white"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 80}" height="{tall}" style="{style}">'
        + "".join(panels)
        + "</svg>\n"
    )


def verdicts(samples: list[tuple[float, Sample]]) -> list[str]:
    """What grew from the second quarter to the last: the first one is warming up."""
    quarter = len(samples) // 4
    grown = []
    for name in samples[0][1]:
        early = statistics.median(one[name] for _, one in samples[quarter : 2 * quarter])
        late = statistics.median(one[name] for _, one in samples[-quarter:])
        print(f"{name}: {early:g} in the second quarter, {late:g} in the last")
        if name in FLAT and late > early * FLAT[name]:
            grown.append(f"{name} grew")
    return grown


def soak(folder: Path, seconds: float) -> list[str]:
    repository = folder / "fleet.git"
    dc("init", str(repository))
    (folder / "workers").mkdir()
    fleet: list[Worker] = make_fleet(repository, folder / "workers", WORKERS, 0)
    config = primary_toml(folder, "interval", 1.0, "[retention]\nlanes_keep = 30\n")
    samples: list[tuple[float, Sample]] = []
    with Daemon(folder, "--repo", str(repository), "--config", str(config)) as daemon:
        wait_for(lambda: "dreamcatcher_frame_last_closed 1.0" in daemon.get("/metrics"))
        for worker in fleet:
            worker.start()
        start = time.monotonic()
        while (now := time.monotonic() - start) < seconds:
            samples.append((now, sample(daemon, repository)))
            if sys.stderr.isatty():
                print(f"\r{now:.0f} of {seconds:.0f} s", end="", file=sys.stderr, flush=True)
            time.sleep(EVERY_S)
        for worker in fleet:
            worker.stop()
        for worker in fleet:
            worker.join()
        code, _ = daemon.stop()
    dc("merge", "--repo", str(repository))
    landed = [row["value"] for row in export_of(repository)["state"]["observations"]]
    verdict = compare_publishing([sent for worker in fleet for sent in worker.sent], landed)
    print(f"{verdict.acknowledged} deltas acknowledged, {verdict.landed} landed")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(samples))
    print(f"drawn: {PICTURE}")
    wrong = verdicts(samples)
    wrong += [f"the daemon ended with {code}"] if code else []
    return wrong + ([] if verdict.holds else [f"the promise is broken: {verdict}"])


def run(soak: Callable[[Path, float], list[str]]) -> None:
    """Soak for the minutes of the command line; what went wrong is printed, and the exit code says whether anything."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory(prefix="dreamcatcherd-soak-") as name:
        wrong = soak(Path(name), 60 * minutes)
    for line in wrong:
        print(line)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    run(soak)
