"""The units in a real systemd, installed as docs/operations.md says, with every command that stands there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreamcatcherd.config_files import CREDENTIALS
from tests.e2e.guest import NEWER_PROJECT, NEWER_VERSION, PROJECT, ROOT, VERSION, Guest, guest
from tests.e2e.test_docs import blocks
from tests.e2e.tools import wait_for

pytestmark = pytest.mark.xdist_group("guest")
COMMAND = "/opt/dreamcatcherd/bin/dreamcatcherd"
OWN = "dreamcatcherd"
AS_GIT = "setpriv --reuid=git --regid=git --init-groups --reset-env"
DOCS = blocks("docs/operations.md")
BESIDE = DOCS["beside"].partition("}\n")[0] + "}\n"
PUSH = """
cd $(mktemp -d)
export GIT_CONFIG_GLOBAL=/dev/null
git clone -q {repository} worker
cd worker
mkdir -p state/stream_deltas/1
printf '{{"frame": 1, "utc": "2026-01-01T00:00:00Z", "stream_id": "{stream}", "observations": ["{stream}"]}}' \
    > state/stream_deltas/1/{stream}.json
git add state
git -c user.name=w -c user.email=w@localhost commit -qm {stream}
git push -q origin HEAD:refs/heads/dc/{stream}
"""

LOAD = """
cd $(mktemp -d)
export GIT_CONFIG_GLOBAL=/dev/null
git clone -q {state}/fleet.git worker
cd worker
mkdir -p state/stream_deltas/1
n=0
while [ ! -e {state}/enough ]; do
    n=$((n + 1))
    printf '{{"frame": 1, "utc": "2026-01-01T00:00:00Z", "stream_id": "load", "observations": ["%s"]}}' $n \
        > state/stream_deltas/1/$n.json
    git add state
    git -c user.name=w -c user.email=w@localhost commit -qm $n
    until git push -q origin HEAD:refs/heads/dc/load; do sleep 0.1; done
    echo $n > {state}/acknowledged
done
"""

LARGE = """
cd $(mktemp -d)
git clone -q /var/lib/dreamcatcherd/torn/fleet.git worker
cd worker
mkdir -p state/stream_deltas/1
python3 - <<'END'
import json
for i in range(20):
    rows = [{"note": "x" * 40, "n": 10_000 * i + n} for n in range(4_000)]
    delta = {"frame": 1, "utc": f"2026-01-01T00:00:{i:02}Z", "stream_id": "s", "observations": rows}
    open(f"state/stream_deltas/1/{i}.json", "w").write(json.dumps(delta))
