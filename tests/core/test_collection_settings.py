"""Rows of the table from the settings: keys, rules, sections, what never matches (docs/protocol.md#collections)."""

from __future__ import annotations

import pytest

from dreamcatcherd.core.collection_settings import TTL
from dreamcatcherd.core.collections import DEFAULT_TABLE, Collection, KeyField
from dreamcatcherd.core.settings import SettingsError, read_settings


def row(text: str, name: str = "x") -> Collection:
    return read_settings(f"[collections.{name}]\n{text}".encode()).table[name]


def refused(text: str, name: str = "x") -> str:
    with pytest.raises(SettingsError) as error:
        row(text, name)
    assert f"[collections.{name}]" in str(error.value)
    return str(error.value)


def warned(text: str) -> list[str]:
    return [one.removeprefix("[collections.x] can never match: ") for one in read_settings(text.encode()).warnings]


def names(found: Collection) -> list[list[str]]:
    return [[field.name for field in choice] for choice in found.key]


# Keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ('["id"]', [["id"]]),
        ('["a", "b"]', [["a", "b"]]),
        ('[["id"], ["node", "agent"]]', [["id"], ["node", "agent"]]),
        ('[["a", "b"], ["b", "c"]]', [["a", "b"], ["b", "c"]]),
        ('[["a", "b"], ["a"]]', [["a", "b"], ["a"]]),
    ],
)
def test_a_key_is_one_list_of_fields_or_several(key: str, expected: list[list[str]]) -> None:
    """A list of names is the only key, a list of lists the alternatives in order."""
    assert names(row(f"key = {key}")) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('key = ["a", ["b"]]', "but not both"),
        ("key = [[]]", "an alternative without a field"),
        ('key = [["a"], []]', "an alternative without a field"),
        ('key = [["a", "b"], ["b", "a"]]', "the same fields"),
        ('key = [["a", "a"], ["b"]]', "distinct"),
        ('key = [["a"], ["_deleted"]]', "reserved"),
        ('key = ["a"]\ncontent = "_stamp"\nrule = "dedup"', "reserved"),
        ('key = [["a"], ["b"]]\nkey_aliases = {a = ["b"]}', "distinct"),
        ('key = [["a"], ["b"]]\nkey_aliases = {a = ["n"], b = ["n"]}', "distinct"),
        ('key = [["a"], ["b"]]\nkey_aliases = {a = ["a"]}', "distinct"),
        ('key = [["a"], ["b"]]\nkey_aliases = {a = ["t"]}\ncontent = "t"\nrule = "dedup"', "distinct"),
        ('key = [["a"], ["b"]]\ncontent = "a"\nrule = "dedup"', "distinct"),
        ('key = [["a"], ["b"]]\nkey_aliases = {a = [""]}', "not empty"),
        ('key = [["a"], ["b"]]\nshard = "a"', "the only key"),
    ],
)
def test_a_key_that_could_be_read_in_two_ways_is_refused(text: str, why: str) -> None:
    """Names and aliases of different fields are distinct over all alternatives: each is renamed in every record."""
    assert why in refused(text)


def test_a_field_may_be_in_several_alternatives_with_its_aliases() -> None:
    """It is the same field in each."""
    found = row('key = [["a", "b"], ["a", "c"]]\nkey_aliases = {a = ["aa"]}')
    assert found.key[0][0] == found.key[1][0] == KeyField("a", ("aa",))


def test_a_new_key_of_a_known_collection_keeps_what_is_known_of_its_fields() -> None:
    """Aliases and what may be absent stay with a field; text, form and patterns go with the old key."""
    found = row('key = [["uid"], ["node", "agent"]]', "reactions")
    node, agent = DEFAULT_TABLE["reactions"].key[1][0], DEFAULT_TABLE["reactions"].key[1][2]
    assert found.key == ((KeyField("uid"),), (node, agent))
    assert (found.rule, found.scalar, found.sections) == ("dedup", (), ("reactions_added",))
    assert row('key = ["discussion_number"]', "comments").content is None
    assert row('key = ["agent"]', "agents").form == "records"


# Rules ------------------------------------------------------------------------------------------------------------


def test_fields_have_rules_of_their_own() -> None:
    """They are sorted, so that their order in the file does not matter."""
    text = 'key = ["id"]\nfields = {traits = "deep", post_count = "sum"}'
    assert row(text).fields == (("post_count", "sum"), ("traits", "deep"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((f'key = ["k"]\nrule = "{rule}"\nfields = {{a = "sum"}}', "complete records") for rule in ("dedup", "first")),
        ('key = ["k"]\nrule = "claim"\nfields = {a = "sum"}', "complete records"),
        ('fields = {a = "sum"}', "complete records"),
        ('key = ["k"]\nfields = {k = "max"}', "neither a key field nor reserved"),
        ('key = [["k"], ["j"]]\nfields = {j = "max"}', "neither a key field nor reserved"),
        ('key = ["k"]\nfields = {_stamp = "max"}', "neither a key field nor reserved"),
        ('key = ["k"]\nfields = {"" = "max"}', "neither a key field nor reserved"),
        ('key = ["k"]\nttl = 3', "ttl goes with"),
        ('delete = "gone"', "has no deletions"),
        ('key = ["k"]\nrule = "claim"\ndelete = "gone"', "has no deletions"),
        ('key = ["k"]\nrule = "claim"\ncontent = "t"', "content goes with"),
        *((f'key = ["{name}"]\nrule = "claim"', "reserved") for name in ("op", "holder", "since", "until")),
        ('key = ["k"]\nkey_aliases = {k = ["until"]}\nrule = "claim"', "reserved"),
    ],
)
def test_rules_that_do_not_go_together_are_refused(text: str, why: str) -> None:
    """Field rules, deletions, claims and texts each need a rule that can have them."""
    assert why in refused(text)


