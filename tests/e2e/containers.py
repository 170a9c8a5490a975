"""The container image, built and run for real: podman and crun, without an engine that runs as a service.

The Dockerfile's base image is a stand-in, since tests fetch no images: a minimal Debian with Debian's Python, made once
and kept with the layers in a store of its own (`$XDG_CACHE_HOME/dreamcatcherd-tests`, or below ~/.cache; delete it at
will). So what is proved is the Dockerfile, not the official image. Needs root, and the programs of `make packages`."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.e2e.test_docs import blocks
from tests.e2e.tools import do_without, environment, need, program, wait_for

ROOT = Path(__file__).parents[2]
PYTHON = "3.11"  # Debian bookworm's
BASE = f"localhost/python:{PYTHON}-slim-bookworm"
"""What stands in for the official image, which is in a registry."""
IMAGE = "localhost/dreamcatcherd:test"
DOCUMENTED = "registry.example.org/dreamcatcherd:1.2.3"
"""The name of the image in docs/container.md."""
SOURCE = "https://git.example.org/dreamcatcherd"
USER = 10001
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PROGRAMS = ("podman", "crun", "mmdebstrap", "unshare")
_WITHOUT = ("man", "doc", "locale", "info")
_DEBIAN = [
    "mmdebstrap", "--quiet", "--variant=minbase",
    "--include=ca-certificates,netbase,tzdata,python3,python3-venv,usr-is-merged",
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--dpkgopt=force-unsafe-io",
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in _WITHOUT),
    # As in the official image: python and python3 in /usr/local/bin, and pip may install.
    '--customize-hook=for name in python python3; do ln -s /usr/bin/python3 "$1/usr/local/bin/$name"; done',
    '--customize-hook=rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',
    "bookworm",
]  # fmt: skip
_SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
# crun refuses a hybrid cgroup tree, so that part of it goes out of podman's sight; where there is none nothing happens.
_OUT_OF_SIGHT = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
_ENGINE = """\
#!/bin/sh
verb=$1
shift
case $verb in
    build) set -- {build} "$@" ;;
    run) set -- {run} "$@" ;;
esac
exec unshare --mount sh -c '{hide}' sh podman {store} "$verb" "$@"
"""
_LIMITS = ["--cgroups=disabled", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
_HARDENED = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"]


def version() -> str:
    """The version that a build has now; that of an editable installation is as old as the installation."""
    return run([sys.executable, "-m", "hatchling", "version"]).stdout.strip()


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "dreamcatcherd-tests"


def _store() -> list[str]:
    return [f"--root={cache() / 'store'}", f"--runroot={cache() / 'run'}", "--storage-driver=overlay"]


def run(command: list[str], *, check: bool = True, timeout_s: float = 1200) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=timeout_s
    )
    assert not check or done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-4000:])
    return done


def podman(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    try:
        return run(["unshare", "--mount", "sh", "-c", _OUT_OF_SIGHT, "sh", "podman", *_store(), *words], check=check)
    finally:
        os.chown("/dev/null", 0, 0)  # crun gives this machine's to the container's user, as its standard input


def inspect(image: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(podman("image", "inspect", image).stdout)
    return found[0]


@functools.cache
def build() -> Path:
    """Have the image, built by the commands of docs/container.md from the project as it is; layers that did not change
    are kept. Returns the folder of the files that are written beside it."""
    ready()
    with (cache() / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if podman("image", "exists", BASE, check=False).returncode:
            _make_base()
        documented = blocks("docs/container.md")["image"]
        assert DOCUMENTED in documented
        path = f"PATH={make_program().parent}:{os.environ['PATH']}"
        run(["env", path, "sh", "-euc", documented.replace(DOCUMENTED, IMAGE)])
        podman("image", "prune", "--force", "--filter=until=72h")
    return cache() / "image"


def make(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `make image` with other variables than the tests use."""
    return run([str(make_program()), "image", *words], check=check)