END
git add state
git -c user.name=w -c user.email=w@localhost commit -qm large
git push -q origin HEAD:refs/heads/dc/s
"""


class Host:
    """A machine on which dreamcatcherd is installed. An instance is named like its unit: `alpha`, or OWN."""

    def __init__(self, machine: Guest) -> None:
        self.machine = machine
        self.sh = machine.sh
        self.port = 9500

    def block(self, name: str, project: str = PROJECT) -> str:
        """Run a block of the document, in what is a checkout there."""
        return self.sh(f"cd {project}\n{BESIDE if 'beside ' in DOCS[name] else ''}{DOCS[name]}")

    def configure(self, name: str, frames: str, url: str = "fleet.git", drop_in: str = "", port: int = 0) -> str:
        """Write an instance's configuration and a drop-in; returns its unit."""
        self.port += 1
        listen = f'[http]\nlisten = "127.0.0.1:{port or self.port}"\n'
        self.machine.write(
            f"/etc/dreamcatcherd/{name}.toml", f'[repository]\nurl = "{url}"\n[frames]\n{frames}\n{listen}'
        )
        if drop_in:
            self.machine.write(f"/etc/systemd/system/dreamcatcherd@{name}.service.d/test.conf", f"[Service]\n{drop_in}")
            self.sh("systemctl daemon-reload")
        return f"dreamcatcherd@{name}"

    def of(self, unit: str, name: str) -> str:
        return self.machine.of(unit, name)

    def wait(self, unit: str, name: str, pattern: str) -> None:
        """Wait until a property of a unit looks so."""
        wait_for(lambda: re.fullmatch(pattern, self.of(unit, name)), 90)

    def wait_log(self, unit: str, text: str, times: int = 1) -> None:
        wait_for(lambda: self.machine.journal(unit).count(text) >= times, 90)

    def beside(self, name: str, script: str) -> str:
        """Run a script as an instance's user, in its state directory."""
        return self.sh(f"{BESIDE}beside {name} sh -eu -c {shlex.quote(script)}")

    def push(self, name: str, stream: str) -> None:
        """Push a delta of its own stream to an instance's fleet.git."""
        script = PUSH.format(repository=f"/var/lib/dreamcatcherd/{name}/fleet.git", stream=stream)
        self.beside(name, script)

    def log(self, name: str, repository: str = "fleet.git") -> list[dict[str, Any]]:
        """The closed frames of an instance's repository, the oldest first."""
        found: list[dict[str, Any]] = json.loads(self.beside(name, f"{COMMAND} log --json --repo {repository}"))
        return found[::-1]

    def close(self, unit: str) -> None:
        self.sh(f"systemctl kill --kill-who=main --signal=SIGUSR1 {unit}")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A booted machine after all that the document says about installing."""
    with guest(tmp_path_factory.mktemp("guest")) as machine:
        host = Host(machine)
        for name in ("install", "enable", "credentials", "several", "outside"):
            host.block(name)
        yield host


def test_the_two_units_differ_in_their_names_alone() -> None:
    """What makes dreamcatcherd.service is dreamcatcherd@.service for an instance of that name."""
    one, many = ((ROOT / f"systemd/{name}.service").read_text().splitlines()[2:] for name in (OWN, f"{OWN}@"))
    assert one == [line.replace(" (%i)", "").replace("%i", OWN) for line in many]


def test_both_units_bound_memory_and_tasks_as_the_document_says() -> None:
    """Each unit slows down below its limit of memory, which is the pod's; the document gives the values of the unit."""
    document = (ROOT / "docs/operations.md").read_text()
    pod = yaml.safe_load((ROOT / "config/kubernetes/deployment.yaml").read_text())["spec"]["template"]["spec"]
    for name in (OWN, f"{OWN}@"):
        text = (ROOT / f"systemd/{name}.service").read_text()
        unit = dict(re.findall(r"^(Memory(?:High|Max)|TasksMax|OOMPolicy)=(\w+)$", text, re.MULTILINE))
        assert set(unit) == {"MemoryHigh", "MemoryMax", "TasksMax", "OOMPolicy"}
        assert unit["OOMPolicy"] == "continue"
        assert size_of(unit["MemoryHigh"]) < size_of(unit["MemoryMax"])
        assert size_of(pod["containers"][0]["resources"]["limits"]["memory"]) == size_of(unit["MemoryMax"])
        assert int(unit["TasksMax"]) >= 64
        for setting in ("MemoryHigh", "MemoryMax", "TasksMax"):
            assert f"| `{setting}=` | `{unit[setting]}` |" in document


def test_every_credential_that_is_looked_for_is_passed_and_documented() -> None:
    """The units load what the daemon looks for in $CREDENTIALS_DIRECTORY, and nothing else; the operator's page, the
    reference and the description of the secret in Kubernetes name each."""
    names = sorted(CREDENTIALS.values())
    for name in (OWN, f"{OWN}@"):
        text = (ROOT / f"systemd/{name}.service").read_text()
        assert sorted(re.findall(r"^LoadCredential=(\w+):%N\.\1$", text, re.MULTILINE)) == names
        assert text.count("LoadCredential") == len(names)
    section = (ROOT / "docs/operations.md").read_text().partition("## Credentials\n")[2].partition("\n## ")[0]
    reference = (ROOT / "docs/configuration.md").read_text()
    secret = (ROOT / "config/kubernetes/config.yaml").read_text().partition("\napiVersion")[0]
    for name in names:
        assert f"`{name}`" in section
        assert f"`{name}`" in reference
        assert re.search(rf"\b{name}\b", secret)


def size_of(text: str) -> int:
    """A size of systemd's or Kubernetes's, in bytes."""
    return int(text.rstrip("MGi")) * {"M": 2**20, "G": 2**30}[text.rstrip("i")[-1]]


