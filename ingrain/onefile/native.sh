#!/bin/sh
# native.sh OUT: makes what the one file has of native code, and leaves in OUT
#
#   program     CPython with launcher.c for its main(), and in it the modules and libraries by which it unpacks the rest
#   stdlib/     its standard library
#   dynload/    of that library's native modules, those that ask for no library and no newer glibc
#   carried/    libbpf, and what it and the wheels need beside glibc
#   licenses/   of all of them
#   manifest    what it was made from: a line each, name and version
#
# CPython, OpenSSL and the other libraries inside are Debian 12's own, with its optimizations and its security fixes: its
# static libraries, linked here with the glibc of Debian 11. An object file binds to no version of glibc, so what is linked
# so runs from Debian 11's on; what that one lacks is in compat.c, and whatever else it lacked would be an error of the
# linker. Debian's library leaves some of CPython's modules to files of their own, of which a few do need a newer glibc:
# these are compiled here, from the same source. apt checks all that is fetched by the archive's signatures; nothing is
# installed, and no rights are needed.
set -eu

NEW=bookworm
OLD=bullseye
export LC_ALL=C SOURCE_DATE_EPOCH=0

# Of Debian 12; libbluetooth-dev for a header that CPython's own want to see.
GIVEN='libpython3.11-dev libpython3.11-minimal libpython3.11-stdlib libssl-dev zlib1g-dev liblzma-dev libexpat1-dev
    libffi8 libffi-dev libbluetooth-dev libbpf1'
MODULES='_asyncio _contextvars _decimal _json _multibytecodec _queue _typing _zoneinfo mmap resource termios'
# Of Debian 11: what is linked with, and what is carried.
TARGET='gcc-10-base libc6 libc6-dev linux-libc-dev libgcc-10-dev libgcc-s1 libelf1 zlib1g libstdc++6'

here=$(dirname "$(realpath "$0")")
out=$(realpath "$1")
build=$out/build
mkdir -p "$build" "$out/carried" "$out/dynload" "$out/licenses"
cd "$build"

fail() {
    echo "native.sh: $*" >&2
    exit 1
}

# Says nothing unless it fails.
quietly() {
    "$@" >log 2>&1 || {
        tail -n 40 log >&2
        fail "$* failed"
    }
}

# `archive SUITE`: where this machine's apt has that suite from.
archive() {
    # shellcheck disable=SC2016 the words are apt's
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $1" 'Component: main' | head -n 1
}

# `suite NAME [deb-src]`: lists of a release and of its security fixes, beside this machine's own.
suite() {
    mkdir -p "$1/state/lists/partial" "$1/cache/archives/partial"
    : >"$1/status"
    main=$(archive $NEW) security=$(archive $NEW-security)
    [ -n "$main" ] && [ -n "$security" ] || fail "apt has no source of $NEW and $NEW-security on this machine"
    for kind in deb $2; do
        for of in "$main $1" "$security $1-security"; do
            echo "$kind [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $of main"
        done
    done >"$1/sources"
    quietly apt "$1" update
}

apt() {
    lists=$build/$1
    shift
    apt-get -qq -o "Dir::State=$lists/state" -o "Dir::State::status=$lists/status" -o "Dir::Cache=$lists/cache" \
        -o "Dir::Etc::SourceList=$lists/sources" -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root "$@"
}

# `fetch SUITE download|source NAME OPTION...`: the newest there is. An archive may tell of one that it does not have:
# then, which is said, that of the release itself.
fetch() {
    from=$1 how=$2 what=$3
    shift 3
    for which in "$what" "$what/$from"; do
        apt "$from" "$how" "$@" "$which" >log 2>&1 && return
        echo "native.sh: the archive does not give $which: $(tail -n 1 log)" >&2
    done
    fail "$what cannot be had"
}

# `unpack SUITE FOLDER NAME...`: packages of that suite.
unpack() {
    from=$1 folder=$2
    shift 2
    for name in "$@"; do
        fetch "$from" download "$name"
        package=$(ls "${name}"_*.deb)
        dpkg-deb --extract "$package" "$folder"
        echo "$name $(dpkg-deb --field "$package" Version)" >>"$out/manifest"
        if [ -f "$folder/usr/share/doc/$name/copyright" ]; then # else another package of the same source has it
            cp "$folder/usr/share/doc/$name/copyright" "$out/licenses/$name"
        fi
        rm "$package"
    done
}

compile() {
    given=$build/given/usr python=$build/given/usr/lib/python3.11
    cc="clang --sysroot=$build/target -O2 -fno-plt -fstack-protector-strong -D_FORTIFY_SOURCE=2 -I$given/include/python3.11
        -I$given/include/python3.11/internal -I$given/include -I$given/include/x86_64-linux-gnu
        -I$given/include/x86_64-linux-gnu/python3.11 -Isource/Modules -DHAVE_FFI_PREP_CIF_VAR
        -DHAVE_FFI_PREP_CLOSURE_LOC -DHAVE_FFI_CLOSURE_ALLOC"
    fetch $NEW source python3.11 --download-only
    quietly dpkg-source --extract python3.11_*.dsc source
    # shellcheck disable=SC2086 options are words
    for file in _ctypes/_ctypes _ctypes/callbacks _ctypes/callproc _ctypes/stgdict _ctypes/cfield _lzmamodule _ssl \
        _hashopenssl _multiprocessing/multiprocessing _multiprocessing/semaphore _multiprocessing/posixshmem; do
        quietly $cc -DPy_BUILD_CORE_BUILTIN -c -o "$(basename $file).o" "source/Modules/$file.c"
    done
    # shellcheck disable=SC2086 likewise
    quietly $cc -no-pie -o program "$here/launcher.c" "$here/compat.c" ./*.o -Wl,-z,relro,-z,now -Wl,--export-dynamic \
        -Wl,--whole-archive "$python/config-3.11-x86_64-linux-gnu/libpython3.11.a" -Wl,--no-whole-archive \
        -L"$given/lib/x86_64-linux-gnu" -Wl,-Bstatic -lssl -lcrypto -lffi -llzma -lexpat -lz -Wl,-Bdynamic \
        -lpthread -ldl -lrt -lutil -lm
    strip -o "$out/program" program
}

collect() {
    for name in $MODULES; do
        cp "$python/lib-dynload/$name".*.so "$out/dynload"
    done
    rm -r "$python/lib-dynload" "$python"/config-3.11*
    cp -r "$python" "$out/stdlib"
    cp "$given/lib/x86_64-linux-gnu/libbpf.so.1" "$out/carried"
    for name in libelf.so.1 libz.so.1 libstdc++.so.6 libgcc_s.so.1; do
        found=$(find target -name "$name")
        cp "$found" "$out/carried"
    done
}

suite $NEW deb-src
suite $OLD ''
# shellcheck disable=SC2086 names are words
unpack $NEW given $GIVEN
# shellcheck disable=SC2086 likewise
unpack $OLD target $TARGET
# Some links of a system name files from its root: this machine's, as long as that is not theirs.
find target -type l -lname '/*' | while read -r link; do
    ln -sfn "$build/target$(readlink "$link")" "$link"
done
compile
collect
cp source/LICENSE "$out/licenses/python3.11"
cd "$out"
rm -r "$build"
