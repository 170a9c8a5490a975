"""A repository on this disk with a mirror of it, stepped by hand."""

from __future__ import annotations

from pathlib import Path

from dreamcatcherd.config_remotes import MirrorConfig
from dreamcatcherd.core import paths
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.settings import DEFAULT
from dreamcatcherd.daemon.mirror_config import mirror_of
from dreamcatcherd.daemon.mirror_copier import MirrorCopier
from dreamcatcherd.daemon.mirror_intake import MirrorIntake
from dreamcatcherd.git.kept_refs import KeptRefs
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.mirror import MirrorWire
from dreamcatcherd.imports.new_repository import create
from tests.e2e.tools import git
from tests.law.fleet import MAIN, NOW, commit_files, primary_on
from tests.stages.tools import text

LANES = "refs/heads/dc/"


class Pair:
    """A deciding repository with its primary, and a mirror that was cloned from it."""

    def __init__(self, folder: Path) -> None:
        self.store = create(folder / "main.git", 1, NOW, Closing("manual"))
        self.primary = primary_on(self.store)
        self.settings = DEFAULT
        self.path = folder / "north.git"
        git(folder, "clone", "-q", "--mirror", str(self.store.folder), str(self.path))
        self.mirror = LocalStore(self.path)
        self.kept = KeptRefs(self.store.folder, is_clone=False)
        self.restart()

    def restart(self) -> None:
        """Forget what is in memory."""
        site = mirror_of(MirrorConfig(name="north", url=str(self.path), timeout=120))
        self.wire = MirrorWire(site.access, self.store.folder)
        self.intake = MirrorIntake(site, self.wire, self.kept)
        self.copier = MirrorCopier(self.wire)

    @property
    def published(self) -> str:
        return self.store.refs()[paths.PUBLISHED]

    def listed(self) -> dict[str, str]:
        return self.intake.list_heads(MAIN, self.settings)

    def read(self) -> list[tuple[str, str] | None]:
        """One look; returns the branches whose heads are kept then."""
        reader = self.store.reader()
        listed = self.listed()
        self.intake.judge(reader, listed, self.published)
        return sorted(map(paths.mirrored_branch, self.intake.read(reader, listed, self.published, MAIN)), key=str)

    def copy(self) -> None:
        self.copier.bring_forward(self.store.reader(), self.published, MAIN, self.listed(), self.listed)

    def push(self, name: str, ref: str = f"{LANES}s", number: int = 0, *, orphan: bool = True) -> str:
        files = {f"{paths.DELTAS}/1/{name}.json": text(number=number)}
        return commit_files(self.mirror, ref, files, orphan=orphan)

    def is_current(self) -> bool:
        refs = self.listed()
        return refs[MAIN] == refs[paths.PUBLISHED] == self.published
