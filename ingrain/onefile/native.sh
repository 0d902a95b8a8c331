#!/bin/sh
# Runs in a Debian 11 as it comes from debootstrap, and leaves in /out what the one file has of native code:
#
#   program     CPython with launcher.c for its main(), and its native modules and their libraries inside
#   stdlib/     its standard library
#   carried/    libbpf, and what it and the wheels need beside glibc
#   licenses/   of all of them
#   manifest    what was built from what: a line each, name and version
#
# What is compiled here runs on every later glibc. CPython, OpenSSL and libbpf are those that Debian 12 maintains, from its
# own sources, which apt checks by the archive's signatures; everything else is Debian 11's. Takes about 15 minutes on two
# cores.
set -eu

SUITE=bookworm
export DEBIAN_FRONTEND=noninteractive LC_ALL=C SOURCE_DATE_EPOCH=0
HARDENED='-O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2'
JOBS=$(nproc)
LIBRARIES=/usr/lib/x86_64-linux-gnu

mkdir -p /build /out/carried /out/licenses
cd /build

note() { echo "$1 $2" >>/out/manifest; }

# Says nothing unless it fails.
quietly() {
    "$@" >log 2>&1 || {
        tail -n 40 log
        echo "native.sh: $* failed" >&2
        exit 1
    }
}

packages() {
    archive=$(awk '$1 == "deb" { print $2; exit }' /etc/apt/sources.list)
    for of in "$archive $SUITE" "$archive $SUITE-updates" "${archive%/}-security $SUITE-security"; do
        echo "deb-src [signed-by=/etc/apt/keyrings/sources.gpg] $of main"
    done >/etc/apt/sources.list.d/sources.list
    quietly apt-get update
    quietly apt-get install --no-install-recommends -y \
        gcc libc6-dev make perl dpkg-dev patch pkg-config zlib1g-dev liblzma-dev libffi-dev libelf-dev
    # Of these the static half goes into the program.
    rm $LIBRARIES/libz.so $LIBRARIES/liblzma.so $LIBRARIES/libffi.so
    for name in zlib1g liblzma5 libffi7 libelf1 libstdc++6 libgcc-s1; do
        note "$name" "$(dpkg-query --show --showformat '${Version}' "$name")"
        cp "/usr/share/doc/$name/copyright" "/out/licenses/$name"
    done
}

# The newest source of a package, unpacked to ./NAME. An archive may name one that it does not have: then, and that is
# said, the suite's own.
fetch() {
    for which in "$1" "$1/$SUITE"; do
        if apt-get source --download-only -qq "$which" >log 2>&1; then
            description=$(ls -t "$1"_*.dsc | head -n 1)
            quietly dpkg-source --extract "$description" "$1"
            note "$1" "$(sed -n 's/^Version: //p' "$description" | tail -n 1)"
            cp "$1/debian/copyright" "/out/licenses/$1"
            return
        fi
        echo "the archive does not give the source of $which: $(tail -n 1 log)" >&2
    done
    exit 1
}

openssl() {
    fetch openssl
    cd openssl
    quietly ./Configure linux-x86_64 no-shared no-tests no-legacy no-engine --prefix=/openssl --libdir=lib \
        --openssldir=/etc/ssl "$HARDENED"
    quietly make -j "$JOBS" build_libs
    mkdir -p /openssl/lib
    cp libssl.a libcrypto.a /openssl/lib
    cp -r include /openssl
    cd ..
}

python() {
    fetch python3.11
    cd python3.11
    cp /launcher.c Programs/python.c
    quietly env MODULE_BUILDTYPE=static CFLAGS="$HARDENED -fPIE" LDFLAGS='-pie -Wl,-z,relro,-z,now' ./configure \
        --disable-test-modules --without-ensurepip --with-openssl=/openssl --with-ssl-default-suites=openssl \
        py_cv_module__crypt=n/a py_cv_module_nis=n/a py_cv_module_ossaudiodev=n/a py_cv_module_spwd=n/a
    sed -e '/^#_ctypes /s/$/ -lffi -ldl -DHAVE_FFI_PREP_CIF_VAR -DHAVE_FFI_PREP_CLOSURE_LOC -DHAVE_FFI_CLOSURE_ALLOC/' \
        -e 's/^#_ctypes /_ctypes /' Modules/Setup.stdlib >Modules/Setup.local
    quietly make -j "$JOBS" python
    strip --output-file=/out/program python
    cp -r Lib /out/stdlib
    cp LICENSE /out/licenses/python3.11.txt
    cd ..
}

libbpf() {
    fetch libbpf
    quietly make -C libbpf/src -j "$JOBS" CFLAGS="$HARDENED -g0" OBJDIR=/build/objects libbpf.so.1
    strip --strip-unneeded --output-file=/out/carried/libbpf.so.1 objects/libbpf.so.1
    for name in libelf.so.1 libz.so.1 libstdc++.so.6 libgcc_s.so.1; do
        cp "$(ls /lib/x86_64-linux-gnu/$name $LIBRARIES/$name 2>/dev/null | head -n 1)" "/out/carried/$name"
    done
}

packages
openssl
python
libbpf