@pytest.mark.needs("systemd-analyze")
def test_systemd_reads_every_line_of_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say of either unit, but where a value is none it does."""
    for name in (OWN, f"{OWN}@alpha"):
        text = (ROOT / f"systemd/{name.replace('alpha', '')}.service").read_text()
        text = re.sub("^(Exec\\w+)=.*/opt/.*", r"\1=/bin/true", text, flags=re.MULTILINE)
        unit = tmp_path / f"{name}.service"
        for wrong in (False, True):
            unit.write_text(text.replace("MemoryMax=2G", "MemoryMax=much") if wrong else text)
            verify = ["systemd-analyze", "verify", str(unit)]
            done = subprocess.run(verify, capture_output=True, text=True, check=False, timeout=60)
            assert ("MemoryMax" in done.stderr or "memory limit" in done.stderr) is wrong, done.stderr
            assert wrong or (done.returncode, done.stderr) == (0, "")


def test_the_document_has_no_command_that_is_not_run() -> None:
    """Every shell block but `make dist`, which test_releasing runs, has a name that a test runs, here or elsewhere."""
    used = set(re.findall(r'block\("(\w+)"', Path(__file__).read_text()))
    used |= set(re.findall(r'run\("(\w+)"\)', (ROOT / "tests/e2e/test_init.py").read_text()))
    used |= {"install", "enable", "credentials", "several", "outside"}
    used |= {"reading"}  # in test_reading
    used |= {"offline", "pipx", "uv"}  # in test_release
    deb = (ROOT / "tests/e2e/test_deb.py").read_text()
    used |= set(re.findall(r'\("(package_\w+)"', deb)) | set(
        re.findall(r'"(\w+)"', deb.partition("FIVE_MINUTES = ")[2].partition("\n")[0])
    )
    assert used == set(DOCS)
    assert (ROOT / "docs/operations.md").read_text().count("```sh\n") == len(DOCS) + 1


def test_it_runs_as_installed_and_systemd_approves_of_the_units(host: Host) -> None:
    """It is active and enabled, tells the frame in its status, rates 1.5 or better, and verify says nothing."""
    assert re.fullmatch(r"frame \d+ open, 0 deltas from 0 streams, closes in \d+ s", host.of(OWN, "StatusText"))
    assert host.of(OWN, "ActiveState") == "active"
    for unit in (OWN, "dreamcatcherd@alpha"):
        path = f"/etc/systemd/system/{re.sub('alpha', '', unit)}.service"
        assert host.sh(f"systemd-analyze verify {path.replace('@', '@alpha')} 2>&1; test -e {path}") == ""
        rated = re.search(r"exposure level for \S+: ([\d.]+)", host.sh(f"systemd-analyze security --no-pager {unit}"))
        assert rated
        assert float(rated[1]) <= 1.5
    host.block("reload")
    watched = host.block("watch")
    assert '"event": "started"' in watched
    assert host.sh(f"systemctl is-enabled {OWN}") == "enabled"


def test_several_serve_at_once_and_keep_apart(host: Host) -> None:
    """Two instances and the plain unit are active together, each with its own repository; a push reaches one alone."""
    for name in ("alpha", "beta", OWN):
        host.wait(f"dreamcatcherd@{name}" if name != OWN else OWN, "ActiveState", "active")
    host.push("alpha", "only-here")
    host.close("dreamcatcherd@alpha")
    wait_for(lambda: any(row["deltas"] for row in host.log("alpha")))
    assert not any(row["deltas"] for row in host.log("beta"))
    assert host.sh("stat -L -c '%U %a' /var/lib/dreamcatcherd/beta") == f"{OWN} 700"
    inside = "nsenter -m -t $(systemctl show -P MainPID dreamcatcherd@alpha) ls"
    assert host.sh(f"{inside} /var/lib/private/dreamcatcherd") == "alpha"
    assert host.sh(f"{inside} /run/credentials") == "dreamcatcherd@alpha.service"


def test_it_is_active_only_after_the_first_good_look(host: Host) -> None:
    """While the server is away it is activating and says why, even after a reload; then it serves the remote."""
    host.sh(f"{AS_GIT} {COMMAND} init /srv/git/late.git")
    unit = host.configure("late", "interval = 600", "git://127.0.0.1/late.git")
    host.sh(f"systemctl start --no-block {unit}")
    host.wait(unit, "StatusText", "not ready: .* cannot be reached")
    host.sh(f"systemctl kill --kill-who=main --signal=SIGHUP {unit}")
    host.wait_log(unit, "configuration applied")
    host.wait_log(unit, "cycle failed")
    assert host.of(unit, "ActiveState") == "activating"
    daemon = "git daemon --reuseaddr --listen=127.0.0.1 --base-path=/srv/git --export-all --enable=receive-pack"
    host.sh(f"systemd-run --quiet --unit=server -p User=git {daemon}")
    host.wait(unit, "ActiveState", "active")
    host.wait(unit, "StatusText", "frame 1 open, .*")
    host.sh(PUSH.format(repository="git://127.0.0.1/late.git", stream="far"))
    host.wait(unit, "StatusText", "frame 1 open, 1 delta from 1 stream, .*")
    host.close(unit)
    wait_for(
        lambda: host.sh(f"{AS_GIT} git -C /srv/git/late.git log -1 --format=%s main").startswith("frame 1: 1 delta"), 60
    )
    host.sh(f"systemctl stop {unit} server")


def test_credentials_from_the_credstore_open_a_remote_by_ssh(host: Host) -> None:
    """A key and a known host under the unit's name let libssh2 and ssh in, hardened as it is; root may borrow. With a
    token of HTTP the daemon listens to other machines, and a reload sees the token too."""
    key = "/etc/credstore/dreamcatcherd@far.ssh_key.pub"
    host.sh(
        f"install -d -o git -g git -m 700 /srv/git/.ssh && install -o git -m 600 {key} /srv/git/.ssh/authorized_keys"
    )
    host.sh(f"{AS_GIT} {COMMAND} init /srv/git/far.git")
    host.sh("install -m 600 /dev/stdin /etc/credstore/dreamcatcherd@far.http_token", stdin="a token\n")
    listen = "Environment=DREAMCATCHERD_HTTP_LISTEN=0.0.0.0:9599"
    unit = host.configure("far", "interval = 600", "ssh://git@127.0.0.1/srv/git/far.git", listen)
    host.sh(f"systemctl start {unit}")
    host.sh(f"systemctl reload {unit}")
    host.close(unit)
    wait_for(
        lambda: host.sh(f"{AS_GIT} git -C /srv/git/far.git log -1 --format=%s main").startswith("frame 1: 0 deltas"), 60
    )
    host.wait(unit, "StatusText", "frame 2 open, .*")
    assert "frame 2" in host.block("borrow")
    assert host.sh("ls /run/credentials/dreamcatcherd@far.service").split() == ["http_token", "known_hosts", "ssh_key"]
    assert host.sh("ls /run/credentials/dreamcatcherd@alpha.service") == ""
    host.sh(f"systemctl stop {unit}")


def test_it_serves_an_owners_repository_outside_its_state(host: Host) -> None:
    """With the drop-in the daemon works as the owner, and what the owner pushes in place lands."""
    host.sh(f"{AS_GIT} sh -eu -c {shlex.quote(PUSH.format(repository='/srv/git/fleet.git', stream='owner'))}")
    host.close("dreamcatcherd@outside")
    titles = f"{AS_GIT} git -C /srv/git/fleet.git log --format=%s main"
    wait_for(lambda: ": 1 delta from 1 stream" in host.sh(titles))
    assert host.sh("find /srv/git/fleet.git ! -user git") == ""


def test_a_killed_daemon_and_a_hung_one_come_back(host: Host) -> None:
    """kill -9 and SIGSTOP each end in a new process; the watchdog leaves the stacks behind; nothing pushed is lost."""
    unit = host.configure("phoenix", "interval = 600", drop_in="WatchdogSec=6s\nRestartSec=100ms\n")
    host.sh(f"systemctl start {unit}")
    for restarts, number in ((1, "KILL"), (2, "STOP")):
        host.push("phoenix", f"before-{number}")
        host.sh(f"kill -{number} $(systemctl show -P MainPID {unit})")
        host.wait(unit, "NRestarts", str(restarts))
        host.wait(unit, "ActiveState", "active")
    journal = host.machine.journal(unit)
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal
    assert "daemon/service.py" in journal
    host.close(unit)
    wait_for(lambda: host.log("phoenix"))
    assert [row["deltas"] for row in host.log("phoenix")] == [2]
    host.sh(f"systemctl stop {unit}")


def test_a_reload_applies_what_is_right_and_refuses_what_is_wrong(host: Host) -> None:
    """A shorter interval closes the same open frame; a broken file is refused, and frames go on closing."""
    unit = host.configure("fresh", "interval = 600", port=9600)
    host.sh(f"systemctl start {unit}")
    host.push("fresh", "kept")
    host.configure("fresh", "interval = 1", port=9600)
    host.sh(f"systemctl reload {unit}")
    host.wait_log(unit, "configuration applied")
    host.wait(unit, "StatusText", r"frame [2-9] open.*")
    changed = '"changed": {"[frames] interval": [600.0, 1.0]}'
    assert changed in host.machine.journal(unit)
    host.configure("fresh", "intervall = 3\ngrace = -1", port=9600)
    host.sh(f"systemctl reload {unit}", code=1)
    host.wait_log(unit, "configuration refused, the old one stays")
    journal = host.machine.journal(unit)
    file = "dreamcatcherd: /etc/dreamcatcherd/fresh.toml"
    assert f"{file}: [frames] intervall is unknown; did you mean 'interval'?\n" in journal
    assert f"{file}: [frames] grace is -1: it takes a number from 0 to 31536000\n" in journal
    host.wait(unit, "StatusText", r"frame \d+ open.*; the configuration on disk is refused: .*\(and 1 more mistake\)")
    assert host.of(unit, "ActiveState") == "active"
    closed = len(host.log("fresh"))
    wait_for(lambda: len(host.log("fresh")) > closed + 1)
    assert host.of(unit, "NRestarts") == "0"
    log = host.log("fresh")
    assert [row["frame"] for row in log] == list(range(1, len(log) + 1))
    assert [row["deltas"] for row in log][:2] == [1, 0]
    host.sh(f"systemctl stop {unit}")


def test_it_stops_within_two_seconds(host: Host) -> None:
    """`systemctl stop` ends the process with 0 in less than 2 s, and systemd calls that a success."""
    unit = host.configure("brief", "interval = 600")
    host.sh(f"systemctl start {unit}")
    host.sh(f"systemctl stop {unit}")
    left, ended = (int(host.of(unit, f"{what}ExitTimestampMonotonic")) / 1e6 for what in ("Active", "ExecMain"))
    assert ended - left < 2
    assert (host.of(unit, "ExecMainStatus"), host.of(unit, "Result")) == ("0", "success")


@pytest.mark.parametrize("state", ["prepared", "committed"])
def test_a_restart_in_the_middle_of_a_publication_loses_nothing(host: Host, state: str) -> None:
    """Restarted while git holds the refs' locks, or just after they moved, it leaves no lock and merges once."""
    name = f"cut-{state}"
    unit = host.configure(name, "interval = 600")
    host.sh(f"systemctl start {unit}")
    host.push(name, "once")
    place = f"/var/lib/dreamcatcherd/{name}"
    hook = f"#!/bin/sh\n[ $1 = {state} ] && [ ! -e {place}/reached ] || exit 0\ntouch {place}/reached\nexec sleep 60\n"
    host.machine.write(f"{place}/fleet.git/hooks/reference-transaction", hook)
    host.sh(f"chmod 755 {place}/fleet.git/hooks/reference-transaction")
    host.close(unit)
    wait_for(lambda: host.machine.try_sh(f"test -e {place}/reached").returncode == 0)
    locks = f"find {place}/fleet.git/ -name '*.lock'"
    assert bool(host.sh(locks)) == (state == "prepared")
    host.sh(f"systemctl restart {unit}")
    assert host.sh(locks) == ""
    assert "Failed" not in host.machine.journal(unit)
    host.close(unit)
    wait_for(lambda: sum(row["deltas"] for row in host.log(name)) == 1)
    host.beside(name, "git -C fleet.git fsck --full --strict --no-dangling")
    host.sh(f"systemctl stop {unit}")


