"""Which object of a probe is loaded, and what the running kernel is said to have."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from ingrain.kernel import headers, loaders, packages, symbols
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.loaders import Loader


def failing(*which: Loader) -> Callable[[Loader], str]:
    def attempt(loader: Loader) -> str:
        if loader in which:
            raise KernelError(errno.EINVAL, loader)
        return loader

    return attempt


@pytest.mark.parametrize(
    ("wanted", "btf", "fails", "expected", "why"),
    [
        ("auto", True, (), "core", "this kernel has BTF"),
        ("auto", False, (), "bcc", "this kernel has no BTF"),
        ("auto", False, ("bcc",), "core", "this probe needs no BTF, and BCC cannot be used"),
        ("bcc", True, (), "bcc", "as asked for"),
        ("core", False, (), "core", "as asked for"),
    ],
)
def test_what_is_loaded_where(
    *, wanted: Loader, btf: bool, fails: tuple[Loader, ...], expected: Loader, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders, "has_btf", lambda: btf)
    assert loaders.by_trial(wanted, failing(*fails)) == expected
    assert loaders.why(wanted, expected) == why


@pytest.mark.parametrize(
    ("wanted", "btf", "fails", "told"),
    [
        ("auto", True, ("core",), "core"),
        ("auto", False, ("bcc", "core"), "bcc"),
        ("bcc", True, ("bcc",), "bcc"),
        ("core", False, ("core",), "core"),
    ],
)
def test_the_error_is_that_of_what_was_to_be_loaded(
    *, wanted: Loader, btf: bool, fails: tuple[Loader, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders, "has_btf", lambda: btf)
    with pytest.raises(KernelError, match=f"{told}: Invalid argument"):
        loaders.by_trial(wanted, failing(*fails))


@pytest.mark.parametrize(
    ("release", "bcc", "kernel"),
    [
        ({"ID": "debian"}, "apt-get install python3-bpfcc", "apt-get install linux-headers-{}"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "apt-get install python3-bpfcc", None),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "dnf install python3-bcc", "dnf install kernel-devel-{}"),
        ({"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, "zypper install python3-bcc", None),
        ({"ID": "arch"}, "pacman -S python-bcc", "pacman -S linux-headers"),
    ],
)
def test_packages_have_the_distribution_s_own_names(
    release: dict[str, str], bcc: str, kernel: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    assert packages.install_bcc() == bcc
    if kernel:
        assert packages.install_headers() == kernel.format(os.uname().release)


def test_where_the_distribution_does_not_say_what_it_is_both_are_still_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> dict[str, str]:
        raise FileNotFoundError

    monkeypatch.setattr(platform, "freedesktop_os_release", unknown)
    assert "python3-bpfcc" in packages.install_bcc()
    assert os.uname().release in packages.install_headers()


def test_headers_say_what_this_kernel_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "include/linux/kconfig.h": "",
        "include/linux/uio.h": "enum iter_type {\n\tITER_IOVEC,\n};\nstruct iov_iter {\n\tu8 iter_type;\n};\n",
        "include/linux/mount.h": "struct vfsmount {\n\tvoid *mnt_usernsX;\n};\nenum mnt_userns {};",
        "include/generated/utsrelease.h": '#define UTS_RELEASE "6.1.0"',
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv(headers.OVERRIDE, str(tmp_path))
    found = headers.find()
    assert found
    assert {flag for flag in found.features() if flag.endswith("=1")} == {"-DHAS_iter_type=1"}
    assert "-DHAS_mnt_userns=0" in found.features()
    before = found.identity()
    (tmp_path / "include/generated/utsrelease.h").write_text('#define UTS_RELEASE "6.1.1"')
    assert found.identity() != before


def test_a_folder_without_headers_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(headers.OVERRIDE, str(tmp_path))
    assert headers.find() is None


def test_addresses_are_those_of_proc_kallsyms() -> None:
    expected = {
        name: int(address, 16)
        for address, _kind, name in (line.split()[:3] for line in Path("/proc/kallsyms").read_text().splitlines())
        if name in {"ptrace_may_access", "vfs_read"}
    }
    assert expected
    assert symbols.addresses(["ptrace_may_access", "vfs_read", "there_is_no.such"]) == expected
