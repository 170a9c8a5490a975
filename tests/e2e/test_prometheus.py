"""What Prometheus and Grafana make of the daemon: rules, alerts and every query of the dashboard, for real."""

from __future__ import annotations

import json
import re
import threading
from contextlib import ExitStack
from email.message import Message
from functools import partial
from pathlib import Path

from tests.dashboard.build import FILE as DASHBOARD
from tests.e2e.front import Answer, Front, front
from tests.e2e.harm import close_in_the_future, many_packs, on_a_disk_of, trip_guard
from tests.e2e.prometheus import Prometheus, promtool, run_prometheus
from tests.e2e.proxy import hold_port, port_of
from tests.e2e.relays import relay_toml
from tests.e2e.servers import install_hook
from tests.e2e.tools import (
    Daemon,
    clone,
    dc,
    delta,
    git,
    primary_toml,
    push,
    wait_for,
)
from tests.git.wires import git_daemon

FOLDER = Path(__file__).parents[2] / "config" / "prometheus"
RULES = FOLDER / "dreamcatcherd.rules.yml"
RULE_TESTS = FOLDER / "dreamcatcherd.rules.test.yml"
INTERVAL_S = 0.3
GONE = """[[events]]
url = "http://127.0.0.1:1/nobody"
[[mirrors]]
name = "gone"
url = "git://127.0.0.1:1/fleet.git"
"""


def test_the_rules_and_the_example_are_accepted() -> None:
    """promtool finds no fault with the rules, nor with the example that scrapes."""
    promtool("check", "rules", RULES.name, cwd=FOLDER)
    assert f"{RULES.name}\n  SUCCESS" in promtool("check", "config", "scrape.yml", cwd=FOLDER)


def test_every_alert_fires_on_its_cause_and_only_then() -> None:
    """The rule tests pass, each alert has one in which it fires, and one of the live runs below waits for it."""
    promtool("test", "rules", RULE_TESTS.name, cwd=FOLDER)
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    tested = set(re.findall(r'exp_samples:\n +- labels: ALERTS\{alertname="(\w+)"', RULE_TESTS.read_text()))
    assert len(alerts) == len(set(alerts))
    assert set(alerts) == tested == set(re.findall(r'\("(Dreamcatcher\w+)", ', Path(__file__).read_text()))


def watched(tmp_path: Path, addresses: list[str]) -> Path:
    """The example and the rules as shipped, but quick: seconds in place of minutes, and these daemons as targets."""
    rules = re.sub(r"for: \d+m", "for: 0s", RULES.read_text()).replace("> 0) > 60", "> 0) > 1")
    rules = rules.replace("undelivered[10m]", "undelivered[3s]").replace("lag_seconds > 300", "lag_seconds > 3")
    rules = rules.replace("pending_deltas[2m]", "pending_deltas[3s]")
    assert rules.count("for: 0s") >= 5
    assert "> 0) > 1\n" in rules
    (tmp_path / RULES.name).write_text(rules)
    example = (FOLDER / "scrape.yml").read_text()
    config = re.sub(r": 15s", ": 500ms", example).replace('["127.0.0.1:9464"]', json.dumps(addresses))
    assert config.count("500ms") == 2
    path = tmp_path / "scrape.yml"
    path.write_text(config)
    return path


def trouble(repository: Path, tmp_path: Path) -> None:
    """What a worker can do wrong: garbage, a clock that is years ahead, and then nothing ever again."""
    worker = clone(repository, tmp_path / "worker")
    folder = "state/stream_deltas/1"
    garbage = {f"{folder}/bad-{number}.json": "{" for number in range(7)}
    ahead = {f"{folder}/{n}.json": delta(1, "w", "2199-01-01T00:00:00Z", posts_created=[n]) for n in range(5)}
    push(worker, {**garbage, **ahead}, "refs/heads/dc/w")


def all_queries() -> list[str]:
    """Every query of the dashboard as Grafana would send it, with everything chosen."""
    found = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"]
            for name, value in {"__rate_interval": "1m", "__range": "5m", "fleet": ".*", "instance": ".*"}.items():
                expr = expr.replace(f"${name}", value)
            found.append(expr)
    return found


def await_data(prometheus: Prometheus, expr: str) -> None:
    """Wait until a query returns data: some need a second sample of a series."""
    try:
        wait_for(lambda: prometheus.query(expr))
    except AssertionError as error:
        raise AssertionError(expr) from error


def hold(prometheus: Prometheus, wanted: set[tuple[str, str]]) -> None:
    """Wait until exactly these alerts fire."""
    try:
        wait_for(lambda: prometheus.firing() == wanted, 120)
    except AssertionError as error:
        raise AssertionError({"missing": wanted - prometheus.firing(), "more": prometheus.firing() - wanted}) from error


