"""Errors of the operating system, each with its own remedy: a wrong one is worse than none."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from dreamcatcherd.core.errors import DreamcatcherError, RetryableError

_REMEDIES: dict[int, str] = {
    errno.ENOSPC: "make room on the disk of {path}",
    errno.EDQUOT: "raise the quota of {user} on the disk of {path}, or make room",
    errno.EACCES: "let {user} write below {path}: run as its owner, or chown it",
    errno.EPERM: "let {user} write below {path}: run as its owner, or chown it",
    errno.EROFS: "mount the file system of {path} read-write; the kernel may have made it read-only after a disk error",
    errno.EIO: "the disk of {path} has errors: look at the kernel's log (dmesg) and replace it",
    errno.EMFILE: "raise the limit of open files (LimitNOFILE= in the unit, ulimit -n)",
    errno.ENFILE: "raise fs.file-max (sysctl)",
    errno.ENOENT: "{path} is not there: mount or restore it",
    errno.ENOTDIR: "{path} is not there: mount or restore it",
    errno.ESTALE: "mount the network file system of {path} again",
    errno.EAGAIN: "raise the limit of processes (TasksMax= in the unit, ulimit -u)",
    errno.ENOMEM: "give this machine or unit more memory (MemoryMax= in the unit)",
    errno.EINVAL: "the file system of {path} does not support what was asked, such as fsync: use a local one",
}


def user() -> str:
    """The user that this process runs as, for messages."""
    return f"the user with uid {os.geteuid()}"


def remedy_for(error: OSError, path: Path) -> str:
    """What to do about an error of the operating system at a path."""
    known = _REMEDIES.get(error.errno or 0, "look at {path} and at the kernel's log (dmesg)")
    return known.format(path=path, user=user())


def remedy_in(said: str, path: Path, otherwise: str) -> str:
    """The same for git's message about an error of the operating system; `otherwise` if it names no known error."""
    if "unknown repository extension" in said:
        return f"run with a git that knows it (relativeWorktrees: 2.48 or newer), or unset it in {path / 'config'}"
    for number, remedy in _REMEDIES.items():
        if os.strerror(number) in said:
            return remedy.format(path=path, user=user())
    return otherwise


_PLACE = (
    errno.EACCES,
    errno.EPERM,
    errno.EBUSY,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)


def is_of_the_place(said: str) -> bool:
    """Whether a message names a path that cannot be used: another one could. All else is a failure of the machine, also
    what names no error at all, as git does when it cannot write its configuration to a full disk."""
    return any(os.strerror(number) in said for number in _PLACE)


def known_failure(error: DreamcatcherError | OSError, path: Path) -> DreamcatcherError:
    """The same failure as one with a remedy; of the operating system if it is not known where."""
    return error if isinstance(error, DreamcatcherError) else disk_failure("the operating system refused", error, path)


def disk_failure(what: str, error: OSError, path: Path) -> RetryableError:
    """A failure of the disk; `what` is the operation that failed."""
    return RetryableError(f"{what}: {error.strerror or error}", remedy_for(error, path))
