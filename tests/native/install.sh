#!/usr/bin/env bash
# Fetches and builds what native tests need beside packages, into .cache/ at the top of the repository.
#
#   tls_peer            a client and a server of Go's crypto/tls: tls_peer.go  -> .cache/bin/
#   systemd-resolved,   Debian's, unpacked: installed, they would change how   -> .cache/debian/
#   avahi-daemon        this machine resolves names, and announce it
#
# What is there and as new as its source stays; says nothing when all goes well.
set -euo pipefail

PACKAGES=(systemd-resolved libsystemd-shared avahi-daemon libavahi-core7 libavahi-common3 libdaemon0)

cd "$(dirname "$0")/../.."
mkdir -p .cache/bin
if [ ! .cache/bin/tls_peer -nt tests/native/tls_peer.go ]; then
    go=$(PATH="$PWD/.cache/go/bin:$PATH:/usr/local/go/bin" command -v go) || {
        echo "tests/native/install.sh: go is not installed; on Debian: apt-get install golang-go" >&2
        exit 1
    }
    GOFLAGS=-mod=mod GOTOOLCHAIN=local "$go" build -o .cache/bin/tls_peer tests/native/tls_peer.go
fi

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
