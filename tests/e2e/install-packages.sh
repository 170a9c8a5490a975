#!/usr/bin/env bash
# Installs the Debian packages of packages.txt that are missing. Needs root only if there is something to do.
# No service of theirs is started: a policy-rc.d forbids it for the time of the install, and where systemd is, what was
# just installed is kept from starting at the next boot. An older policy-rc.d is put back afterwards.
set -euo pipefail
cd "$(dirname "$0")"

POLICY=/usr/sbin/policy-rc.d

if ! command -v apt-get >/dev/null; then
    echo "not a Debian system: nothing installed; the tests need the programs of these: $(sed 's/#.*//' packages.txt | xargs)"
    exit 0
fi

missing=()
for package in $(sed 's/#.*//' packages.txt); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} = 0 ]; then
    echo "all there: $(sed 's/#.*//' packages.txt | xargs)"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "missing: ${missing[*]}; run as root: make packages" >&2
    exit 1
fi

leave_as_found() {
    if [ -e "$POLICY.before" ]; then mv "$POLICY.before" "$POLICY"; else rm -f "$POLICY"; fi
}
install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 \
        "${missing[@]}" </dev/null
}

enabled() { { find /etc/systemd/system -path '*.wants/*' -type l -printf '%f\n' 2>/dev/null || true; } | sort -u; }

exec 9</usr/sbin
flock 9 # one at a time, or one would keep the other's policy for the older one
before=$(enabled)
echo "installing, without starting any service: ${missing[*]}"
[ ! -e "$POLICY" ] || [ -e "$POLICY.before" ] || mv "$POLICY" "$POLICY.before"
trap leave_as_found EXIT
printf '#!/bin/sh\nexit 101\n' >"$POLICY"
chmod 755 "$POLICY"
if ! install; then
    echo "once more, with new package lists"
    apt-get update -q
    install
fi
if command -v systemctl >/dev/null; then
    for unit in $(comm -13 <(echo "$before") <(enabled)); do
        systemctl disable "$unit" || echo "could not disable $unit"
    done
fi
