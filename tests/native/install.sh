#!/usr/bin/env bash
# Unpacks Debian's systemd-resolved and avahi-daemon, with the libraries that they need, into .cache/debian at the top of
# the repository. Installed, they would change how this machine resolves names, and announce it on its network.
# What is there stays; says nothing when all goes well.
set -euo pipefail

PACKAGES=(systemd-resolved libsystemd-shared avahi-daemon libavahi-core7 libavahi-common3 libdaemon0)

cd "$(dirname "$0")/../.."
root="$PWD/.cache/debian"
[ -e "$root/complete" ] && exit 0
mkdir -p "$root/archives"
cd "$root/archives"
if ! said=$(apt-get download -o APT::Sandbox::User=root "${PACKAGES[@]}" 2>&1); then
    echo "tests/native/install.sh: apt-get download ${PACKAGES[*]} failed:"$'\n'"$said" >&2
    exit 1
fi
for archive in *.deb; do
    dpkg --extract "$archive" "$root"
done
touch "$root/complete"
