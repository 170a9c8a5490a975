"""Every mistake of a document is found by the structs that read it (docs/protocol.md#configuration)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, structs

from dreamcatcherd.config_remotes import MirrorConfig
from dreamcatcherd.config_tables import Config, EventsConfig
from dreamcatcherd.core.mistakes import (
    MISTAKES_MOST,
    SHOWN_MOST,
    Mistake,
    independent,
    listed,
    mistakes_in,
    without_mistakes,
)
from dreamcatcherd.core.settings import SettingsError, read_settings
from dreamcatcherd.core.settings_schema import Row, SettingsFile
from dreamcatcherd.core.view_settings import ViewFile

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(
        [True, False, 0, 1, 7, -1, 2.5, 10**30, float("nan"), "", "a", "map", "lww", "cron", "frame.closed"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
"""What a TOML file may hold for a key; some of these fit some keys."""


NAMED: dict[str, type[Struct]] = {"collections": Row, "views": ViewFile}
"""Tables of tables, with the struct of one."""
LISTED: dict[str, type[Struct]] = {"events": EventsConfig, "mirrors": MirrorConfig}
"""Lists of tables, with the struct of one."""


def tables_of(schema: type[Struct]) -> st.SearchStrategy[Any]:
    """Tables with some keys of a struct, some unknown ones, and now and then no table at all."""
    names = [field.encode_name for field in structs.fields(schema)] + ["kye", "zzz"]
    return st.dictionaries(st.sampled_from(names), VALUES, max_size=4) | VALUES


def documents(schema: type[Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """Documents with some tables of a schema."""
    made: dict[str, st.SearchStrategy[Any]] = {"zzz": VALUES}
    for field in structs.fields(schema):
        if field.name in NAMED:
            made[field.name] = st.dictionaries(st.sampled_from("ab"), tables_of(NAMED[field.name]), max_size=2)
        elif field.name in LISTED:
            made[field.name] = st.lists(tables_of(LISTED[field.name]), max_size=2) | VALUES
        else:
            made[field.name] = tables_of(field.type)
    return st.fixed_dictionaries({}, optional=made)


@pytest.mark.parametrize("schema", [Config, SettingsFile])
@given(st.data())
def test_a_document_has_mistakes_exactly_if_it_is_not_accepted(schema: type[Struct], data: st.DataObject) -> None:
    """So nothing is refused that was accepted; and without what has a mistake a document is accepted."""
    document = data.draw(documents(schema))
    found = mistakes_in(document, schema)
    try:
        msgspec.convert(document, schema)
    except msgspec.ValidationError:
        assert found
    else:
        assert not found
    msgspec.convert(without_mistakes(document, found), schema)


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("a = 1", ["a is unknown; known are collections, "]),
        ("[limit]", ["[limit] is unknown; did you mean 'limits'?"]),
        ("depth = 1", ["depth is unknown; it is a key of [limits]: write it below that line"]),
        ("collections = 1", ["[collections] is a number: it takes tables, each as [collections.NAME]"]),
        ("[collections]\nx = 1", ["[collections.x] is a number: it takes a table of keys"]),
        ("[collections.x]\nrule = 'LWW'", ['[collections.x] rule is "LWW": it takes "append", ']),
        ("[collections.x]\nrule = 'LWW'", ["; did you mean 'lww'?"]),
        ("[collections.x]\nkey = 'k'", ["[collections.x] key is text: it takes a list of texts or lists"]),
        ("[views.x]\ncollection = 'posts'", ["[views.x] needs path"]),
        ("[intake]\nroots = []", ["[intake] roots is an empty list: it takes a list that is not empty"]),
        ("[intake]\nroots = ['a', 1, 2]", ["roots item 2 is 1: it takes text", "roots item 3 is 2: it takes text"]),
        ("[limits]\ndepth = 1979-05-27", ["[limits] depth is a date or a time: it takes a whole number from 2 to 512"]),
        (f"[limits]\ndepth = {10**30}", ["[limits] depth is a number of more than 15 digits: it takes a whole number"]),
        (
            "[limits]\ndepth = 1\nrecords = 'x'\n[lanes]\nprefix = 'dc/'\n[collections.a]\nrule = 'sum'\nttl = 3\n"
            "[collections.b]\nkeys = ['x']\nrule = 'sum'\n[collections.c]\nshard = 'x'\n"
            "[views.q]\ncollection = 'b'\npath = '/x'\n[views.r]\ncollection = 'post'\npath = 'state'\nmeta = 'm'\n"
            "[security]\noperators = ['a']\n[intake]\nroots = ['/a', 'state', 'x']\nutc = ['a..b']",
            [
                "[limits] depth is 1: ",
                "[limits] records is text: ",
                "[collections.b] keys is unknown; did you mean 'key'?",
                "[lanes] prefix 'dc/' is not a prefix of refs such as 'refs/heads/dc/'",
                "[intake] roots: '/a' is not a relative path",
                "[intake] roots: 'state' holds canonical files",
                "[intake] utc: 'a..b' is not a dotted path",
                "[collections.a] rule 'sum' needs a key",
                "[collections.a] ttl goes with the rule 'claim'",
                "[collections.c] shard 'x' is not a field of the only key",
                "[security] operators goes with allowed_signers",
                "[views.q] path: '/x' is not a relative path",
                "[views.r] there is no collection 'post'; did you mean 'posts'?",
                "[views.r] meta needs an object",
                "[views.r] path: 'state' is taken by state/snapshot",
            ],
        ),
    ],
)
def test_the_settings_of_a_repository_name_every_mistake(text: str, mistakes: list[str]) -> None:
    """With the key, what it takes and the nearest name; what only follows from another mistake is left out."""
    with pytest.raises(SettingsError) as found:
        read_settings(text.encode())
    assert len(found.value.mistakes) == len(mistakes)
    for one, wanted in zip(found.value.mistakes, mistakes, strict=True):
        assert wanted in str(one)
        assert str(one) in str(found.value)


def test_a_file_full_of_mistakes_costs_and_says_no_more_than_a_bound() -> None:
    """Anybody may push a settings file of a megabyte: the search ends early, and the text lists the first ones."""
    text = "\n".join(f"a{number} = 1" for number in range(50_000))
    with pytest.raises(SettingsError) as found:
        read_settings(text.encode())
    assert len(found.value.mistakes) == MISTAKES_MOST
    assert str(found.value).endswith(f"; and {MISTAKES_MOST - SHOWN_MOST} more")
    with pytest.raises(SettingsError) as long:
        read_settings(f"{'a' * 500_000} = 1".encode())
    assert len(str(long.value)) < 500


def test_many_roots_and_views_are_not_compared_each_with_each() -> None:
    """10,000 of them are read; compared in pairs they would take minutes, in every push and at every look."""
    roots = ", ".join(f'"d/{number}"' for number in range(10_000))
    views = "".join(f'[views.v{number}]\ncollection = "posts"\npath = "v/{number}"\n' for number in range(10_000))
    read = read_settings(f"[intake]\nroots = [{roots}]\n{views}".encode())
    assert (len(read.intake.roots), len(read.views)) == (10_000, 10_000)


def test_what_may_follow_from_another_mistake_is_left_out() -> None:
    """From one that is known, one before it, in the same place, or in a table that holds it; others stay."""
    first = Mistake("a", "is wrong", at=(("a", "x"),))
    beside = Mistake("b", "is wrong", at=(("a", "y"),))
    follows = Mistake("c", "needs x", at=(("c",),), needs=(("a", "x"),))
    inside = Mistake("d", "is wrong", at=(("a", "x", 1),))
    nowhere = Mistake("e", "is wrong")
    assert independent([follows, first, beside, inside, nowhere]) == [follows, first, beside, nowhere]
    assert independent([follows, inside, beside, nowhere], [first]) == [beside, nowhere]
    assert listed([beside, nowhere]) == "b is wrong; e is wrong"
