"""Installing the hooks of a shared repository, and recognizing what is there instead.

They are the server-side check (`pre-receive`), whose script is here, and the sync of refs (`reference-transaction`)."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Literal

from dreamcatcherd.git.atomic_write import write_atomically
from dreamcatcherd.hook.check_socket import ANSWER_S, BEGIN_S, QUESTION, SOCKET, SOCKET_FOLDER
from dreamcatcherd.hook.ref_sync import SCRIPT, SYNC_MARK

HookName = Literal["pre-receive", "reference-transaction"]
HOOKS: tuple[HookName, ...] = ("pre-receive", "reference-transaction")
"""The hooks of a shared repository, in the order in which they are installed."""
FOREIGN_REMEDIES: dict[HookName, str] = {
    "pre-receive": "let it call dreamcatcherd hook pre-receive with a copy of its standard input, and fail if that "
    "fails",
    "reference-transaction": "make the hook of dreamcatcherd with dreamcatcherd init /tmp/model.git, copy "
    "/tmp/model.git/hooks/reference-transaction to hooks/dreamcatcherd-sync, and let the other hook call that with its "
    "argument and a copy of its standard input",
}
"""What to do about a hook of somebody else, which is never replaced."""

_OURS = "# The server-side check of dreamcatcherd, installed by `dreamcatcherd init`."
_HOOK = """\
#!/bin/sh
{ours} It lets workers add deltas and push lanes,
# and refuses edits of computed files, deleted deltas, and deltas that cannot merge. A primary that works on this
# repository in place does not pass through it. `dreamcatcherd hook pre-receive` is the same check.
python={python}
gone="dreamcatcherd is gone from $python, so this push cannot be checked: install it there again, or repair or delete \
hooks/pre-receive on the server"
[ -x "$python" ] || {{ echo "$gone" >&2; exit 1; }}

# The complete check. To start sooner, nothing that is loaded is searched for garbage, and msgspec takes the names that
# it needs from typing.
full='
import gc
import os
import sys
gc.disable()
sys.modules["typing_extensions"] = None
try:
    from dreamcatcherd.hook.pre_receive import run_hook
except ImportError as error:
    sys.exit(f"{{sys.argv[1]}} ({{error}})")
gc.freeze()
gc.enable()
sys.exit(run_hook(os.environ, sys.stdin.buffer, sys.stderr, *map(float, sys.argv[2:])))
'

# Asks the daemon, if one serves this repository here and both run under the account of its owner, and else starts the
# complete check. Perl starts in a tenth of the time of Python, and without a module it needs the numbers of AF_UNIX,
# SOCK_STREAM, SOL_SOCKET and SO_PEERCRED.
asking='{asking}'

if [ -S {socket} ] && command -v perl >/dev/null; then
    exec perl -e "$asking" "$python" -P -c "$full" "$gone"
fi
exec "$python" -P -c "$full" "$gone"
"""

_ASKING = r"""
my ($updates, $begun) = (undef, time);
sub unclear { die "unclear\n" }
my ($code, $text) = eval {
    $SIG{ALRM} = \&unclear;
    $SIG{PIPE} = "IGNORE";
    my @folder = lstat "@FOLDER@";
    -d _ && $folder[4] == $> && !($folder[2] & 022) && (stat ".")[4] == $> or unclear;
    my @file = lstat "@SOCKET@";
    -S _ && $file[4] == $> && !($file[2] & 077) or unclear;
    socket my $daemon, 1, 1, 0 or unclear;
    alarm @BEGIN_S@;
    connect $daemon, pack "S a*", 1, "@SOCKET@" or unclear;
    my $peer = getsockopt $daemon, 1, 17 or unclear;
    (unpack "i3", $peer)[1] == $> or unclear;
    { local $/; $updates = <STDIN> }
    my $variables = join "\0", map { "$_=$ENV{$_}" } keys %ENV;
    my $python = "$ARGV[0] " . join ":", (lstat $ARGV[0])[0, 1];
    my $asked = sprintf "@QUESTION@\n%d %d %d\n", length $python, length $variables, length $updates;
    $asked .= $python . $variables . $updates;
    for (my $at = 0; $at < length $asked;) {
        $at += syswrite($daemon, $asked, length($asked) - $at, $at) || unclear;
    }
    shutdown $daemon, 1;
    my $answer = "";
    while ($answer !~ /\n/) { sysread $daemon, $answer, 65536, length $answer or unclear }
    $answer =~ s/^checking\n// or unclear;
    alarm @ANSWER_S@;
    while (my $size = sysread $daemon, $answer, 65536, length $answer) { }
    $answer =~ s/^([01]) (\d+)\n// or unclear;
    my ($code, $size) = ($1, $2);
    length $answer == $size + 4 && $answer =~ s/end\n\z// or unclear;
    ($code, $answer);
};
alarm 0;
$SIG{PIPE} = "DEFAULT";
if (defined $code) {
    print STDERR $text;
    exit $code;
}
if (defined $updates) {
    my $writer = open STDIN, "-|";
    defined $writer or die "dreamcatcherd cannot check this push: $!\n";
    if (!$writer) { print $updates; exit 0 }
    push @ARGV, time - $begun;
}
exec { $ARGV[0] } @ARGV or die "dreamcatcherd cannot check this push: $!\n";
"""


def install_hooks(repository: Path) -> None:
    """Write both hooks of a bare repository. OSError if one cannot be written."""
    for name in HOOKS:
        install_hook(repository, name)


def install_hook(repository: Path, name: HookName) -> Path:
    """Write one hook of a bare repository, atomically; returns its path.

    The check runs the Python that runs this. OSError if the file cannot be written."""
    path = repository / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, _text(name), 0o755)
    return path


HookKind = Literal["none", "current", "outdated", "not executable", "calls ours", "foreign"]


def kind_of_hook(path: Path, name: HookName) -> HookKind:
    """What is at the path of a hook.

    `outdated` is one that another version, or another Python, installed. A script that somebody else wrote and that
    names dreamcatcherd is taken to call its hook. `foreign` is everything that must not be replaced."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return "foreign" if path.is_symlink() else "none"
    except OSError:
        return "foreign"
    if (SYNC_MARK if name == "reference-transaction" else _OURS).encode() not in found:
        return "calls ours" if b"dreamcatcherd" in found else "foreign"
    if found != _text(name):
        return "outdated"
    return "current" if os.access(path, os.X_OK) else "not executable"


def _text(name: HookName) -> bytes:
    return SCRIPT.encode() if name == "reference-transaction" else _check()


def _check() -> bytes:
    asking = _ASKING
    for name, value in (
        ("@FOLDER@", SOCKET_FOLDER),
        ("@SOCKET@", SOCKET),
        ("@QUESTION@", QUESTION.decode().strip()),
        ("@BEGIN_S@", str(BEGIN_S)),
        ("@ANSWER_S@", str(ANSWER_S)),
    ):
        asking = asking.replace(name, value)
    return _HOOK.format(ours=_OURS, python=shlex.quote(sys.executable), socket=SOCKET, asking=asking).encode()
