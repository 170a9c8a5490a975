"""The names that installed hooks of earlier versions import; `hook/pre_receive.py` is the check itself.

An upgrade of the package does not touch a repository's `hooks/pre-receive`, and a hook that cannot import its check
refuses every push."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dreamcatcherd.hook.pre_receive import check_push
from dreamcatcherd.hook.pre_receive import run_hook as main  # noqa: F401 (installed hooks import it)


def refusal(variables: Mapping[str, str], lines: Iterable[bytes]) -> list[str]:
    """Why a push is refused, as lines; empty if it is accepted. The first versions of the hook call this."""
    return check_push(variables, lines).refused
