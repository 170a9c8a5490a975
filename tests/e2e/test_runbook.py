"""The runbook: each alert, cause and log line is in it, and its commands work on a real daemon in trouble."""

from __future__ import annotations

import ast
import os
import re
import shlex
from pathlib import Path

import pytest

from dreamcatcherd.git.failures import _CAUSES, _STATUSES
from tests.e2e.harm import trip_guard
from tests.e2e.test_docs import ROOT, blocks, observed, shell
from tests.e2e.test_prometheus import RULES
from tests.e2e.tools import Daemon, clone, dc, delta, git, primary_toml, push, wait_for

PAGE = "docs/runbook.md"
TEXT = (ROOT / PAGE).read_text()
PLAIN = " ".join(TEXT.split())
FAILURES = {"RetryableError", "FatalError", "GuardError", "PushRefusedError", "UnclearError", "OvertakenError"}
FAILURES |= {"DamagedRefsError", "RedirectedError", "disk_failure"}
RAISERS = {
    "git": "access clone_refs command commits disk_errors failures integrity local locks own_clone packs redirects "
    "remote repository signatures transport",
    "stages": "publish published snapshot snapshot_chain",
}


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def pieces(node: ast.expr) -> list[str]:
    """The fixed parts of a text."""
    values = node.values if isinstance(node, ast.JoinedStr) else [node]
    return [
        part.value.strip(" :;") for part in values if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def causes() -> set[str]:
    """The longest fixed part of each cause that a cycle can fail with, from the code that raises it."""
    found = {cause for _, cause, _ in _CAUSES} | {f"{cause} ({status})" for status, (cause, _) in _STATUSES.items()}
    files = [ROOT / f"dreamcatcherd/{folder}/{name}.py" for folder, names in RAISERS.items() for name in names.split()]
    for file in [*files, ROOT / "dreamcatcherd/daemon/cycle.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            text: ast.expr | None = None
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in FAILURES
                and node.args
            ):
                text = node.args[0]
            elif (
                isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "cause"
            ):
                text = node.value
            if text is not None and (parts := pieces(text)):
                found.add(max(parts, key=len))
    return found


def events() -> set[str]:
    """Everything that the daemon logs by name."""
    found: set[str] = set()
    modules = (
        "observe/logs.py",
        "observe/otlp.py",
        "daemon/service.py",
        "daemon/upkeep.py",
        "daemon/event_delivery.py",
    )
    for name in modules:
        for node in ast.walk(ast.parse((ROOT / "dreamcatcherd" / name).read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "python":
                continue  # the cause of a `library message`
            if node.func.attr in ("debug", "info", "warning", "error"):
                found.update(part for arg in node.args[:1] for part in pieces(arg))
    return found


def test_each_alert_leads_to_a_section_and_each_section_belongs_to_one() -> None:
    """Every runbook_url is an anchor of the page; every section about alerts is led to, from the list of alerts too,
    and names its alerts."""
    rules = dict(re.findall(r"- alert: (\w+)\n.*?runbook_url: docs/runbook\.md#(\S+)", RULES.read_text(), re.DOTALL))
    assert len(rules) == RULES.read_text().count("- alert:")
    about = TEXT.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    sections = dict(re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", about, re.MULTILINE | re.DOTALL))
    titles = {title.lower().replace(" ", "-"): text for title, text in sections.items()}
    assert set(rules.values()) == set(titles)
    listed = TEXT.partition("\nAlerts: ")[2].partition("Messages:")[0]
    assert set(re.findall(r"\]\(#([\w-]+)\)", listed)) == set(titles)
    for alert, anchor in rules.items():
        assert f"`{alert}`" in titles[anchor], alert


def test_links_lead_to_sections_that_there_are() -> None:
    """Every relative link names a file, and every anchor a heading in it."""
    page = ROOT / PAGE
    for file, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", TEXT):
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), (file, anchor)


@pytest.mark.parametrize("cause", sorted(causes()))
def test_each_cause_of_a_failed_cycle_is_told_of(cause: str) -> None:
    """What `cycle failed` can say stands in the page, word by word."""
    assert cause in PLAIN


@pytest.mark.parametrize("event", sorted(events()))
def test_each_log_line_is_told_of(event: str) -> None:
    """The page has whatever the daemon logs."""
    assert event.partition(";")[0] in PLAIN


def test_there_is_something_to_find() -> None:
    """The tests above read the code: they found the causes and events that everybody knows."""
    assert {"cannot be reached", "the objects could not be written to", "could not be moved"} <= {
        known for cause in causes() for known in (cause, cause.removeprefix("of "))
    }
    assert {"frame closed", "cycle failed", "housekeeping failed", "lane removed"} <= events()


def stand_ins(tmp_path: Path, log: Path) -> None:
    """systemd's programs where there is no systemd: the journal is the daemon's log."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, line in (("journalctl", f"cat {shlex.quote(str(log))}"), ("systemctl", 'echo "systemctl $*"')):
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)


@pytest.mark.needs("curl")
def test_its_commands_work_on_a_daemon_in_trouble(tmp_path: Path) -> None:
    """Every block runs; the guard's cure lets publishing go on with all that was pushed; the rescue mends objects."""
    repository, mirror = tmp_path / "fleet.git", tmp_path / "mirror.git"
    dc("init", str(repository))
    run = blocks(PAGE)
    assert len(run) == TEXT.count("<!-- run: ")
    key = tmp_path / "key"
    key.write_text("no key")
    url = f'[repository]\nurl = "{repository}"\n'
    broken = primary_toml(tmp_path, "interval", 0.3, f'{url}signing_key = "{key}"\n')
    with Daemon(tmp_path, "--config", str(broken)) as daemon:
        wait_for(lambda: "cycle failed" in daemon.text)
        daemon.stop()
    config = primary_toml(tmp_path, "interval", 0.3, url)
    stand_ins(tmp_path, tmp_path / "daemon.log")
    worker = clone(repository, tmp_path / "worker")
    folder = "state/stream_deltas/1"
    push(worker, {f"{folder}/a.json": delta(1, "a", "2199-01-01T00:00:00Z", observations=["before"])})
    hook = repository / "hooks/pre-receive"
    hook.chmod(0o644)
    push(worker, {f"{folder}/bad.json": "{"})
    hook.chmod(0o755)
    starts = len(daemon.logged("started"))
    with Daemon(tmp_path, "--config", str(config)) as daemon:
        wait_for(lambda: len(daemon.logged("started")) > starts and "delta quarantined" in daemon.text)
        names = f"config={config}\nrepo={repository}\nat={daemon.url()}\n"
        wait_for(lambda: observed(repository) == ["before"])
        ordinary = run.keys() - {"guard_look", "guard_mend", "rescue"}
        printed = {name: shell(names + run[name], tmp_path) for name in sorted(ordinary)}
        assert "that is why" in printed["quarantined"]
        assert "not-json" in printed["quarantine"]
        assert "cannot be signed" in printed["causes"]
        trip_guard(repository)
        wait_for(lambda: "dreamcatcher_guard_tripped 1.0" in daemon.get("/metrics"))
        git(worker, "pull", "-q", "--rebase")
        push(worker, {f"{folder}/b.json": delta(1, "b", observations=["meanwhile"])})
        said = shell(names + run["guard_look"] + run["guard_mend"], tmp_path)
        new, published = re.findall(r"new (\w+), old \w+, published (\w+)", said)[0]
        assert new == published
        wait_for(lambda: sorted(observed(repository)) == ["before", "meanwhile"])
        wait_for(lambda: "dreamcatcher_guard_tripped 0.0" in daemon.get("/metrics"))
        assert daemon.stop()[0] == 0
    git(tmp_path, "clone", "-q", "--mirror", "--no-hardlinks", str(repository), str(mirror))
    for pack in (repository / "objects/pack").glob("*.pack"):
        pack.chmod(0o644)
        os.truncate(pack, 60)
    assert "git fsck" in dc("merge", "--repo", str(repository), code=3)
    shell(names + run["rescue"].replace("/srv/mirror.git", str(mirror)), tmp_path)
    dc("merge", "--repo", str(repository))
    assert sorted(observed(repository)) == ["before", "meanwhile"]
