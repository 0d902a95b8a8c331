"""Packets of a capture through a loaded program, one by one, without attaching it anywhere (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import ctypes
import errno
from ctypes import c_int, c_size_t, c_uint32, c_uint64, c_void_p

from ingrain.kernel import libbpf
from ingrain.kernel.libbpf import KernelError

ETHERNET = 14
_KINDS = {4: b"\x08\x00", 6: b"\x86\xdd"}  # EtherType by the IP version
_TSTAMP_AT, _CONTEXT = 152, 192  # in struct __sk_buff of linux/bpf.h


class _Options(ctypes.Structure):
    """`struct bpf_test_run_opts` of bpf/bpf.h."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


class TestRun:
    """One packet at a time, as a program sees it: its bytes from the IP header on, and its time (`skb->tstamp`)."""

    __test__ = False  # no test of pytest's, though its name begins as one

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._run = libbpf.library().bpf_prog_test_run_opts
        self._frame = ctypes.create_string_buffer(ETHERNET + (1 << 16))
        self._context = ctypes.create_string_buffer(_CONTEXT)
        self._time = c_uint64.from_buffer(self._context, _TSTAMP_AT)
        self._options = _Options(
            sz=ctypes.sizeof(_Options),
            data_in=ctypes.addressof(self._frame),
            ctx_in=ctypes.addressof(self._context),
            ctx_size_in=_CONTEXT,
            repeat=1,
        )
        self._pointer = ctypes.addressof(self._options)

    def run(self, packet: bytes, time: int) -> bool:
        """Run the program on an IP packet of this time (nanoseconds); false where the kernel does not take it.

        It takes none that is longer than a page leaves room for (some 3.5 KB), nor one that ends within its header.
        Raises KernelError where it fails otherwise.
        """
        size = ETHERNET + len(packet)
        if not packet or size > len(self._frame):
            return False
        frame = bytes(12) + _KINDS.get(packet[0] >> 4, b"\0\0") + packet
        ctypes.memmove(self._frame, frame, size)
        self._time.value = time
        self._options.data_size_in = size
        self._options.data_size_out = self._options.ctx_size_out = 0  # libbpf wrote there what it could have given
        result = self._run(self._descriptor, self._pointer)
        if result == 0:
            return True
        error = ctypes.get_errno() or -result
        if error in {errno.EINVAL, errno.ENOMEM}:
            return False
        raise KernelError(error, "the kernel does not run a probe's program on a packet")