def make_program() -> Path:
    """A program `make` that works in the environment of the tests, with what works here in place of docker."""
    given = [f"BIN={Path(sys.executable).parent}", f"ENGINE={engine()}", f"SOURCE_URL={SOURCE}", f"BASE={BASE}"]
    options = ["--no-print-directory", "--old-file=.venv/.dev", *given, f"DIST={cache()}"]
    return _write_program("make", f'#!/bin/sh\nexec {program("make")} {shlex.join(options)} "$@"\n')


def engine() -> Path:
    """A program `docker`: podman with the store of the tests. It builds with the certificates of this machine, from
    images that are present, and runs containers as `once` does."""
    trusted = f"--volume={CERTIFICATES}:{CERTIFICATES}:ro" if CERTIFICATES.exists() else ""
    build_options = f"--layers --format=docker --isolation=chroot --network=host --pull=never {trusted}"
    run_options = shlex.join(["--pull=never", "--network=none", *_LIMITS])
    text = _ENGINE.format(build=build_options, run=run_options, hide=_OUT_OF_SIGHT, store=shlex.join(_store()))
    return _write_program("docker", text)


def _write_program(name: str, text: str) -> Path:
    file = cache() / "bin" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(f".{os.getpid()}")  # another process may be running the old one
    fresh.write_text(text)
    fresh.chmod(0o755)
    fresh.replace(file)
    return file


def ready() -> None:
    """Skip the test where images cannot be built; else have the folder that they are kept in."""
    if os.geteuid() != 0:
        do_without("no root: run as root to build images")
    need(*PROGRAMS)
    cache().mkdir(parents=True, exist_ok=True)


def _make_base() -> None:
    with tempfile.TemporaryDirectory(prefix="dreamcatcherd-base-") as folder:
        tar = f"{folder}/base.tar"
        run([*_DEBIAN, tar, *([str(_SOURCES)] if _SOURCES.exists() else [])], timeout_s=1800)
        podman("import", "--quiet", tar, BASE)


def once(*words: str, options: tuple[str, ...] = (), check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the image's command to its end."""
    start = ["run", "--rm", "--pull=never", "--network=none", *_LIMITS, *_HARDENED]
    return podman(*start, *options, IMAGE, *words, check=check)


class Container:
    """An image, running `words`; removed with its anonymous volumes at the end of a `with` block."""

    def __init__(self, *words: str, options: tuple[str, ...] = (), network: str = "none", image: str = IMAGE) -> None:
        self.name = f"dreamcatcherd-{secrets.token_hex(4)}"
        start = ["run", "--detach", f"--name={self.name}", "--pull=never", f"--network={network}"]
        podman(*start, *_LIMITS, *_HARDENED, *options, image, *words)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        podman("rm", "--force", "--volumes", "--time=0", self.name)

    def exec(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return podman("exec", self.name, *words, check=check)

    @property
    def text(self) -> str:
        """What it printed, then what it logged."""
        written = podman("logs", self.name)
        return written.stdout + written.stderr

    def export(self, repository: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.exec("dreamcatcherd", "export", "--repo", repository).stdout)
        return found

    def wait_started(self) -> None:
        """Wait for the log to say so; what it said instead is told where it ends before."""

        def started() -> bool:
            state = podman("inspect", "--format={{.State.Status}}", self.name).stdout.strip()
            assert state in ("created", "running"), self.text
            return '"event": "started"' in self.text

        wait_for(started, 180)

    def stop(self, within_s: int = 60) -> int:
        """SIGTERM, and SIGKILL after so many seconds; returns the exit code, which is 137 after SIGKILL."""
        podman("stop", f"--time={within_s}", self.name)
        return int(podman("inspect", "--format={{.State.ExitCode}}", self.name).stdout)


@contextlib.contextmanager
def volume() -> Iterator[str]:
    """A named volume, as it is kept from one container to the next."""
    name = f"dreamcatcherd-{secrets.token_hex(4)}"
    podman("volume", "create", name)
    try:
        yield name
    finally:
        podman("volume", "rm", "--force", name)
