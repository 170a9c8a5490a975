"""Whom a key speaks for: lines as ssh-keygen writes and reads them (docs/protocol.md#violations)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dreamcatcherd.core.signers import Signers, has_times, lines_at, read_signers, speaks_for, speaks_for_operator

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKr9bW39+VuRbozqQKj9rOxNy7KOuaTpBel6hVXdi3Re"
ECDSA = (
    "ecdsa-sha2-nistp256 "
    "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGahk9bhTBzQLYAYq/HOimmSrHey3smYmLagrXZPwZO2"
    "Z1SO8TqvHZkzrjtUmycyEogZoomoRL0PQhfRADQNId8="
)
ECDSA_521 = (
    "ecdsa-sha2-nistp521 "
    "AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAAGS+HtLy4G9W4utkRtiMo8QoFogkuN43qdvAuh3AX/"
    "uTx1ZW0Q+lxjxuEw6gDi9zizmCF02frTuCoz/R/YIdcTVgC808OO4yUeJSW6HdHB+j3PQgTmBosNR2OE9V/mSyTE/u88/qdW"
    "ZtmkrdlzZf50amjJzsJE+l4mvjuuwCDSIqmBgw=="
)
SK_ED25519 = (
    "sk-ssh-ed25519@openssh.com "
    "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fAAAABHNz"
    "aDo="
)
SK_ECDSA = (
    "sk-ecdsa-sha2-nistp256@openssh.com "
    "AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBN+m5HfNecd8LGTL9kz6w8Yd"
    "0O6GAyBlbHbVfu1IEKy6aDxN2Qziw4qIwNTcltXZg+b+mprUi/MEvQB/1MbCp34AAAAEc3NoOg=="
)
RSA = (
    "ssh-rsa "
    "AAAAB3NzaC1yc2EAAAADAQABAAABgQC/GxRUWSQ5aaiNBs5pnn3CanHj3kS1HN/UoWH58eWwQA8KRmWJX0UTxq7QbTBA6yqk"
    "piap0v7hcqr2JGcZvvHj+/YVg4W2jVixIzomvn4vfX8AgY//odLk36lc/O0REIn7zx4rs5X/IHAhCJHamLvFGzE0Rtw3IeD6"
    "0VKK5viYeJrEm8ztpJ4BnraxYTtbbQeGpi0ppBxfPEkZLrZ9hzJPbCq4l5wbKdoNgxEO5kTwLJwkC2CWNZP9foItRUfXkLP9"
    "Jpjwg8QpDnfQOiBlX+eWi0J1bnb7ytyWIaEG823rnGR+HL/N//uYHnuyGKwC4ABotxFYtTxGCkI8uk/N0Fc8T1Tz1p4pr3WA"
    "A0TRiPBNEzwnubjrZZoa69dOcY6GQ85Y6EntJ0AEC39l8Mv2T3EXEtEUyUwOdf+r97QO9oaoYgeLcFa4ezHej2Pnj7HZ61Fq"
    "toX1L7FRy8GcxfI8xxBH1XX7d8Nex/zLaSAx4J+gWJqrd/JERjHzOSdjmliC5Hc="
)
PRINTS = {
    ED25519: "SHA256:wfaJinwUrDNU+YF+ghD3BHQyWQEsvjzeuWp43FgaBrs",
    ECDSA: "SHA256:XF98vEw3X7UEeo1/NeHQa2XiZ+aF3gzmCtHqcvpbzIM",
    ECDSA_521: "SHA256:9JBXeS2yXIw7IL37WTFffWajk/KD2VCwAEmjJhrpKQQ",
    SK_ED25519: "SHA256:/p0CbeE3dk2SyW1OXXsThGc12ezDVD8eGw2/vtztDfk",
    SK_ECDSA: "SHA256:rtNRlLC4RFiW3dESNm9zTW/yWgCGA8/hs9uiAa6sBuk",
    RSA: "SHA256:qYtovpY8dSRaLRbrv0rE0yEIjclI+YyV0Nb0l6C3QyU",
}
"""Public keys with the fingerprints that `ssh-keygen -l` gives them."""

KIND, BLOB = ED25519.split()
PRINT = PRINTS[ED25519]


def read(*lines: str, operators: tuple[str, ...] = ()) -> Signers:
    return read_signers(list(lines), list(operators))


@pytest.mark.parametrize("key", PRINTS, ids=lambda key: key.split()[0])
def test_a_key_of_every_kind_has_the_fingerprint_that_ssh_keygen_gives_it(key: str) -> None:
    """Plain, elliptic and hardware-held keys are read, and known by the SHA-256 that git shows."""
    signers = read(f"alice {key} laptop of alice")
    assert [signer.fingerprint for signer in signers.signers] == [PRINTS[key]]
    assert speaks_for(signers, PRINTS[key], "alice")


@pytest.mark.parametrize(
    "options",
    [
        'namespaces="git"',
        'namespaces="git,file"',
        'valid-after="20240101",valid-before="20400101Z"',
        'cert-authority,namespaces="git"',
        'NAMESPACES="git"',
        'namespaces="a b"',
    ],
)
def test_options_stand_between_names_and_key(options: str) -> None:
    """What git's format allows there is passed over here: whether a signature is good under it is git's to say."""
    signers = read(f"alice {options} {ED25519} comment")
    assert speaks_for(signers, PRINT, "alice")
    assert signers.lines == (f"alice {options} {ED25519} comment",)


@pytest.mark.needs("ssh-keygen")
@pytest.mark.parametrize(
    ("names", "speaks", "silent"),
    [
        ("alice", ["alice"], ["alic", "alice2", "Alice", ""]),
        ("alice,bob", ["alice", "bob"], ["alice,bob"]),
        ('"alice smith,bob"', ["alice smith", "bob"], ["alice", "smith"]),
        ("*", ["alice", "x y"], []),
        ("worker-*", ["worker-1", "worker-"], ["worker", "my-worker-1"]),
        ("worker-?", ["worker-1"], ["worker-", "worker-12"]),
        ("*,!mallory", ["alice"], ["mallory"]),
        ("!worker-1,worker-*", ["worker-2"], ["worker-1"]),
        ("!alice", [], ["alice", "bob"]),
        ("[a]", ["[a]"], ["a"]),
        ("a]*[b", ["a][b", "a]x[b"], ["ab"]),
        ("é*", ["été".replace("t", "x")], ["e"]),
    ],
)
def test_names_are_patterns_as_ssh_has_them(names: str, speaks: list[str], silent: list[str], tmp_path: Path) -> None:
    """Commas part them, `*` and `?` match, `!` excludes, quotes allow spaces: all as in ssh-keygen."""
    line = f"{names} {ED25519}"
    signers = read(line)
    assert [name for name in [*speaks, *silent] if speaks_for(signers, PRINT, name)] == speaks
    file = tmp_path / "allowed"
    file.write_text(line + "\n")
    for name in [*speaks, *silent]:
        asked = ["ssh-keygen", "-Y", "match-principals", "-f", str(file), "-I", name]
        assert (subprocess.run(asked, capture_output=True, check=False).returncode == 0) == (name in speaks)


def test_each_key_speaks_for_its_own_names_alone() -> None:
    """A name of another line, an unknown key and no key at all speak for nobody; one key may have several lines."""
    signers = read(f"alice {ED25519}", f"bob {ECDSA}", f"carol {ED25519}")
    speakers = {(key, name) for key in PRINTS for name in ("alice", "bob", "carol")}
    found = {(key, name) for key, name in speakers if speaks_for(signers, PRINTS[key], name)}
    assert found == {(ED25519, "alice"), (ED25519, "carol"), (ECDSA, "bob")}
    assert not speaks_for(signers, None, "alice")
    assert not speaks_for(signers, "", "alice")


def test_operators_are_names_that_keys_speak_for() -> None:
    """A key is an operator's where it speaks for one of the operators' names, by pattern too."""
    signers = read(f"alice {ED25519}", f"ops-* {ECDSA}", operators=("ops-1", "nobody"))
    assert speaks_for_operator(signers, PRINTS[ECDSA])
    assert not speaks_for_operator(signers, PRINT)
    assert not speaks_for_operator(signers, None)


def test_comments_and_empty_lines_are_left_out() -> None:
    """Lines of white space or with a leading number sign say nothing; what is kept is what git gets to read."""
    signers = read("# the fleet", "", "  \t", f"  alice\t{KIND}   {BLOB}  a # b", "  # end")
    assert signers.lines == (f"alice\t{KIND}   {BLOB}  a # b",)
    assert speaks_for(signers, PRINT, "alice")
    assert not read("# nobody", "")
    assert not Signers()
    assert signers


@pytest.mark.parametrize(
    "line",
    [
        "alice",
        f"alice {KIND}",
        f"{KIND} {BLOB}",
        f"alice {BLOB}",
        f"alice {KIND} {BLOB[:-1]}",
        f"alice {KIND} {BLOB[:32]}",
        f"alice {KIND} QUJD",
        f"alice {KIND} AAAA",
        f"alice ssh-rsa {BLOB}",
        f"alice {KIND} é{BLOB}",
        f"alice magic {ED25519}",
        f'alice magic="x" {ED25519}',
        f"alice namespaces=git {ED25519}",
        f'alice namespaces="git", {ED25519}',
        f'"alice {ED25519}',
        f"alice bob {ED25519}",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "<<<<<<< HEAD",
    ],
)
def test_a_line_that_git_cannot_use_is_named(line: str) -> None:
    """Whoever such a line names could never sign, so it is refused, with the line's beginning in the message."""
    with pytest.raises(ValueError, match="allowed-signers format") as caught:
        read(f"bob {ED25519}", line)
    assert repr(line[:60]) in str(caught.value)


