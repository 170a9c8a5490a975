"""The reference-transaction hook of a shared repository: refs have their names on the disk before git answers a push.

git syncs the content of a ref (`core.fsync`), and not the folders in which the ref gets its name
(docs/crash-points.md#a-workers-push). Owns the text of the hook."""

from __future__ import annotations

from dreamcatcherd.git.command import SYNCS_REFS

SYNC_MARK = "# The sync of pushed refs of dreamcatcherd, installed by `dreamcatcherd init`."
"""The line by which the hook is recognised, whatever version wrote it."""

SCRIPT = f"""\
#!/bin/sh
{SYNC_MARK} git syncs the content of a ref and not
# the folders that hold its name, so a power failure could undo a push that was acknowledged. This syncs them once a ref
# has moved, before git answers. A deletion is not synced: a ref that comes back loses nothing and counts nothing twice.
[ "$1" = committed ] && [ -z "${SYNCS_REFS}" ] || exit 0

top=${{GIT_DIR:-.}}
sync_folders() {{
    [ $# -eq 0 ] || sync -- "$@" "$top" ||
        echo "dreamcatcherd: the push is in place, but a power failure of the server could undo it" >&2
}}

set --
seen=' '
while read -r old new ref; do
    case $new in *[!0]*) ;; *) continue ;; esac
    # Any folder on the way may be new. A ref without folders, such as HEAD, is nothing that a push moves.
    folder=$ref
    while [ "$folder" != "${{folder%/*}}" ]; do
        folder=${{folder%/*}}
        case $seen in *" $folder "*) break ;; esac
        seen="$seen$folder "
        [ ! -d "$top/$folder" ] || set -- "$@" "$top/$folder"
    done
    # A command line has a limit, and the search of what was seen must stay short.
    [ $# -lt 500 ] || {{ sync_folders "$@"; set --; seen=' '; }}
done
sync_folders "$@"
exit 0
"""
"""The hook. git ignores its exit code, since the ref has moved by then. Its errors are git's: ssh shows them to the
pusher, and web servers log them."""
