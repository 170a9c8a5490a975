"""Relays as processes: their configuration, and what their health and metrics show."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

from tests.e2e.primaries import readiness
from tests.e2e.servers import Served
from tests.e2e.tools import Daemon, clone, push


def list_relays(upstream: Path, folder: Path, *names: str) -> None:
    """Let the repository upstream list relays, as an operator does."""
    listed = ", ".join(f'"{name}"' for name in names)
    push(clone(upstream, folder), {"state/dreamcatcher.toml": f"[lanes]\nrelays = [{listed}]\n"})


def relay_toml(folder: Path, region: Path, upstream: str, name: str = "north", more: str = "") -> Path:
    """A relay's configuration, with `more` keys of `[relay]`; it looks often, and tries again soon."""
    folder.mkdir(exist_ok=True)
    path = folder / "relay.toml"
    path.write_text(
        f'[repository]\nurl = "{region}"\npoll = 0.2\n[http]\nlisten = "127.0.0.1:0"\n'
        f'[relay]\nupstream = "{upstream}"\nname = "{name}"\npoll = 0.2\nretry = 0.5\n{more}'
        "[retention]\nlanes_keep = 0\n"
    )
    return path


def credentials(served: Served) -> str:
    """The keys by which a served repository is reached, but for its URL."""
    return "".join(f"{line}\n" for line in served.config_lines.splitlines() if not line.startswith("url ="))


def health(daemon: Daemon) -> int:
    """What /readyz answers; 0 from a daemon that is starting."""
    try:
        return readiness(daemon)[0] if daemon.logged("started") else 0
    except URLError:  # the log still has the address of the one before
        return 0


def waiting(daemon: Daemon) -> float:
    """How many deltas upstream does not have, from the metrics of a daemon that is ready."""
    if health(daemon) != 200:
        return -1.0
    line = next(one for one in daemon.get("/metrics").splitlines() if one.startswith("dreamcatcher_relay_pending"))
    return float(line.split()[1])