def test_a_real_prometheus_sees_a_fleet_in_trouble_and_the_dashboard_shows_it(tmp_path: Path) -> None:
    """Three daemons are scraped: one with unruly workers, one that cannot publish, one whose server is gone.

    Each of their alerts fires, for the right one, and no other; all queries of the dashboard return data. Then the
    first one's history is rewound to less, and then it is stopped."""
    for name in ("good", "unsigned", "cut"):
        (tmp_path / name).mkdir()
    repository = tmp_path / "good" / "fleet.git"
    dc("init", str(repository), "--no-hook")
    dc("init", str(tmp_path / "unsigned" / "fleet.git"))
    (tmp_path / "unsigned" / "key").write_text("no key")
    nobody = hold_port()
    gone = f"git://127.0.0.1:{port_of(nobody)}/fleet.git"
    more = {
        "good": "",
        "unsigned": f'[repository]\nsigning_key = "{tmp_path / "unsigned" / "key"}"\n',
        "cut": f'[repository]\nurl = "{gone}"\nclone = "{tmp_path / "cut" / "own"}"\n',
    }
    configs = {name: primary_toml(tmp_path / name, "interval", INTERVAL_S, text) for name, text in more.items()}
    with (
        nobody,
        Daemon(tmp_path / "good", "--config", str(configs["good"])) as good,
        Daemon(tmp_path / "unsigned", "--config", str(configs["unsigned"])) as unsigned,
        Daemon(tmp_path / "cut", "--config", str(configs["cut"])) as cut,
    ):
        at = [daemon.url().removeprefix("http://") for daemon in (good, unsigned, cut)]
        with run_prometheus(tmp_path, watched(tmp_path, at)) as prometheus:
            wait_for(lambda: len(prometheus.query("dreamcatcher_guard_tripped")) == 3)
            trouble(repository, tmp_path)
            usual = {
                ("DreamcatcherQuarantineRising", ""),
                ("DreamcatcherStreamClockSkew", ""),
                ("DreamcatcherStreamSilent", ""),
                ("DreamcatcherPublishFailing", at[1]),
                ("DreamcatcherFrameOverdue", at[1]),
                ("DreamcatcherRemoteUnreachable", at[2]),
            }
            hold(prometheus, usual)
            for expr in all_queries():
                await_data(prometheus, expr)
            for label in ("fleet", "instance"):
                assert prometheus.ask(f"/api/v1/label/{label}/values", **{"match[]": "dreamcatcher_build_info"})
            promtool("check", "metrics", cwd=tmp_path, stdin=good.get("/metrics"))
            trip_guard(repository)
            wait_for(lambda: ("DreamcatcherGuardTripped", at[0]) in prometheus.firing())
            assert good.stop()[0] == 0
            wait_for(lambda: ("DreamcatcherDown", at[0]) in prometheus.firing())


