"""Question and answer at the socket of the check, and who may use it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.hook.check_server import become_the_hook, package_stamps
from dreamcatcherd.hook.check_socket import (
    QUESTION,
    SOCKET,
    SOCKET_FOLDER,
    ElsewhereError,
    Question,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
    other_account,
    this_python,
    unsafe_socket,
)

NAMES = st.text(st.characters(blacklist_characters="=\0", blacklist_categories=["Cs"]), min_size=1)
VALUES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]))


@given(python=VALUES, variables=st.dictionaries(NAMES, VALUES), updates=st.binary())
def test_a_question_comes_out_as_it_went_in(python: str, variables: dict[str, str], updates: bytes) -> None:
    """Whatever the environment and the updates hold; and no beginning of it is taken for all of it."""
    question = Question(python, variables, updates)
    raw = encode_question(question)
    assert decode_question(raw) == question
    for end in {0, 1, len(QUESTION), len(raw) // 2, len(raw) - 1}:
        with pytest.raises(ElsewhereError):
            decode_question(raw[:end])


@given(code=st.integers(0, 1), text=st.text())
def test_no_beginning_of_an_answer_is_a_decision(code: int, text: str) -> None:
    """A process that is killed while it answers has decided nothing."""
    raw = encode_answer(code, text)
    assert decode_answer(raw) == (code, text.encode("utf-8", "backslashreplace").decode())
    for end in {*range(min(len(raw), 12)), len(raw) // 2, *range(max(0, len(raw) - 6), len(raw))}:
        with pytest.raises(ElsewhereError):
            decode_answer(raw[:end])
    with pytest.raises(ElsewhereError):
        decode_answer(raw + b"x")


def test_a_question_of_another_version_is_not_answered() -> None:
    """The installed hook may be older or newer than the daemon."""
    raw = encode_question(Question("python", {}, b""))
    with pytest.raises(ElsewhereError, match="another version"):
        decode_question(raw.replace(b"check 1", b"check 2"))


def test_a_reason_to_check_elsewhere_is_passed_on() -> None:
    """It is what `doctor` shows."""
    with pytest.raises(ElsewhereError, match=r"^a frame is overdue; "):
        decode_answer(b"elsewhere a frame is overdue\n")


def test_a_process_answers_only_with_the_code_that_the_hook_would_run(tmp_path: Path) -> None:
    """Not for another Python, also one at the same path elsewhere, and not once the package was installed again."""
    before = dict(os.environ)
    for python in ("/elsewhere/python 1:1", f"{this_python()}1"):
        with pytest.raises(ElsewhereError, match="the hook starts"):
            become_the_hook(Question(python, {}, b""), {})
    stamps = package_stamps()
    assert stamps
    with pytest.raises(ElsewhereError, match="installed again"):
        become_the_hook(Question(this_python(), {}, b""), {**stamps, tmp_path: (1, 1)})
    assert dict(os.environ) == before


@pytest.fixture
def bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a socket at the place of the check's, and the modes that it has."""
    (tmp_path / SOCKET_FOLDER).mkdir(0o700)
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(SOCKET)
    (tmp_path / SOCKET).chmod(0o600)
    return tmp_path


def test_a_socket_is_used_only_if_it_is_for_this_account_alone(bound: Path) -> None:
    """Its mode and that of its folder are required, and neither is a symbolic link or another kind of file."""
    assert unsafe_socket(bound) is None
    (bound / SOCKET).chmod(0o660)
    assert "not for this account alone" in str(unsafe_socket(bound))
    (bound / SOCKET).chmod(0o600)
    (bound / SOCKET_FOLDER).chmod(0o770)
    assert "other accounts may write" in str(unsafe_socket(bound))
    (bound / SOCKET_FOLDER).chmod(0o700)
    (bound / SOCKET_FOLDER).rename(bound / "real")
    (bound / SOCKET_FOLDER).symlink_to("real")
    assert "is not a folder" in str(unsafe_socket(bound))
    (bound / SOCKET_FOLDER).unlink()
    (bound / SOCKET_FOLDER).mkdir(0o700)
    assert "no daemon" in str(unsafe_socket(bound))
    (bound / SOCKET).symlink_to("../real/check.sock")
    assert "is not a socket" in str(unsafe_socket(bound))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="no root: run as root to give files to another user")
def test_nobody_asks_at_the_socket_of_another_account(bound: Path) -> None:
    """Neither a socket nor a folder nor a repository of somebody else's is used, by root neither."""
    for path, why in ((bound / SOCKET, "not for this account"), (bound / SOCKET_FOLDER, "belongs"), (bound, "belongs")):
        os.chown(path, 12_345, -1)
        assert why in str(unsafe_socket(bound))
        os.chown(path, 0, -1)


def test_the_account_at_the_other_end_is_known() -> None:
    """It is the kernel that says so, not the file."""
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert not other_account(one)