SECOND = 1_000_000
NEW_YEAR = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("options", "before", "after"),
    [
        ('valid-before="20260101Z"', True, False),
        ('valid-after="20260101Z"', False, True),
        ('valid-before="202601010000Z"', True, False),
        ('valid-before="20260101000000Z"', True, False),
        ('VALID-AFTER="20250101Z",valid-before="20260101Z"', True, False),
        ('namespaces="git",valid-after="20260101Z"', False, True),
        ('valid-before="20260101Z",namespaces="git"', True, False),
        ('valid-before="soon"', False, False),
        ('namespaces="git"', True, True),
    ],
)
def test_a_key_holds_at_a_time_and_its_times_go(options: str, before: bool, after: bool) -> None:
    """The options are held against the time that is asked about, to the second, and left out of what git sees; at no
    particular time every key holds."""
    line = f"alice {options} {ED25519}"
    for now, holds in ((NEW_YEAR - SECOND, before), (NEW_YEAR, after)):
        kept = lines_at([line], now)
        assert bool(kept) == holds
        assert not any("valid" in one.lower() for one in kept)
        assert all(read_signers(kept, []).signers for _ in kept)
    assert len(lines_at([line], None)) == 1
    assert has_times([line]) == ("valid" in options.lower())
    assert ("git" in "".join(lines_at([line], None)).replace(ED25519, "")) == ("namespaces" in options)