def test_a_real_prometheus_sees_what_is_wrong_with_a_machine(tmp_path: Path) -> None:
    """Packs that nobody joins, a clock that is ahead, a disk that is nearly full, a daemon that starts again and again.

    Each of the alerts that the other run leaves fires, for the right daemon, and no other."""
    for name in ("packs", "ahead", "full/disk", "again"):
        (tmp_path / name).mkdir(parents=True)
    dc("init", str(tmp_path / "packs" / "fleet.git"))
    many_packs(tmp_path / "packs" / "fleet.git", 201)
    dc("init", str(tmp_path / "ahead" / "fleet.git"))
    close_in_the_future(tmp_path / "ahead" / "fleet.git")
    held = hold_port()
    port = port_of(held)
    toml = {name: primary_toml(tmp_path / name) for name in ("packs", "ahead", "full", "again")}
    toml["again"].write_text(toml["again"].read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
    words = {name: ("--config", str(path)) for name, path in toml.items()}
    disk = tmp_path / "full" / "disk"
    with (
        held,
        Daemon(tmp_path / "packs", *words["packs"]) as packs,
        Daemon(tmp_path / "ahead", *words["ahead"]) as ahead,
        Daemon(tmp_path / "full", *words["full"], within=on_a_disk_of("300m", disk)) as full,
    ):
        at = [daemon.url().removeprefix("http://") for daemon in (packs, ahead, full)] + [f"127.0.0.1:{port}"]
        machine = {
            ("DreamcatcherCloneGrowing", at[0]),
            ("DreamcatcherPrimaryClockSkew", at[1]),
            ("DreamcatcherDiskLow", at[2]),
            ("DreamcatcherRestarting", at[3]),
        }
        starts = f'changes(process_start_time_seconds{{instance="{at[3]}"}}[10m])'
        with run_prometheus(tmp_path, watched(tmp_path, at)) as prometheus:
            for more in (0.0, 1.0, 2.0):
                with Daemon(tmp_path / "again", *words["again"]):
                    wait_for(partial(is_at, prometheus, starts, more))
            with Daemon(tmp_path / "again", *words["again"]):
                hold(prometheus, machine)


def test_a_real_prometheus_sees_what_servers_and_pushers_do(tmp_path: Path) -> None:
    """A server that limits, one that refuses a lane, somebody who rewinds `main` after every publication, one who
    pushes 51 MB, a receiver of events and a mirror that are not there, and a relay that upstream does not list: each
    alert fires for the right daemon."""
    repositories = {name: tmp_path / name / "fleet.git" for name in ("limited", "refused", "rewound", "large")}
    for repository in repositories.values():
        dc("init", str(repository), "--no-hook")
        git(repository, "config", "http.receivepack", "true")
        git(repository, "config", "receive.denyNonFastForwards", "false")
    start = git(repositories["rewound"], "rev-parse", "main")
    limits = threading.Event()

    def answer(_: Front, wanted: str, __: Message) -> Answer:
        limited = limits.is_set() and wanted.startswith("POST") and wanted.endswith("git-receive-pack")
        return (429, {"Retry-After": "600"}, b"slow down") if limited else None

    refused = clone(repositories["refused"], tmp_path / "worker")
    push(refused, {"state/stream_deltas/1/w.json": delta(1, "w", observations=["secret"])}, "refs/heads/dc/w")
    large = clone(repositories["large"], tmp_path / "writer")
    push(large, {"state/dreamcatcher.toml": "[limits]\ndelta_bytes = 100_000_000\n"})
    push(large, {"state/stream_deltas/1/w.json": delta(1, "w", observations=["x" * 51_000_000])}, "refs/heads/dc/w")
    script = (
        'while read -r old new ref; do git diff "$old" "$new" | grep -q secret && echo "a secret" >&2 && exit 1; done'
    )
    install_hook(repositories["refused"], script + "; exit 0")
    with front(tmp_path / "limited", answer) as limited, git_daemon(tmp_path / "refused") as refusing:
        urls = {
            "limited": limited.url,
            "refused": f"{refusing}/fleet.git",
        }
        urls |= {name: str(repositories[name]) for name in ("rewound", "large")}
        configs = {
            name: primary_toml(
                tmp_path / name,
                "interval",
                INTERVAL_S,
                f'[repository]\nurl = "{url}"\nclone = "{tmp_path / name / "own"}"\n'
                + (GONE if name == "large" else ""),
            )
            for name, url in urls.items()
        }
        with ExitStack() as stack:
            configs["relay"] = relay_toml(tmp_path / "relay", tmp_path / "region.git", str(repositories["large"]))
            daemons = {
                name: stack.enter_context(Daemon(tmp_path / name, "--config", str(path)))
                for name, path in configs.items()
            }
            at = {name: daemon.url().removeprefix("http://") for name, daemon in daemons.items()}
            prometheus = stack.enter_context(run_prometheus(tmp_path, watched(tmp_path, list(at.values()))))
            wait_for(lambda: len(prometheus.query("dreamcatcher_lanes_refused")) == len(configs), 120)
            wait_for(lambda: git(tmp_path / "region.git", "rev-parse", "-q", "--verify", "main", check=False))
            region = clone(tmp_path / "region.git", tmp_path / "regional")
            push(region, {"state/stream_deltas/1/r.json": delta(1, "r", observations=[1])}, "refs/heads/dc/r")
            limits.set()
            wanted = {
                ("DreamcatcherServerLimits", at["limited"]),
                ("DreamcatcherLanesRefused", at["refused"]),
                ("DreamcatcherEditsRepeated", at["rewound"]),
                ("DreamcatcherLargeFile", at["large"]),
                ("DreamcatcherEventsUndelivered", at["large"]),
                ("DreamcatcherRelayBehind", at["relay"]),
                ("DreamcatcherMirrorUnreachable", at["large"]),
                ("DreamcatcherMirrorLags", at["large"]),
            }

            def seen() -> bool:
                # The daemon may hold the lock of the ref just now.
                git(repositories["rewound"], "update-ref", "refs/heads/main", start, check=False)
                return wanted <= prometheus.firing()

            wait_for(seen, 240)


def is_at(prometheus: Prometheus, expr: str, value: float) -> bool:
    return [found for _, found in prometheus.query(expr)] == [value]