def test_a_claim_holds_for_some_frames() -> None:
    """Three where the settings do not say."""
    assert row('key = ["k"]\nrule = "claim"').ttl == TTL == 3
    assert row('key = ["k"]\nrule = "claim"\nttl = 10').ttl == 10
    assert row('key = ["k"]').ttl == 0


def test_a_deletion_belongs_to_a_row() -> None:
    """A default row gets it without changing anything else."""
    found = row('delete = "posts_removed"', "posts")
    assert (found.delete, found.identity) == ("posts_removed", DEFAULT_TABLE["posts"].identity)


# Bare strings -----------------------------------------------------------------------------------------------------


def test_patterns_of_bare_strings_are_one_or_several() -> None:
    """They are tried in the order of the file."""
    assert row('key = ["a", "b"]\nscalar = "{a}:{b}"').scalar == ("{a}:{b}",)
    assert row('key = ["a", "b"]\nscalar = ["{b}/{a}", "{a}"]').scalar == ("{b}/{a}", "{a}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('key = ["a"]\nscalar = "a"', "fields in braces"),
        ('key = ["a"]\nscalar = ""', "fields in braces"),
        ('key = ["a", "b"]\nscalar = "{a}{b}"', "with text between them"),
        ('key = ["a"]\nscalar = "{a}:{a}"', "each once"),
        ('key = ["a"]\nscalar = "{b}"', "no key has together"),
        ('key = [["a"], ["b"]]\nscalar = "{a}:{b}"', "no key has together"),
        ('scalar = "{a}"', "no key has together"),
        ('key = [["a", "b"], ["a"]]\nscalar = "{a}"', "another key too"),
        ('key = [["b"], ["a", "b"]]\nscalar = "{a}"', "another key too"),
    ],
)
def test_a_pattern_that_gives_no_certain_key_is_refused(text: str, why: str) -> None:
    """It names fields of one key, and what it leaves out as null must not make the record one of another key."""
    assert why in refused(text)


# Sections ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("", ("x",)),
        ('section = "s"', ("s",)),
        ('section = ["s", "meta.t"]', ("s", "meta.t")),
        ('section = ["s", "t"]\naliases = ["u"]', ("s", "t", "u")),
        ('section = "s"\naliases = ["u"]', ("s", "u")),
        ('aliases = ["u"]', ("x", "u")),
    ],
)
def test_sections_are_names_or_paths(text: str, sections: tuple[str, ...]) -> None:
    """One, several, or one with aliases; the order is that of the records of one delta."""
    assert row(text).sections == sections


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('section = ""', "a section has a name"),
        ('key = ["k"]\nsection = "s"\ndelete = "s"', "named twice"),
        ('section = ["s", "s"]', "named twice"),
    ],
)
def test_a_section_has_a_name_and_one_meaning(text: str, why: str) -> None:
    """Neither an empty name nor the same one twice is a section."""
    assert why in refused(text)


@pytest.mark.parametrize("name", ["book_progress", "library"])
def test_what_the_merge_derives_cannot_be_a_collection(name: str) -> None:
    """Their rows are made out of chapters and books."""
    assert "choose another name" in refused("", name)


def test_a_row_without_its_sections_stays() -> None:
    """What lost all its sections to others keeps its entities, and nothing new comes."""
    found = read_settings(b'[collections.x]\nsection = "books_started"')
    assert (found.table["books"].sections, found.table["x"].sections) == ((), ("books_started",))


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ('[collections.x]\nsection = "utc.zone"', ["section 'utc.zone' is the header field 'utc', or below it"]),
        (
            '[collections.x]\nsection = "_meta.frame"',
            ["section '_meta.frame' is the header field '_meta.frame', or below it"],
        ),
        ('[collections.x]\nsection = "_meta"', []),
        (
            '[intake]\nstream_id = ["who.id"]\n[collections.x]\nsection = "s"\nkey = ["k"]\ndelete = "who.id.gone"',
            ["section 'who.id.gone' is the header field 'who.id', or below it"],
        ),
        (
            '[collections.x]\nform = "map"\ncontent = "t"\nrule = "dedup"',
            ["a map gives a key field, and its key is the text of 't' alone"],
        ),
        ('[collections.x]\nform = "map"\nkey = ["k"]', []),
    ],
)
def test_what_can_never_match_is_a_warning(text: str, warnings: list[str]) -> None:
    """Sections at or below a header field, and keys that the form cannot give."""
    assert warned(text) == warnings
