#!/bin/sh
# Makes the virtual environment that the targets of the Makefile use, or brings it up to date.
#
#   requirements/environment.sh PYTHON FOLDER run|dev
#
# `run` installs what the daemon needs, `dev` also what the tests and linters need. stderr gets what is done and how long
# it took; a terminal is also shown which library is being fetched. A failure is one line: what happened; what to do.
set -eu

python=$1 folder=$2 what=$3
start=$(date +%s)

fail() {
    echo "$1; $2" >&2
    exit 1
}

# What the machine must have. Everything is checked before the first download. ----------------------------------------

other="name another one: make PYTHON=python3.12 …"
command -v "$python" >/dev/null ||
    fail "$python is not installed" "install Python 3.11 or newer (Debian and Ubuntu: apt install python3-venv), or $other"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "$python does not run" "$other"
case $version in
2.* | 3.[0-9] | 3.10) fail "$python is Python $version, and 3.11 or newer is needed" "$other" ;;
esac
# Debian and Ubuntu have venv without ensurepip until this package is installed.
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments" "on Debian and Ubuntu: apt install $(basename "$python")-venv"
git=$(git --version 2>/dev/null) ||
    fail "git is not installed or not on the PATH" "install git 2.36 or newer (Debian and Ubuntu: apt install git)"
case ${git#git version } in
[01].* | 2.[0-9] | 2.[0-9].* | 2.[12][0-9] | 2.[12][0-9].* | 2.3[0-5] | 2.3[0-5].*)
    fail "$git is too old" "install git 2.36 or newer"
    ;;
esac

# The environment. -----------------------------------------------------------------------------------------------------

explain() { # Fail with the cause that an output shows. $2 is the remedy for causes that are not known here.
    case $1 in
    *'No space left on device'*) fail "no space is left for $folder" "free some and run the same command again" ;;
    *'Permission denied'* | *'Read-only file system'*)
        fail "$(id -un) cannot write to $folder" "run as its owner, or name another folder: make VENV=FOLDER …"
        ;;
    *CERTIFICATE_VERIFY_FAILED*)
        fail "the certificate of the package index is not trusted" "name the file of its authority: PIP_CERT=FILE make …"
        ;;
    *'name resolution'* | *'Name or service not known'* | *'Failed to establish a new connection'* | *'timed out'*)
        fail "the package index cannot be reached" \
            "connect this machine, or name a folder of wheels: PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER make …"
        ;;
    esac
    fail "the environment cannot be installed: $(echo "$1" | grep . | tail -n 1)" "$2"
}

if [ "$what" = run ] && ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "making a virtual environment for Python $version in $folder" >&2
    said=$("$python" -m venv --clear "$folder" 2>&1) || explain "$said" "remove $folder and run the same command again"
fi
case $what in
run) extra= && echo "installing the libraries of the daemon in $folder" >&2 ;;
dev) extra='[dev]' && echo "installing what the tests and linters need in $folder" >&2 ;;
esac
log=$folder/install.log
[ -w "$folder" ] || explain "Permission denied" ""
"$folder/bin/python" -m pip install --disable-pip-version-check --progress-bar off --editable ".$extra" >"$log" 2>&1 &
pip=$!
clear=
# pip is in the background, where a shell lets it ignore Ctrl-C.
trap 'kill $pip 2>/dev/null || true; printf "$clear" >&2; exit 130' INT TERM HUP
if [ -t 2 ]; then
    clear='\r\033[K'
    while kill -0 $pip 2>/dev/null; do
        library=$(sed -n 's/^ *Collecting \([A-Za-z0-9._-]*\).*/\1/p' "$log" | tail -n 1)
        printf "$clear%s s  %s" $(($(date +%s) - start)) "$library" >&2
        sleep 0.5
    done
    printf "$clear" >&2
fi
wait $pip || explain "$(cat "$log")" "the complete output is in $log"
echo "environment ready in $(($(date +%s) - start)) s" >&2
