"""The Debian package in a machine that has only apt, by the commands of docs/operations.md."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.debian.__main__ import COMPLETIONS, why_not_here
from tests.e2e.guest import ROOT, Guest, bare_guest, in_cache
from tests.e2e.test_docs import blocks
from tests.e2e.test_systemd import AS_GIT, BESIDE, OWN, PUSH
from tests.e2e.tools import do_without, wait_for

pytestmark = pytest.mark.xdist_group("guest")
DOCS = blocks("docs/operations.md")
OLD, NEW = "0.0.9", "99.1.0"
"""The versions of the two packages, around every one that the tree may have."""

RELABEL = f"""
cd "$1"
dpkg-deb --raw-extract {NEW}/*.deb tree
sed -i 's/^Version: {NEW}/Version: {OLD}/' tree/DEBIAN/control
library=tree/opt/dreamcatcherd/lib/python3.11/site-packages
sed -i 's/{NEW}/{OLD}/' $library/dreamcatcherd/__init__.py $library/dreamcatcherd-*/METADATA
rm $library/dreamcatcherd/__pycache__/__init__.*
mkdir {OLD}
dpkg-deb --root-owner-group --build tree {OLD}
rm -r tree
"""
"""Makes the older package of the newer one: it differs in its version alone."""

FOLDERS = {OLD: "/srv/old", NEW: "/srv/new"}
FIVE_MINUTES = ("package", "configure", "scrape", "healthy", "drill")
"""The blocks that lead from nothing to a monitored service, in the order of the document."""

REMOTE = "git://git.example.org/fleet.git"
SERVER = """
printf '127.0.0.1 git.example.org\\n' >> /etc/hosts
useradd --system --create-home --home-dir /srv/git --shell /usr/bin/git-shell git
{as_git} dreamcatcherd init /srv/git/fleet.git
systemd-run --quiet --unit=server -p User=git git daemon --reuseaddr --listen=127.0.0.1 --base-path=/srv/git \
    --export-all --enable=receive-pack
"""
LOAD = """
cd /srv/git
n=0
while [ ! -e stop ]; do
    n=$((n + 1))
    printf '{"frame": 1, "utc": "2026-01-01T00:00:00Z", "stream_id": "load", "observations": [%s]}' $n > $n.json
    if sh push-delta.sh git://git.example.org/fleet.git $n.json >>log 2>&1; then
        echo $n >> acknowledged
    else
        echo $n >> refused
    fi
done
"""


@pytest.fixture(scope="module")
def packages() -> Path:
    """A folder with a package that `make deb` built, and with the same as an older version; each has a folder."""
    if problem := why_not_here():
        pytest.skip(problem) if "is for Debian 12" in problem else do_without(problem)
    inputs = ("config", "docs", "systemd", "dreamcatcherd", "tests/debian", "tests/manual", "requirements")
    files = [path for folder in inputs for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    files += [ROOT / name for name in ("README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "Makefile")]
    key = hashlib.sha256()
    for path in files:
        if "__pycache__" not in path.parts:
            key.update(f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    quick = ["env", "DPKG_DEB_COMPRESSOR_TYPE=gzip", "DPKG_DEB_COMPRESSOR_LEVEL=1"]
    build = [*quick, "make", "--no-print-directory", "deb", f"VERSION={NEW}", f"DIST={{}}/{NEW}"]
    relabel = [*quick, "sh", "-euc", RELABEL, "sh", "{}"]
    return in_cache("deb", key.hexdigest()[:16], make=[build, relabel])


def package_of(folder: Path) -> Path:
    """The one package in a folder."""
    (found,) = folder.glob("dreamcatcherd_*.deb")
    return found


class Host:
    """A machine in which the blocks of the document ran one after the other; each took so many seconds."""

    def __init__(self, machine: Guest) -> None:
        self.machine = machine
        self.sh = machine.sh
        self.seconds: dict[str, float] = {}
        self.said: dict[str, str] = {}

    def block(self, name: str, version: str = NEW) -> str:
        """Run a block of the document beside the package of a version; returns all that it said."""
        begun = time.monotonic()
        self.said[name] = self.sh(
            f"export DEBIAN_FRONTEND=noninteractive\ncd {FOLDERS[version]}\n{{\n{DOCS[name]}}} 2>&1"
        )
        self.seconds[name] = time.monotonic() - begun
        return self.said[name]

    def ready(self, unit: str = OWN) -> None:
        """Wait until a unit is up and has read its repository."""
        wait_for(lambda: self.machine.of(unit, "StatusText").startswith("frame "), 180)

    def firing(self) -> set[str]:
        """The alerts that fire in the guest's Prometheus."""
        asked = """promtool query instant http://127.0.0.1:9090 'ALERTS{alertstate="firing"}'"""
        return set(re.findall(r'alertname="(\w+)"', self.sh(asked)))


