"""The settings that the merge depends on: good files, bad files, and what may follow what.

Contract: docs/protocol.md#the-repository."""

from __future__ import annotations

import pytest

from dreamcatcherd.core.collections import DEFAULT_TABLE, Collection, KeyField, sections_of
from dreamcatcherd.core.settings import DEFAULT, Limits, Settings, SettingsError, read_settings, why_refused
from dreamcatcherd.core.settings_schema import LANES
from dreamcatcherd.core.signers import Signers

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKr9bW39+VuRbozqQKj9rOxNy7KOuaTpBel6hVXdi3Re"


def read(text: str) -> Settings:
    return read_settings(text.encode())


def row(text: str, name: str) -> Collection:
    return read(text).table[name]


def test_an_empty_file_gives_the_defaults() -> None:
    """No settings are the protocol's own table and limits."""
    assert read("") == DEFAULT
    assert DEFAULT.limits == Limits(16 * 2**20, 128, 1_000)
    assert (DEFAULT.lane_prefix, LANES, DEFAULT.blob) == ("refs/heads/dc/", "refs/heads/dc/", None)


def test_the_default_table_is_the_protocols() -> None:
    """Sections, key fields and rules are those of the table in docs/protocol.md#a-delta."""
    found = {
        row.name: (row.sections[0], [[field.name for field in choice] for choice in row.key], row.rule)
        for row in DEFAULT_TABLE.values()
    }
    assert found == {
        "posts": ("posts_created", [["discussion_number"]], "lww"),
        "comments": ("comments_added", [["id"], ["discussion_number", "author"]], "dedup"),
        "chapters": ("chapters_added", [["book", "chapter", "author"]], "lww"),
        "books": ("books_started", [["book"]], "lww"),
        "agents": ("profile_updates", [["agent"]], "lww"),
        "reactions": ("reactions_added", [["id"], ["node", "type", "agent"]], "dedup"),
        "counters": ("counters", [["name"]], "sum"),
        "observations": ("observations", [], "append"),
    }


def test_the_settings_remember_their_blob() -> None:
    """The ledger names the blob of the settings, so they carry it."""
    assert read_settings(b"", "0" * 40).blob == "0" * 40


def test_a_collection_is_added_by_a_few_lines() -> None:
    """The protocol's own example is a row of its own, and the defaults stay."""
    settings = read('[collections.claims]\nsection = "claims"\nkey = ["resource"]\nrule = "first"\n')
    assert settings.table["claims"] == Collection("claims", ("claims",), ((KeyField("resource"),),), "first")
    assert {name: settings.table[name] for name in DEFAULT_TABLE} == dict(DEFAULT_TABLE)
    assert sections_of(settings.table)["claims"] == (settings.table["claims"], 0)


@pytest.mark.parametrize("rule", ["lww", "dedup", "sum", "max", "min", "first", "union", "claim"])
def test_every_keyed_rule_can_be_named(rule: str) -> None:
    """All the rules that need a key are accepted with one."""
    assert row(f'[collections.x]\nkey = ["k"]\nrule = "{rule}"', "x").rule == rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [("", "append"), ('rule = "append"', "append"), ('key = ["k"]', "lww"), ('content = "t"\nrule = "first"', "first")],
)
def test_what_is_left_out_of_a_new_collection_has_a_default(text: str, rule: str) -> None:
    """The section is called as the collection, and the rule follows from whether there is a key."""
    found = row(f"[collections.x]\n{text}", "x")
    assert (found.sections, found.rule, found.form) == (("x",), rule, "records")


def test_what_is_left_out_of_a_known_collection_stays() -> None:
    """Changing one thing of a default row changes nothing else."""
    changed = row('[collections.posts]\naliases = ["posts_added"]', "posts")
    assert changed.sections == ("posts_created", "posts_added")
    assert changed.identity == DEFAULT_TABLE["posts"].identity
    assert changed.key == DEFAULT_TABLE["posts"].key
    renamed = row('[collections.chapters]\nsection = "kapitel"', "chapters")
    assert renamed.sections == ("kapitel", "chapters_written")