def test_a_restart_in_the_middle_of_a_large_merge_loses_nothing(host: Host) -> None:
    """Restarted soon after the close of a large frame began, twice, it merges all of its deltas, each once."""
    unit = host.configure("torn", "interval = 600")
    host.sh(f"systemctl start {unit}")
    host.beside("torn", LARGE)
    for delay_s in (0.1, 0.4):
        host.wait(unit, "StatusText", "frame . open, 20 deltas .*|frame 2 .*")
        host.close(unit)
        time.sleep(delay_s)
        host.sh(f"systemctl restart {unit}")
    host.close(unit)
    wait_for(lambda: sum(row["deltas"] for row in host.log("torn")) == 20, 180)
    log = host.log("torn")
    assert [row["frame"] for row in log] == list(range(1, len(log) + 1))
    assert "Failed" not in host.machine.journal(unit)
    host.sh(f"systemctl stop {unit}")


def test_wrong_configuration_is_left_alone_and_a_broken_repository_is_not(host: Host) -> None:
    """Exit code 2 is final, and the journal says what is wrong. On a broken repository the service is up, says why it
    is not ready, and goes on without a restart once the repository is repaired."""
    unit = host.configure("wrong", "intervall = 3")
    host.sh(f"systemctl start {unit}", code=1)
    assert [host.of(unit, name) for name in ("SubState", "ExecMainStatus", "NRestarts")] == ["failed", "2", "0"]
    assert "did you mean 'interval'" in host.machine.journal(unit)
    host.configure("wrong", "interval = 600")
    host.sh(f"systemctl start {unit} && systemctl stop {unit}")
    host.beside("wrong", "cd fleet.git && mkdir gone && mv objects/pack/*.pack gone/ && git config core.bare true")
    host.sh(f"systemctl start {unit}")
    assert host.of(unit, "StatusText").startswith("not ready: object ")
    host.beside("wrong", "cd fleet.git && mv gone/* objects/pack/")
    wait_for(lambda: host.of(unit, "StatusText").startswith("frame "))
    assert [host.of(unit, name) for name in ("ActiveState", "NRestarts")] == ["active", "0"]
    host.sh(f"systemctl stop {unit}")


