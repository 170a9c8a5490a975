"""The one reader of a session: a store that went stale is opened again, once; what is really missing is an error."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamcatcherd.agents.repository import SharedReader, SharedView
from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.errors import FatalError, UsageError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.opening import open_configured
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.imports.new_repository import create


class Opener:
    """Opens a new repository, and counts how often."""

    def __init__(self, folder: Path) -> None:
        create(folder, 1, 0, Closing())
        self._folder = folder
        self.opened: list[Primary] = []

    def __call__(self) -> Primary:
        self.opened.append(open_configured(Config(), str(self._folder)))
        return self.opened[-1]


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    return Opener(tmp_path / "fleet.git")


@pytest.fixture
def reader(opener: Opener) -> Iterator[SharedReader]:
    found = SharedReader(opener)
    yield found
    found.close()


def test_a_session_has_one_store_and_one_thread(reader: SharedReader, opener: Opener) -> None:
    """Questions asked at the same time are answered one after the other, by the store that was opened first."""

    def look(view: SharedView) -> tuple[Primary, int]:
        return view.primary, threading.get_ident()

    async def ask() -> list[tuple[Primary, int]]:
        return await asyncio.gather(*(reader.ask(look) for _ in range(5)))

    reader.open()
    answers = asyncio.run(ask())
    assert len(set(answers)) == 1
    assert opener.opened == [answers[0][0]]


def test_a_store_that_went_stale_is_opened_again(reader: SharedReader, opener: Opener) -> None:
    """The first store fails, as after its clone was recreated; the answer is the second one's."""

    def look(view: SharedView) -> Primary:
        if view.primary is opener.opened[0]:
            raise FatalError("an object is gone", "restore it")
        return view.primary

    reader.open()
    assert asyncio.run(reader.ask(look)) is opener.opened[1]
    assert len(opener.opened) == 2


def test_what_a_new_store_lacks_too_is_an_error(reader: SharedReader, opener: Opener) -> None:
    """The repository is opened again once for each question, and not for ever; the next question begins anew."""

    def fail(_view: SharedView) -> None:
        raise FatalError("an object is gone", "restore it")

    reader.open()
    for asked in (1, 2):
        with pytest.raises(FatalError, match="is gone"):
            asyncio.run(reader.ask(fail))
        assert len(opener.opened) <= 1 + asked
    assert asyncio.run(reader.ask(lambda view: view.primary.store.where))


def test_a_repository_that_cannot_be_opened_shows_at_the_start(tmp_path: Path) -> None:
    """The error of opening it is that of `open`."""
    reader = SharedReader(lambda: open_configured(Config(), str(tmp_path / "nowhere.git")))
    with pytest.raises(UsageError, match="nowhere"):
        reader.open()
    reader.close()