def test_key_aliases_are_kept_with_their_field() -> None:
    """A key field's other names stand after it."""
    text = '[collections.x]\nkey = ["a", "b"]\nkey_aliases = {b = ["bee", "be"]}'
    assert row(text, "x").key == ((KeyField("a"), KeyField("b", ("bee", "be"))),)


def test_content_and_shard_are_read() -> None:
    """Content is the last part of the key, shard the place of a key field."""
    text = '[collections.x]\nkey = ["a", "b"]\nrule = "dedup"\ncontent = "text"\nshard = "b"'
    found = row(text, "x")
    assert (found.content, found.shard) == ("text", 1)


def test_a_section_that_moves_leaves_its_old_owner() -> None:
    """A default section may go to another collection once its owner has another name for it."""
    text = '[collections.posts]\nsection = "p"\n[collections.mine]\nsection = "posts_created"\n'
    assert sections_of(read(text).table)["posts_created"][0].name == "mine"


def test_limits_and_prefix_are_read() -> None:
    """The numbers and the lanes' place are what the file says."""
    text = '[limits]\ndelta_bytes = 1024\ndepth = 2\nframes_ahead = 1\n[lanes]\nprefix = "refs/lanes/of-mine/"\n'
    settings = read(text)
    assert (settings.limits, settings.lane_prefix) == (Limits(1024, 2, 1), "refs/lanes/of-mine/")


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        "a = 1",
        "[limit]",
        "[limits]\nbytes = 5000",
        "[limits]\ndepth = 1",
        "[limits]\ndepth = 513",
        "[limits]\ndepth = 12.5",
        "[limits]\ndepth = true",
        '[limits]\ndepth = "12"',
        "[limits]\ndelta_bytes = 1023",
        "[limits]\ndelta_bytes = 1073741825",
        "[limits]\nframes_ahead = 0",
        "[limits]\nframes_ahead = 9007199254740992",
        "limits = 5",
        "[lanes]\nname = 1",
        "[collections]\nx = 1",
        "[collections.x]\nkeys = ['k']",
        "[collections.x]\nkey = 'k'",
        "[collections.x]\nkey = [1]",
        "[collections.x]\nkey = ['k']\nrule = 'last'",
        "[collections.x]\nkey = ['k']\nrule = 'LWW'",
        "[collections.x]\nkey = ['k']\n[collections.x]\n",
    ],
)
def test_a_file_that_is_not_of_the_schema_does_not_count(text: str) -> None:
    """Broken TOML, unknown keys, wrong types, numbers out of bounds and unknown rules are refused."""
    with pytest.raises(SettingsError):
        read(text)


def test_bytes_that_are_no_text_do_not_count() -> None:
    """Settings that are not UTF-8 are refused like any others."""
    with pytest.raises(SettingsError):
        read_settings(b"\xff")


@pytest.mark.parametrize(
    "prefix", ["", "dc/", "refs/heads/dc", "refs//", "refs/heads/d c/", "refs/heads/../", "/refs/x/"]
)
def test_a_prefix_that_is_no_ref_folder_does_not_count(prefix: str) -> None:
    """Lanes live below refs, in a folder that ends in a slash."""
    with pytest.raises(SettingsError, match="prefix"):
        read(f'[lanes]\nprefix = "{prefix}"')


@pytest.mark.parametrize("name", ["extra", '""', '"a/b"', '"a b"', '"-a"', '"é"', "a" * 65])
def test_a_name_that_cannot_be_a_collections_does_not_count(name: str) -> None:
    """Collections have short plain names, and extra is taken."""
    with pytest.raises(SettingsError, match="name is"):
        read(f"[collections.{name}]")


@pytest.mark.parametrize("section", ["frame", "utc", "completed_at", "timestamp", "stream_id"])
def test_the_header_as_a_section_is_warned_of(section: str) -> None:
    """The names that place a delta never match as section or as alias, and the settings count all the same."""
    warning = f"[collections.x] can never match: section '{section}' is the header field '{section}', or below it"
    for text in (f'section = "{section}"', f'aliases = ["{section}"]'):
        assert read(f"[collections.x]\n{text}").warnings == (warning,)


