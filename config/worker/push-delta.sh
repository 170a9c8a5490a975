#!/bin/sh
# Push one delta to a new lane of its own. This needs no clone and no work tree, only git and a POSIX shell.
#
#     push-delta.sh REPOSITORY DELTA.json [ATTACHMENT…]
#
# REPOSITORY is a path or URL that git can push to. The frame and the stream are read from the delta. An attachment keeps
# its file name; the delta names it in a *_ref field. Where the repository's settings name other delta roots ([intake]
# roots), set DREAMCATCHER_ROOT to one of them. On success the script prints the ref and the blob id, for
# `dreamcatcherd receipt BLOB`. Exit codes, those of `dreamcatcherd push`: 0 the push was acknowledged, 1 it was refused
# (the reason is on stderr; unless a lane blocked the push, the same delta would be refused again), 2 wrong usage, such as a
# path that does not exist, 3 the server could not be reached or did not answer: run the script again.
set -eu

fail() {
    echo "push-delta: $2" >&2
    exit "$1"
}

[ $# -ge 2 ] || fail 2 "usage: push-delta.sh REPOSITORY DELTA.json [ATTACHMENT...]"
repository=$1
delta=$2
shift 2
[ -f "$delta" ] || fail 2 "$delta is not a file: name the delta to push"
for file in "$@"; do
    [ -f "$file" ] || fail 2 "$file is not a file: name an attachment to push"
done

# The first "name": value pair with the given name in the file: write frame and stream_id before the sections.
field() {
    tr '\n\r\t' '   ' <"$delta" | awk -v name="\"$1\" *: *" '
        match($0, name "(\"[^\"\\\\]*\"|[0-9]+)") {
            pair = substr($0, RSTART, RLENGTH)
            sub(name, "", pair)
            gsub("\"", "", pair)
            print pair
        }'
}
frame=$(field frame)
stream=$(field stream_id)
case $frame in '' | *[!0-9]*) fail 1 "$delta has no frame: add \"frame\": <number>" ;; esac
[ -n "$stream" ] || fail 1 "$delta has no stream_id: add \"stream_id\": \"<name>\""
git check-ref-format "refs/heads/dc/$stream/x" ||
    fail 2 "no ref can carry the stream_id '$stream': push the delta to the shared branch"

work=$(mktemp -d) || fail 3 "no temporary folder can be made: look at the disk"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
GIT_DIR=$work/git
GIT_INDEX_FILE=$work/index
export GIT_DIR GIT_INDEX_FILE
name=$(printf '%s' "$stream" | tr -c 'A-Za-z0-9_.-' _)-$(date -u +%Y%m%dT%H%M%SZ)-$$
folder=${DREAMCATCHER_ROOT:-state/stream_deltas}/$frame

add() {
    git update-index --add --cacheinfo "100644,$(git hash-object -w -- "$1"),$2"
}

# One commit without parents, with the delta and its attachments; prints its id.
make_commit() {
    git init --quiet --bare "$GIT_DIR" && add "$delta" "$folder/$name.json" || return
    for file in "$@"; do
        add "$file" "$folder/$name/$(basename "$file")" || return
    done
    git -c user.name="$stream" -c user.email="$name@localhost" commit-tree -m "$stream: frame $frame" "$(git write-tree)"
}

# Whether REPOSITORY is a path or file:// URL of something that is not there. host:path is on another machine.
is_missing() {
    case $repository in
    file://*) ;;
    *://*) return 1 ;;
    *) case ${repository%%/*} in *:*) return 1 ;; esac ;;
    esac
    [ ! -e "${repository#file://}" ] && [ ! -e "${repository#file://}.git" ]
}

commit=$(make_commit "$@") || fail 3 "the commit could not be made: look at git's message above"
blob=$(git hash-object -- "$delta")

ref=refs/heads/dc/$stream/$frame-$name
if ! verdict=$(git push --porcelain "$repository" "$commit:$ref" 2>"$work/errors"); then
    cat "$work/errors" >&2
    if grep -qF -e "lane-blocked: dc/$stream is there" -e "'refs/heads/dc/$stream' exists; cannot create" "$work/errors"; then
        fail 1 "the lane dc/$stream blocks dc/$stream/...: delete that lane once it is merged, or push the delta to it"
    fi
    if grep -q -e 'lane-blocked' -e 'exists; cannot create' "$work/errors"; then
        fail 1 "a ref that git names above blocks dc/$stream/...: ask an operator to remove it"
    fi
    if is_missing; then
        fail 2 "there is no repository at $repository: name the shared repository"
    fi
    # A ref that could not be locked, or a failure of the server, says nothing about the delta.
    case $verdict in
    *'cannot lock ref'* | *'failed to update ref'* | *'unpacker error'*) ;;
    *'rejected]'*) fail 1 "the server refused the delta: correct it as described above; the unchanged delta would be refused again" ;;
    esac
    fail 3 "the push was not acknowledged: the server could not be reached or did not answer; run it again"
fi
grep '^remote: warning' "$work/errors" >&2 || :
echo "$ref $blob"
