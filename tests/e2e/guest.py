"""A machine with a real systemd: a Debian tree booted by systemd-nspawn, with this project beside it.

Owns the trees, the wheels and the packages, which are made once and kept in a cache (DREAMCATCHER_GUEST_CACHE, else a
folder of the user), keyed by what goes into them. One guest runs at a time on a machine. What it writes goes to
memory and is gone with it; it has no network but its own loopback."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.processes import living, read
from tests.e2e.tools import do_without, environment, need, wait_for
from tests.wheels import build_wheel

ROOT = Path(__file__).parents[2]
_OWN_CACHE = "/var/cache/dreamcatcherd-tests" if os.geteuid() == 0 else "~/.cache/dreamcatcherd-tests/guest"
CACHE = Path(os.environ.get("DREAMCATCHER_GUEST_CACHE") or _OWN_CACHE).expanduser()
BARE = "systemd,systemd-sysv,dbus"
"""A machine that only boots and has apt."""

PACKAGES = "libnss-systemd python3 python3-venv git procps openssh-client openssh-server"
"""What an ordinary host of that release has besides, and what docs/operations.md asks for."""

OFFERED = "prometheus ca-certificates"
"""What a bare guest can install besides those, from a folder that takes the place of the network."""

OPTIONS = (
    "--mode=root",
    "--variant=apt",
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    '--aptopt=Acquire::Languages "none"',
)
PROJECT = "/root/dreamcatcherd"
"""Where the guest finds what a checkout of the project has: dist/, systemd/, config/."""
NEWER_PROJECT = f"{PROJECT}-newer"
"""The same for the next release: these sources with a higher version."""
VERSION, NEWER_VERSION = "1.0.0", "1.1.0"

OFFERS = "/srv/apt"
"""Where a bare guest finds packages to install."""


def _machine_can() -> None:
    """Skip where no guest can be booted at all."""
    if os.geteuid() != 0:
        pytest.skip("no root: run as root to boot a guest")
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get: run on Debian or Ubuntu to boot a guest")
    need("systemd-nspawn", "mmdebstrap", "dpkg-scanpackages", "unshare", "nsenter")
    probe = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"no right to mount: run with CAP_SYS_ADMIN to boot a guest ({probe.stderr.decode().strip()})")


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def in_cache(name: str, key: str, *, make: list[list[str]]) -> Path:
    """A folder of the cache, made by commands that write to `{}` where it is not there yet; older ones go away."""
    folder = CACHE / f"{name}-{key}"
    if folder.is_dir():
        return folder
    for old in CACHE.glob(f"{name}-*"):
        shutil.rmtree(old)
    unfinished = CACHE / f"{name}-unfinished"
    unfinished.mkdir(parents=True)
    for command in make:
        done = subprocess.run(
            [word.replace("{}", str(unfinished)) for word in command],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            do_without(
                f"no {name} of a guest: make it by hand, to see why it failed: {done.args}\n{done.stderr[-2000:]}"
            )
    unfinished.rename(folder)
    return folder


def _release() -> tuple[str, str, list[str]]:
    """The release that this machine runs, where its own apt takes it from, and the parts of it."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    words = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI) $(COMPONENT)", "Created-By: Packages"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\n")
    found = [line.split() for line in listed if line.startswith(f"{codename} http")]
    if not found:
        pytest.skip(f"no apt source for {codename or 'this release'}: add one, and a guest is made from it")
    mirror = found[0][1]
    return codename, mirror, sorted({part for _, uri, part in found if uri == mirror and part in ("main", "universe")})


def _trees() -> Path:
    """The file systems `bare` and `host`, as apt makes them from this machine's own mirror, and `apt`, a folder of
    packages that the bare one installs from."""
    release, mirror, parts = _release()
    steps = _steps()
    key = _key(release, BARE, OPTIONS, steps)
    if not (CACHE / f"trees-{key}").is_dir():
        try:
            urllib.request.urlopen(f"{mirror.rstrip('/')}/dists/{release}/Release", timeout=20).close()
        except (urllib.error.URLError, TimeoutError) as error:
            pytest.skip(f"no network: connect this machine, and a guest is made ({error})")
    source = f"deb {mirror} {release} {' '.join(parts)}"
    hooks = [f"--customize-hook={step}" for step in steps]
    command = ["mmdebstrap", *OPTIONS, f"--include={BARE}", *hooks, release, "{}/host", source]
    return in_cache("trees", key, make=[command])


def _steps() -> list[str]:
    """What mmdebstrap does, in the tree "$1", after the packages of a bare machine are installed."""
    install = 'chroot "$1" apt-get install -y --no-install-recommends'
    return [
        'cp -ax "$1" {}/bare',
        # Until mmdebstrap ends, these keep services from starting in the tree, and so in its copy.
        "rm {}/bare/usr/sbin/policy-rc.d && mv {}/bare/sbin/start-stop-daemon.REAL {}/bare/sbin/start-stop-daemon",
        "rm -rf {}/bare/var/lib/apt/lists/* {}/bare/var/cache/apt/archives/*.deb",
        f"echo 'deb [trusted=yes] file:{OFFERS} ./' > {{}}/bare/etc/apt/sources.list",
        f"{install} {PACKAGES}",
        f"{install} --download-only {OFFERED}",
        'mkdir {}/apt && mv "$1"/var/cache/apt/archives/*.deb {}/apt && cd {}/apt && dpkg-scanpackages . > Packages',
    ]