@pytest.mark.parametrize(
    ("text", "section", "owner", "loser"),
    [
        ('[collections.x]\nsection = "posts_created"', "posts_created", "x", "posts"),
        ('[collections.x]\naliases = ["agents_updated"]', "agents_updated", "x", "agents"),
        ('[collections.x]\nsection = "s"\n[collections.y]\nsection = "s"', "s", "x", "y"),
        ('[collections.x]\naliases = ["y"]\n[collections.y]\n', "y", "x", "y"),
        ('[collections.y]\n[collections.x]\naliases = ["y"]\n', "y", "y", "x"),
        ('[collections.x]\nkey = ["k"]\ndelete = "posts_created"', "posts_created", "x", "posts"),
    ],
)
def test_a_section_has_one_owner(text: str, section: str, owner: str, loser: str) -> None:
    """The first row of the settings wins a section, settings before defaults; the loser is a warning."""
    found = read(text)
    assert sections_of(found.table)[section][0].name == owner
    assert section not in found.table[loser].sections
    assert found.warnings == (f"[collections.{loser}] can never match: section {section!r} belongs to {owner}",)


def test_settings_without_a_mistake_have_no_warning() -> None:
    """Neither the defaults nor rows that do not meet say anything."""
    assert DEFAULT.warnings == read('[collections.x]\nkey = ["k"]\ndelete = "gone"').warnings == ()


def test_a_section_is_named_once() -> None:
    """An alias that repeats the section is refused."""
    with pytest.raises(SettingsError, match="twice"):
        read('[collections.x]\naliases = ["x"]')


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('key = ["a", "a"]', "distinct"),
        ('key = [""]', "distinct"),
        ('key = ["_stamp"]', "reserved"),
        ('key = ["a"]\nkey_aliases = {a = ["_stamps"]}', "reserved"),
        ('key = ["a", "b"]\nkey_aliases = {a = ["b"]}', "distinct"),
        ('key = ["a"]\nkey_aliases = {b = ["c"]}', "not a key field"),
        ('key = ["a"]\ncontent = "a"\nrule = "dedup"', "distinct"),
        ('key = ["a"]\nrule = "append"', "takes no key"),
        ('key = []\nrule = "lww"', "needs a key"),
        ('rule = "sum"', "needs a key"),
        ('key = ["a"]\ncontent = "c"\nrule = "lww"', "content"),
        ('content = "c"', "content"),
        ('key = ["a"]\nshard = "b"', "shard"),
        ('shard = "a"', "shard"),
    ],
)
def test_a_row_that_contradicts_itself_does_not_count(text: str, word: str) -> None:
    """Key fields are distinct and not reserved, and key, rule, content and shard go together."""
    with pytest.raises(SettingsError, match=word):
        read(f"[collections.x]\n{text}")


@pytest.mark.parametrize(
    "text",
    [
        '[collections.posts]\nkey = ["title"]',
        '[collections.posts]\nrule = "max"',
        '[collections.comments]\ncontent = "text"',
        '[collections.chapters]\nfields = {words = "max"}',
        '[collections.reactions]\nkey = ["id"]',
        '[collections.chapters]\nshard = "author"',
        '[collections.posts]\nrule = "first"\ncontent = "body"',
    ],
)
def test_a_collection_with_entities_keeps_its_key_and_rule(text: str) -> None:
    """What decides keys, joins and layout cannot change once there are entities, and may before."""
    new = read(text)
    name = next(name for name in DEFAULT_TABLE if f"[collections.{name}]" in text)
    assert name in (why_refused(new, DEFAULT, frozenset({name})) or "")
    assert why_refused(new, DEFAULT, frozenset(DEFAULT_TABLE) - {name}) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[limits]\ndepth = 5",
        '[collections.posts]\naliases = ["p"]',
        '[collections.posts]\nsection = "p"\nkey_aliases = {discussion_number = ["n"]}',
        '[collections.posts]\ndelete = "posts_removed"\nform = "map"',
        '[collections.reactions]\nscalar = "{node}"',
        '[collections.new]\nkey = ["k"]',
        '[lanes]\nprefix = "refs/lanes/"',
    ],
)
def test_other_settings_may_change_at_any_time(text: str) -> None:
    """Sections, aliases, limits, lanes and new collections do not touch what entities are keyed by."""
    assert why_refused(read(text), DEFAULT, frozenset(DEFAULT_TABLE)) is None