REAL_PACE = bool(os.environ.get("DREAMCATCHER_REAL_PACE"))
"""Whether Prometheus keeps the pace of the document: `make five-minutes`."""


def quickened(host: Host) -> None:
    """Let the guest's Prometheus look every second and wait for no alert: the document's pace takes three minutes."""
    host.sh("sed -i 's/: 15s/: 1s/' /etc/prometheus/prometheus.yml")
    host.sh("sed -i -E 's/for: [0-9]+m/for: 1s/' /etc/prometheus/dreamcatcherd.rules.yml")
    host.sh("systemctl reload prometheus")


@pytest.fixture(scope="module")
def host(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A machine that had only apt, after the five minutes; the only change is Prometheus's pace before the drill."""
    shown = {FOLDERS[version]: packages / version for version in FOLDERS}
    with bare_guest(tmp_path_factory.mktemp("bare"), shown) as machine:
        host = Host(machine)
        for name in FIVE_MINUTES:
            if name == "configure":  # the server, on which somebody made the repository
                host.ready()
                host.sh(SERVER.format(as_git=AS_GIT))
            if name == "drill":
                assert host.firing() == set()
                if not REAL_PACE:
                    quickened(host)
            host.block(name)
        yield host


@pytest.mark.needs("lintian")
def test_lintian_finds_no_error_and_each_override_gives_its_reason(packages: Path) -> None:
    """Neither errors nor warnings are left, and every override has a comment above it."""
    words = ["lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"]
    done = subprocess.run([*words, package_of(packages / NEW)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (ROOT / "config/debian/dreamcatcherd.lintian-overrides").read_text()
    for paragraph in text.strip().split("\n\n"):
        assert re.fullmatch(r"(# .+\n)+(dreamcatcherd: .+\n?)+", paragraph), paragraph


def test_the_package_holds_what_the_document_says(packages: Path) -> None:
    """Program, units, configuration, pages, completion, rules and dashboard are in it; no pip, and no path of the
    machine that built it."""
    package = package_of(packages / NEW)
    listed = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True).stdout
    files = {line.split()[5].removeprefix("./") for line in listed.splitlines() if not line.startswith("d")}
    for name in (
        "usr/bin/dreamcatcherd",
        "etc/dreamcatcherd/dreamcatcherd.toml",
        "lib/systemd/system/dreamcatcherd.service",
        "lib/systemd/system/dreamcatcherd@.service",
        "usr/lib/sysusers.d/dreamcatcherd.conf",
        "usr/share/man/man1/dreamcatcherd-run.1.gz",
        "usr/share/doc/dreamcatcherd/changelog.gz",
        "usr/share/doc/dreamcatcherd/copyright",
        "usr/share/dreamcatcherd/prometheus/dreamcatcherd.rules.yml",
        "usr/share/dreamcatcherd/prometheus/scrape.yml",
        "usr/share/dreamcatcherd/grafana/dreamcatcherd.json",
        "usr/share/dreamcatcherd/worker/push-delta.sh",
    ):
        assert name in files
    assert len([name for name in files if name.startswith("usr/share/man/man1/")]) > 20
    for name in COMPLETIONS.values():
        assert any(file.endswith(f"/{name}") for file in files if "completions" in file)
    assert sorted(name for name in files if name.startswith("opt/dreamcatcherd/bin/")) == [
        f"opt/dreamcatcherd/bin/{name}" for name in ("dreamcatcherd", "python", "python3", "python3.11")
    ]
    assert not [name for name in files if re.search("site-packages/(pip|setuptools)/", name)]
    about = subprocess.run(["dpkg-deb", "--info", package], capture_output=True, text=True, check=True).stdout
    assert f"Version: {NEW}-1~deb12" in about
    assert "built for Debian 12" in about
    assert {"git", "openssh-client", "procps", "python3.11"} <= set(re.findall(r"[\w.-]+", about))
    packed = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
    assert str(ROOT).encode() not in packed
    assert b"debian/dreamcatcherd/opt" not in packed


def test_five_minutes_lead_from_nothing_to_a_monitored_service(host: Host) -> None:
    """After the blocks the service is active on the configured repository, scraped, with every rule loaded and healthy;
    in the drill DreamcatcherDown fired and resolved."""
    lines = [line for name in FIVE_MINUTES for line in DOCS[name].splitlines()]
    seconds = ", ".join(f"{name} {host.seconds[name]:.0f}" for name in FIVE_MINUTES)
    pace = "the real" if REAL_PACE else "a quicker"
    print(f"{len(lines)} commands, {sum(host.seconds.values()):.0f} s ({seconds}; drill at {pace} pace)")
    assert re.match(r"frame \d+ open, ", host.said["healthy"])
    assert "up{" in host.said["healthy"]
    assert "DreamcatcherDown" not in host.said["healthy"]
    assert 'alertname="DreamcatcherDown"' in host.said["drill"]
    wait_for(lambda: host.firing() == set())
    assert host.sh(f"systemctl is-enabled {OWN}") == "enabled"
    rules = re.findall(r"- alert: (\w+)", (ROOT / "config/prometheus/dreamcatcherd.rules.yml").read_text())
    asked = "import json, urllib.request as u; print(json.dumps(json.load(u.urlopen('http://127.0.0.1:9090/api/v1/rules'))))"
    (group,) = json.loads(host.sh(f"python3.11 -c {shlex.quote(asked)}"))["data"]["groups"]
    assert [rule["name"] for rule in group["rules"]] == rules
    assert {rule["health"] for rule in group["rules"]} == {"ok"}


def test_the_installed_package_does_the_main_job(host: Host) -> None:
    """A worker's push lands in the next frame, as the user of the package, with the version of the package."""
    assert host.sh("dreamcatcherd --version") == f"dreamcatcherd {NEW}"
    host.ready()
    host.sh(PUSH.format(repository=REMOTE, stream="first"))
    host.sh(f"systemctl kill --kill-who=main --signal=SIGUSR1 {OWN}")
    wait_for(lambda: "1 delta from 1 stream" in host.sh(f"{AS_GIT} git -C /srv/git/fleet.git log --format=%s main"))
    assert host.sh(f"ps -o user= -p $(systemctl show -P MainPID {OWN})") == OWN
    # A guest leaves out documentation.
    verified = host.sh("dpkg --verify dreamcatcherd | grep -v '^missing *[/]usr/share/[dm][oa][cn]/'")
    assert verified.split() == ["??5??????", "c", "/etc/dreamcatcherd/dreamcatcherd.toml"]


def test_rollback_and_upgrade_under_load_lose_nothing(host: Host) -> None:
    """While a worker pushes without a pause, the old version takes over and then the new one again: everything that was
    acknowledged is merged once, the units that ran run, one that was stopped does not, and the history verifies."""
    for name, port in (("second", 9471), ("idle", 9472)):
        host.machine.write(f"/etc/dreamcatcherd/{name}.toml", f'[http]\nlisten = "127.0.0.1:{port}"\n')
    host.sh("systemctl start dreamcatcherd@second dreamcatcherd@idle && systemctl stop dreamcatcherd@idle")
    host.sh("cp /usr/share/dreamcatcherd/worker/push-delta.sh /srv/git/")
    host.machine.write("/srv/git/load.sh", LOAD)
    host.sh("chown git: /srv/git && systemd-run --quiet --unit=load -p User=git sh /srv/git/load.sh")
    acknowledged = "wc -l < /srv/git/acknowledged 2>/dev/null || echo 0"
    for version, block in ((OLD, "package_rollback"), (NEW, "package_upgrade")):
        enough = int(host.sh(acknowledged)) + 5
        wait_for(partial(lambda enough: int(host.sh(acknowledged)) >= enough, enough))
        host.block(block, version)
        assert host.sh("dreamcatcherd --version") == f"dreamcatcherd {version}"
        for unit in (OWN, "dreamcatcherd@second"):
            host.ready(unit)
            assert host.machine.of(unit, "NRestarts") == "0"
        assert host.machine.of("dreamcatcherd@idle", "ActiveState") == "inactive"
    host.sh("touch /srv/git/stop")
    wait_for(lambda: host.machine.of("load", "ActiveState") == "inactive")
    export = f"{AS_GIT} dreamcatcherd export --repo /srv/git/fleet.git"
    done = [int(number) for number in host.sh("cat /srv/git/acknowledged").split()]
    assert done

    def missing() -> set[int]:
        rows = json.loads(host.sh(export))["state"]["observations"]
        landed = [row["value"] for row in rows if isinstance(row["value"], int)]
        assert len(landed) == len(set(landed))
        return set(done) - set(landed)

    host.sh(f"systemctl kill --kill-who=main --signal=SIGUSR1 {OWN}")
    wait_for(lambda: not missing())
    refused = host.sh("cat /srv/git/refused 2>/dev/null || :").split()
    print(f"{len(done)} pushes acknowledged and merged, {len(refused)} not acknowledged; ", host.seconds)
    assert '"ok": true' in host.sh(f"{AS_GIT} dreamcatcherd verify --json --repo /srv/git/fleet.git")


def test_a_wrong_configuration_is_shown_and_not_started(host: Host) -> None:
    """If a version does not know a key, apt shows the mistake and what to do, the package is installed all the same,
    and the unit is not started."""
    file = "/etc/dreamcatcherd/second.toml"
    host.sh("systemctl start dreamcatcherd@second")
    host.sh(f"cp {file} /tmp/good.toml && printf '[frames]\\nintervall = 3\\n' >> {file}")
    said = host.block("package_rollback", OLD)
    assert "did you mean 'interval'" in said
    assert "systemctl start dreamcatcherd@second" in said
    assert host.machine.of("dreamcatcherd@second", "ActiveState") == "inactive"
    host.ready()
    host.sh(f"cp /tmp/good.toml {file} && systemctl start dreamcatcherd@second")


def test_an_environment_that_was_made_by_hand_is_not_mixed_with_the_package(host: Host) -> None:
    """Beside another /opt/dreamcatcherd the package is refused, with what to do, and changes nothing there."""
    host.sh("apt-get remove -y dreamcatcherd && mkdir /opt/dreamcatcherd && touch /opt/dreamcatcherd/mine")
    said = host.sh(f"cd {FOLDERS[NEW]} && apt-get install -y ./*.deb 2>&1", code=100)
    assert "/opt/dreamcatcherd exists, and is not from this package. Move it away" in said
    assert host.sh("ls /opt/dreamcatcherd") == "mine"
    host.sh("rm -r /opt/dreamcatcherd")
    host.block("package_upgrade")
    host.ready()


def test_purge_leaves_nothing_but_work(host: Host) -> None:
    """A purge deletes program, configuration, state and user. It keeps and names a state directory with more than empty
    frames, unless the question was answered before; what remote repositories hold is not its business."""
    leftovers = "find / -xdev -iname '*dreamcatcher*' ! -path '/srv/*' ! -path '/etc/prometheus/*' ! -path '/tmp/*'"
    state = "/var/lib/private/dreamcatcherd"
    host.sh("apt-get install -y /srv/new/*.deb && systemctl enable --now dreamcatcherd@second 2>&1")
    host.ready("dreamcatcherd@second")
    assert host.sh(f"ls {state}/second").split() == ["fleet.git"]
    host.block("package_purge")
    assert host.sh(leftovers) == ""
    assert host.sh("getent passwd dreamcatcherd", code=2) == ""

    host.block("package_upgrade")
    host.ready()
    push = PUSH.format(repository="/var/lib/dreamcatcherd/dreamcatcherd/fleet.git", stream="precious")
    host.sh(f"{BESIDE}beside dreamcatcherd sh -eu -c {shlex.quote(push)}")
    said = host.block("package_purge")
    assert f"{state}/dreamcatcherd/fleet.git\n" in said
    assert "dc/precious" in host.sh(f"git -C {state}/dreamcatcherd/fleet.git -c safe.directory='*' branch --list")
    assert host.sh("ls -d /opt/dreamcatcherd /etc/dreamcatcherd 2>/dev/null || echo gone") == "gone"

    host.block("package_upgrade")
    host.block("package_delete")
    host.block("package_purge")
    assert host.sh(leftovers) == ""
    assert host.sh("getent passwd dreamcatcherd", code=2) == ""
