#!/usr/bin/env bash
# Fetches the real servers that tests/servers talks to, into .cache/ at the top of the repository; what is there stays.
#
#   statsd           the original server, from npm                        -> .cache/statsd/
#   statsd_exporter  reads DogStatsD tags; built from the Go module proxy -> .cache/bin/
#   versitygw        an S3 server over a local folder; built likewise     -> .cache/bin/
#   compose          the Compose Specification's own reader, likewise     -> .cache/bin/
#   prometheus       Debian's, unpacked: installed, it would be a service -> .cache/prometheus/
#
# Needs npm and go (make test installs Debian's). Debian 12's Go is too old for the two, but can fetch a newer one:
# Go's toolchains are modules too, and checked against the same checksum database. A go on PATH that is new enough is
# used as it is. Says nothing when all goes well; exits with an error when a server could not be had.
set -euo pipefail

STATSD=0.9.0
STATSD_EXPORTER=v0.31.0
VERSITYGW=v1.8.0
COMPOSE=v2.16.2
GO_NEEDED=1.25      # by the go.mod of both
GO_FETCHED=1.26.8

cd "$(dirname "$0")/../.."
cache="$PWD/.cache"
mkdir -p "$cache/bin"

fail() {
    echo "tests/servers/install.sh: $*" >&2
    exit 1
}

# Runs a command, shows what it said only when it fails, and says what that was for.
attempt() {
    local what="$1" said
    shift
    said=$("$@" 2>&1) || fail "cannot get $what: $* failed:"$'\n'"$said"
}

# A file that is the last thing made tells that a server is complete, and of which version.
complete() { [ "$(cat "$cache/$1.version" 2>/dev/null)" = "$2" ]; }
completed() { echo "$2" >"$cache/$1.version"; }

new_enough() {
    local version
    version=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
    version=${version#go}
    [ "$(printf '%s\n' "$GO_NEEDED" "${version%%[- ]*}" | sort --version-sort | head -n 1)" = "$GO_NEEDED" ]
}

# Leaves in $go a Go that can build the servers.
find_go() {
    local found version dir
    go="$cache/go/bin/go"
    [ -x "$go" ] && new_enough "$go" && return
    for found in $(type -ap go || true) /usr/local/go/bin/go /usr/lib/go-*/bin/go; do
        [ -x "$found" ] && new_enough "$found" && go="$found" && return
    done
    found=$(command -v go) || fail "go is not installed; on Debian: apt-get install golang-go"
    version="v0.0.1-go$GO_FETCHED.$("$found" env GOOS)-$("$found" env GOARCH)"
    attempt "Go $GO_FETCHED" env GO111MODULE=on GOFLAGS=-modcacherw GOMODCACHE="$cache/toolchain" \
        "$found" mod download "golang.org/toolchain@$version"
    dir="$cache/toolchain/golang.org/toolchain@$version"
    chmod -R a+x "$dir/bin" "$dir/pkg/tool" || fail "Go $GO_FETCHED is not where it should be: $dir"
    ln -sfn "$dir" "$cache/go"
}

build() {
    local name="$1" package="$2" version="$3"
    [ -x "$cache/bin/$name" ] && complete "$name" "$version" && return
    [ -n "${go:-}" ] || find_go
    attempt "$name" env GOTOOLCHAIN=local GOBIN="$cache/built" "$go" install "$package@$version"
    mv "$cache/built/${package##*/}" "$cache/bin/$name"
    completed "$name" "$version"
}

if ! complete statsd "$STATSD"; then
    command -v npm >/dev/null || fail "npm is not installed; on Debian: apt-get install npm"
    attempt statsd npm install --prefix "$cache/statsd" --no-save --no-audit --no-fund --omit=optional "statsd@$STATSD"
    completed statsd "$STATSD"
fi
build statsd_exporter github.com/prometheus/statsd_exporter "$STATSD_EXPORTER"
build versitygw github.com/versity/versitygw/cmd/versitygw "$VERSITYGW"
build compose github.com/compose-spec/compose-go/v2/cmd "$COMPOSE"
if [ ! -x "$cache/prometheus/usr/bin/prometheus" ]; then
    mkdir -p "$cache/prometheus"
    cd "$cache/prometheus"
    attempt prometheus apt-get download -o APT::Sandbox::User=root prometheus
    dpkg --extract prometheus_*.deb .
    rm prometheus_*.deb
fi