def test_a_collection_with_entities_cannot_be_taken_away() -> None:
    """A row that others added stays as long as it holds anything."""
    old = read('[collections.claims]\nkey = ["resource"]')
    assert "claims" in (why_refused(DEFAULT, old, frozenset({"claims"})) or "")
    assert why_refused(DEFAULT, old, frozenset({"posts"})) is None


@pytest.mark.parametrize(
    "given",
    [
        f"allowed_signers = ['ops {KEY}', '# a comment', 'worker-* {KEY} of a worker']",
        f"allowed_signers = '''\nops {KEY}\n\n# a comment\nworker-* {KEY} of a worker\n'''",
        f"allowed_signers = ['ops {KEY}\\nworker-* {KEY} of a worker']".replace("'", '"'),
    ],
    ids=["list", "text", "list of texts"],
)
def test_signers_are_lines_as_one_text_or_a_list(given: str) -> None:
    """Both forms give the same signers; comments and empty lines are left out."""
    signers = read(f"[security]\n{given}\noperators = ['ops']").signers
    assert signers.lines == (f"ops {KEY}", f"worker-* {KEY} of a worker")
    assert [signer.names for signer in signers.signers] == [("ops",), ("worker-*",)]
    assert signers.operators == ("ops",)


@pytest.mark.parametrize("text", ["", "[security]", "[security]\nallowed_signers = []\noperators = []"])
def test_without_signers_anybody_may_write(text: str) -> None:
    """No `[security]`, or an empty one, sets no signers."""
    assert read(text).signers == Signers()


def test_an_operator_may_be_known_by_a_pattern() -> None:
    """It is enough that some key speaks for one of the operators' names."""
    text = f"[security]\nallowed_signers = ['ops-* {KEY}']\noperators = ['nobody', 'ops-1']"
    assert read(text).signers.operators == ("nobody", "ops-1")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (f"allowed_signers = ['a {KEY}']", "nobody could change this file"),
        (f"allowed_signers = ['a {KEY}']\noperators = []", "nobody could change this file"),
        (f"allowed_signers = ['a {KEY}']\noperators = ['b']", "nobody could change this file"),
        (f"allowed_signers = ['*,!b {KEY}']\noperators = ['b']", "nobody could change this file"),
        ("operators = ['a']", "goes with allowed_signers"),
        ("allowed_signers = '# nobody'\noperators = ['a']", "goes with allowed_signers"),
        ("allowed_signers = ['a ssh-ed25519 QUJD']\noperators = ['a']", "'a ssh-ed25519 QUJD' is no line"),
        ("allowed_signers = 5", "allowed_signers"),
        (f"allowed_signer = ['a {KEY}']", "allowed_signer"),
        (f"allowed_signers = ['a {KEY}']\noperators = 'a'", "operators"),
    ],
)
def test_signers_that_lock_everybody_out_or_do_not_read_are_refused(text: str, word: str) -> None:
    """There must be an operator with a key, and every line must be one that git can use."""
    with pytest.raises(SettingsError, match=word):
        read(f"[security]\n{text}")


def test_relays_are_listed_by_names_that_a_ref_can_have() -> None:
    """The lane of a listed relay is one, and no other below the prefix of relays, which is not that of streams."""
    settings = read_settings(b'[lanes]\nrelays = ["north", "south", "north"]\n')
    assert settings.relays == ("north", "south")
    lanes = {ref: settings.is_lane(f"refs/heads/{ref}") for ref in ("dc-relay/north", "dc-relay/west", "dc/w", "main")}
    assert lanes == {"dc-relay/north": True, "dc-relay/west": False, "dc/w": True, "main": False}
    for name in ("", "-x", "a/b", "a.b", "x" * 41):
        with pytest.raises(SettingsError, match="a relay's name has 1 to 40 letters"):
            read_settings(f'[lanes]\nrelays = ["{name}"]\n'.encode())
    with pytest.raises(SettingsError, match="is where the lanes of relays are"):
        read_settings(b'[lanes]\nprefix = "refs/heads/dc-relay/"\n')
