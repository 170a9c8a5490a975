"""Input that is made to hang or to break the merge is set aside like any other garbage (docs/protocol.md#a-delta)."""

from __future__ import annotations

import json

import pytest

from dreamcatcherd.core.codec import read_document
from dreamcatcherd.core.model import Fault, Limits
from dreamcatcherd.core.settings import SettingsError, read_settings
from tests.law.fleet import close, new_primary, send
from tests.law.model import Sent

LIMIT = 16 * 2**20


def test_an_unterminated_string_behind_many_brackets_is_judged_in_one_pass() -> None:
    """4 MiB of escaped quotes that no quote ends are refused; scanning them again from each quote would take hours."""
    raw = b"[" * 129 + b'"' + b'\\"' * 2**21
    found = read_document(raw, Limits(delta_bytes=LIMIT, depth=128))
    assert isinstance(found, Fault)
    assert found.reason == "too-deep"


def test_a_duplicate_among_very_many_keys_is_found_in_one_pass() -> None:
    """The one key that stands twice among 300,000 is named; comparing each with all before would take hours."""
    raw = b"{" + b",".join(b'"k%d":1' % number for number in range(300_000)) + b',"k299999":1}'
    found = read_document(raw, Limits(delta_bytes=LIMIT, depth=128))
    assert isinstance(found, Fault)
    assert (found.reason, "k299999" in found.detail) == ("duplicate-key", True)


@pytest.mark.parametrize("sign", ["", "-"])
def test_counters_too_large_to_add_up_never_stop_the_frame(sign: str) -> None:
    """Integers as long as JSON may carry are kept as misfits, and this frame and the next ones close."""
    primary = new_primary(b"")
    for number in range(3):
        head = {"frame": 1, "utc": f"2026-01-01T00:00:0{number}Z", "stream_id": "b"}
        body = json.dumps({**head, "counters": {"small": 1}})[:-2] + f', "huge": {sign}{"9" * 4299}}}}}'
        send(primary.store, Sent(body.encode()), f"d{number}", lane=False)
        close(primary)
    base = primary.load_published(primary.store.refs())
    assert base.ledger is not None
    assert base.ledger.counts.entities == {"counters": 1, "extra": 3}


@pytest.mark.parametrize("raw", [b"x=" + b"[" * 3000, b"[limits]\ndepth=" + b"9" * 5000, b"\xff", b"[limits"])
def test_settings_that_cannot_be_read_are_refused_as_such(raw: bytes) -> None:
    """Whatever is wrong with a settings file, it is refused with a SettingsError and nothing else."""
    with pytest.raises(SettingsError):
        read_settings(raw)


@pytest.mark.parametrize(
    "prefix", ["refs/heads/", "refs/dreamcatcher/", "refs/tags/", "refs/remotes/x/", "refs/notes/"]
)
def test_a_lane_prefix_must_leave_other_refs_alone(prefix: str) -> None:
    """Lanes are removed once they are merged, so the prefix may not cover branches, tags or the published ref."""
    with pytest.raises(SettingsError):
        read_settings(f'[lanes]\nprefix = "{prefix}"\n'.encode())


def test_an_empty_section_name_is_refused() -> None:
    """An empty section name is a mistake, not a request for the default."""
    with pytest.raises(SettingsError):
        read_settings(b'[collections.claims]\nsection = ""\nkey = ["resource"]\nrule = "first"\n')


def test_settings_that_break_the_parser_leave_the_last_good_ones() -> None:
    """A settings file that overwhelms the parser is refused, named in the ledger, and merging goes on."""
    primary = new_primary(b"x=" + b"[" * 3000)
    close(primary)
    base = primary.load_published(primary.store.refs())
    assert base.ledger is not None
    assert (base.ledger.frame, base.ledger.counts.violations, base.settings.blob) == (1, 1, None)
