#!/usr/bin/env bash
# The first thing that runs in a guest: makes it a machine that tests can use, then becomes the command that it is given.
#
#     enter.sh REPOSITORY VENV COMMAND...
#
# The guest's root is the host's file system over 9p, read-only and without a cache. It comes a second time, with one, as
# the tag `host`: programs and libraries are taken from there, which makes starting Python three times faster.
set -euo pipefail
repository=$1 venv=$2
shift 2

mkdir -p /run/host
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /run/host
for folder in /run/host/usr/{bin,sbin,libexec,share,lib/*-linux-gnu,lib/python3*}; do
    mount --bind "$folder" "${folder#/run/host}"
done

# The headers of the kernel that runs, where its package has them.
for sources in "/run/host$(realpath "$repository/.cache")"/kernels/*/usr/src; do
    if [ -d "$sources/linux-headers-$(uname -r)" ]; then
        mount --bind "$sources" /usr/src
    fi
done

# Room of the guest's own, in memory; then what these hide of the host's, if the repository is below one.
mkdir -p /var/lib/containers
for folder in /tmp /var/lib/containers; do
    mount -t tmpfs -o mode=1777 tmpfs "$folder"
done
for folder in "$repository" "$venv"; do
    mkdir -p "$folder"
    mount --bind "/run/host$folder" "$folder"
done

mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up

export PATH="$venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export HOME=/root PYTHONDONTWRITEBYTECODE=1
cd "$repository"
exec "$@"