def _wheels(tree: Path) -> Path:
    """The pinned libraries for the guest's Python."""
    version = max(path.name.removeprefix("python") for path in (tree / "usr/bin").glob("python3.*[0-9]"))
    pins = ROOT / "requirements/run.txt"
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", "{}", "--require-hashes", "--no-deps"]
    foreign = ["--only-binary=:all:", f"--python-version={version}", f"--requirement={pins}"]
    return in_cache("wheels", _key(version, pins.read_text()), make=[[*fetch, *foreign]])


def like_dist(into: Path, version: str) -> None:
    """Build this project's wheel as a version, into a folder like that of `make dist`."""
    build_wheel(version, into)
    shutil.copyfile(ROOT / "requirements/run.txt", into / "requirements.txt")
    (into / "wheelhouse").mkdir()  # the place to mount the libraries at


class Guest:
    """A booted guest. `leader` is its systemd, as this machine's pid."""

    def __init__(self, leader: int) -> None:
        self.leader = leader

    def try_sh(self, script: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a script in the guest, as root; returns what became of it."""
        clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C"}
        return subprocess.run(
            ["nsenter", "-t", str(self.leader), "-a", "sh", "-eu", "-c", f"cd /\n{script}"],
            env=clean,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

    def sh(self, script: str, code: int = 0, stdin: str = "") -> str:
        """Run a script in the guest, check its exit code, and return what it wrote."""
        done = self.try_sh(script, stdin)
        assert done.returncode == code, (script, done.returncode, done.stdout, done.stderr)
        return (done.stdout if not code else done.stdout + done.stderr).strip()

    def write(self, path: str, text: str) -> None:
        """Write a file, with the folders that lead there; a reader sees the old one or the whole new one."""
        name = shlex.quote(path)
        self.sh(f"install -D -m 644 /dev/stdin {name}.new && mv {name}.new {name}", stdin=text)

    def of(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.sh(f"systemctl show -P {name} {unit}")

    def journal(self, unit: str) -> str:
        return self.sh(f"journalctl -q -o cat -u {unit}")


@contextmanager
def guest(folder: Path) -> Iterator[Guest]:
    """Boot a guest with the project beside it, with its log in `folder`; powered off at the end."""
    with _alone():
        tree = _trees() / "host"
        wheels = _wheels(tree)
        shown: dict[str, Path] = {}
        for project, version in ((PROJECT, VERSION), (NEWER_PROJECT, NEWER_VERSION)):
            dist = folder / version
            like_dist(dist, version)
            shared = {"dist": dist, "dist/wheelhouse": wheels, "systemd": ROOT / "systemd", "config": ROOT / "config"}
            shown |= {f"{project}/{name}": here for name, here in shared.items()}
        with _booted(tree, shown, folder / "guest.log") as leader:
            yield Guest(leader)


@contextmanager
def bare_guest(folder: Path, shown: dict[str, Path]) -> Iterator[Guest]:
    """Boot a guest that has apt and little else, and can install packages; `shown` are folders for it, by its paths."""
    with _alone():
        trees = _trees()
        with _booted(trees / "bare", {OFFERS: trees / "apt"} | shown, folder / "guest.log") as leader:
            yield Guest(leader)


@contextmanager
def _alone() -> Iterator[None]:
    """Hold this machine for one guest, or wait for the end of another; skips where none can be booted."""
    _machine_can()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _booted(tree: Path, shown: dict[str, Path], log: Path) -> Iterator[int]:
    """Boot a tree; powered off at the end, by force where that does not help."""
    binds = [f"--bind-ro={here}:{there}" for there, here in shown.items()]
    # nspawn wants /run in memory, and it must not outlive the tests, however they end.
    script = 'mount -t tmpfs tmpfs /run && exec setpriv --pdeathsig TERM systemd-nspawn "$@"'
    words = ["--boot", "--register=no", "--keep-unit", "--console=pipe", "--machine=dreamcatcher", "--private-network"]
    command = ["unshare", "--mount", "sh", "-c", script, "sh", *words, "--volatile=overlay", f"--directory={tree}"]
    with log.open("ab") as out:
        nspawn = subprocess.Popen([*command, *binds], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    leader = None
    try:
        leader = wait_for(lambda: _systemd_of(nspawn, log), 180)
        booted = Guest(leader)
        wait_for(lambda: booted.try_sh("systemctl is-system-running").stdout.strip() in ("running", "degraded"), 300)
        yield leader
    finally:
        if nspawn.poll() is None:
            nspawn.send_signal(signal.SIGTERM)  # nspawn makes an orderly power-off of it
            try:
                nspawn.wait(90)
            except subprocess.TimeoutExpired:
                os.kill(leader or nspawn.pid, signal.SIGKILL)  # with its first process all of a guest ends
        nspawn.wait()


def _systemd_of(nspawn: subprocess.Popen[bytes], log: Path) -> int | None:
    """The pid of the guest's systemd, once it is there."""
    assert nspawn.poll() is None, log.read_text(errors="replace")
    children = [pid for pid, (parent, _) in living().items() if parent == nspawn.pid]
    return next((pid for pid in children if read(Path(f"/proc/{pid}/comm")).strip() == b"systemd"), None)