def test_upgrade_backup_and_restore_keep_what_was_merged(host: Host) -> None:
    """An upgrade restarts what runs; a bundle made beside the daemon brings a repository back, hook and all."""
    host.push(OWN, "saved")
    host.close(OWN)
    wait_for(lambda: sum(row["deltas"] for row in host.log(OWN)) == 1)
    before = host.of(OWN, "MainPID")
    host.block("upgrade")
    assert host.of(OWN, "MainPID") != before
    assert "ok   hook" in host.block("beside")
    assert "refs/dreamcatcher/published" in host.block("backup")
    saved = host.log(OWN)
    host.block("restore")
    again = host.log(OWN)
    rows = [(row["frame"], row["digest"], row["deltas"]) for row in again]
    assert (sum(row["deltas"] for row in again), len(again) > 1) == (1, True)
    shared = [row for row in rows if row[0] <= saved[-1]["frame"]]
    assert shared == [(row["frame"], row["digest"], row["deltas"]) for row in saved]


def test_an_upgrade_and_a_rollback_under_load_lose_nothing(host: Host) -> None:
    """A worker pushes all the time while the service is upgraded by the document and rolled back: each restart brings
    the other version, every acknowledged delta is merged once, and all frames verify."""
    state = "/var/lib/dreamcatcherd/load"
    unit = host.configure("load", "interval = 1")
    host.sh(f"systemctl start {unit}")
    as_daemon = "-p DynamicUser=yes -p User=dreamcatcherd -p StateDirectory=dreamcatcherd/load -p UMask=0077"
    script = shlex.quote(LOAD.format(state=state))
    host.sh(f"systemd-run --quiet --unit=worker -p StateDirectoryMode=0700 {as_daemon} sh -eu -c {script}")

    def pushed(more_than: int) -> int:
        """How many deltas are acknowledged, once there are more than so many."""

        def count() -> int:
            found = int(host.machine.try_sh(f"cat {state}/acknowledged").stdout or 0)
            return found if found > more_than else 0

        return int(wait_for(count, 180))

    before = pushed(3)
    host.block("upgrade", NEWER_PROJECT)
    assert host.sh(f"{COMMAND} version") == f"dreamcatcherd {NEWER_VERSION}"
    between = pushed(before + 3)
    host.block("upgrade")
    pushed(between + 3)
    host.sh(f"touch {state}/enough")
    wait_for(lambda: host.of("worker", "ActiveState") == "inactive", 180)
    acknowledged = pushed(between)

    def merged() -> list[int]:
        shown = json.loads(host.beside("load", f"{COMMAND} export --repo fleet.git"))
        return sorted(int(row["value"]) for row in shown["state"]["observations"])

    wait_for(lambda: len(merged()) >= acknowledged, 180)
    assert merged() == list(range(1, acknowledged + 1))
    started = [json.loads(line) for line in host.machine.journal(unit).splitlines() if '"event": "started"' in line]
    assert [line["version"] for line in started] == [VERSION, NEWER_VERSION, VERSION]
    host.beside("load", f"{COMMAND} verify --repo fleet.git")
    host.sh(f"systemctl stop {unit}")
